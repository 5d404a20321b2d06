"""The README and its translation say the same, and their links lead somewhere."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["README.md", "README_cn.md"]
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose(name: str) -> str:
    return CODE.sub("", read(name))


def test_same_code():
    english, chinese = (CODE.findall(read(name)) for name in NAMES)
    assert len(english) >= 20
    assert chinese == english


def test_same_structure():
    lines = [prose(name).splitlines() for name in NAMES]
    headings, rows = ([[re.match(mark, line).group() for line in part if re.match(mark, line)] for part in lines]
                      for mark in (r"#+ ", r"\|(?=[^|]*\|)"))  # fmt: skip
    assert headings[0] == headings[1]
    assert len(rows[0]) == len(rows[1])


def test_same_figures():
    """Every number of each section; names such as `retinanet_r50_fpn` count as well."""
    sections = [re.split(r"^##+ ", prose(name), flags=re.MULTILINE) for name in NAMES]
    for english, chinese in zip(*sections):
        first, second = (Counter(re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", text)) for text in (english, chinese))
        assert first == second, english.splitlines()[0]


def anchor(heading: str) -> str:
    """GitHub's: lower case, without punctuation, dashes for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("name", NAMES)
def test_links(name):
    text = prose(name)
    anchors = {anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert len(targets) > 15
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in anchors
        elif not target.startswith("https://"):
            assert (ROOT / target).exists(), target
