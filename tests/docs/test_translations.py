"""The README, the pages in English and their translations say the same."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
TRANSLATED = {path.name for path in (ROOT / "docs/zh").glob("*.md")}
PAIRS = [("README.md", "README_cn.md"), *((f"docs/en/{name}", f"docs/zh/{name}") for name in sorted(TRANSLATED))]
pairs = pytest.mark.parametrize("names", PAIRS, ids=[english for english, _ in PAIRS])


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose(name: str) -> str:
    return CODE.sub("", read(name))


def test_every_page_is_translated():
    assert {path.name for path in (ROOT / "docs/en").glob("*.md")} == TRANSLATED


@pytest.mark.parametrize("name", PAIRS[0])
def test_the_readme_is_short(name):
    assert len(read(name).splitlines()) <= 150


@pairs
def test_same_code(names):
    english, chinese = (CODE.findall(read(name)) for name in names)
    assert chinese == english


@pairs
def test_same_structure(names):
    lines = [prose(name).splitlines() for name in names]
    headings, rows = ([[re.match(mark, line).group() for line in part if re.match(mark, line)] for part in lines]
                      for mark in (r"#+ ", r"\|(?=[^|]*\|)"))  # fmt: skip
    assert headings[0] == headings[1]
    assert len(rows[0]) == len(rows[1])


@pairs
def test_same_figures(names):
    """Every number of each section; names such as `retinanet_r50_fpn` count as well, addresses do not."""
    texts = [re.sub(r"\]\([^)]*\)", "]", prose(name)).replace("2024 年 10 月", "2024 年") for name in names]
    sections = [re.split(r"^##+ ", text, flags=re.MULTILINE) for text in texts]
    assert len(sections[0]) == len(sections[1])
    for english, chinese in zip(*sections):
        first, second = (Counter(re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", text)) for text in (english, chinese))
        assert first == second, english.splitlines()[0]
