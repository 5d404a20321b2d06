"""What the pages lead to and say to run: links, anchors, code, commands and their options."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tutorial import ROOT, blocks_of, read

pytest.importorskip("ppdet")

from paddle_focal.cli import main as cli
from paddle_focal.detection.replacement import REPLACEMENTS, load_replacements

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
pages = pytest.mark.parametrize("page", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])


def prose(page: Path) -> str:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", lambda span: re.sub(r"[][()]", "", span.group()), text)


def anchors(page: Path) -> set[str]:
    """Of headings, as GitHub and MyST make them: lower case, without punctuation, dashes for spaces."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pages
def test_links(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not target.startswith("https://"):
            name, _, anchor = target.partition("#")
            path = page.parent / name if name else page
            assert path.exists(), target
            assert not anchor or anchor in anchors(path), target


def test_every_page_is_reached_and_has_neighbours():
    """A list of pages names each one; the README leads to all of them."""
    for language in ("en", "zh"):
        listed = {*re.findall(r"^(?!:)([\w/]+)$", (ROOT / f"docs/{language}/index.md").read_text(), re.MULTILINE)}
        assert {path.stem for path in (ROOT / f"docs/{language}").glob("*.md")} == listed | {"index"}
    readme = (ROOT / "README.md").read_text()
    assert not [path.name for path in (ROOT / "docs/en").glob("*.md") if f"(docs/en/{path.name}" not in readme]


def test_every_replaced_component_is_on_the_page():
    """And every own key stands in the row of its component."""
    rows = [row for row in read("detectors.md").splitlines() if row.startswith("| `")]
    load_replacements()
    for name, replacement in REPLACEMENTS.items():
        (row,) = (row for row in rows if f"`{name}`" in row.split("|")[1])
        assert all(f"`{key}`" in row for key in replacement.OWN_KEYS), name


def test_every_configuration_is_on_the_page():
    page = read("training.md")
    names = [path.stem for path in (ROOT / "configs").glob("*.yml")]
    assert [name for name in names if f"`{name}.yml`" not in page and f"`{name}`" not in page] == []


def test_tests_that_are_named_exist():
    named = re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", read("migration.md"))
    assert len(named) > 15
    assert [name for name, path in named if f"def {name}(" not in (ROOT / "docs/en" / path).read_text()] == []


@pages
def test_code_can_be_read(page):
    for kind, block in blocks_of(page.read_text(encoding="utf-8")):
        if kind == "python":
            ast.parse(block)
        elif kind == "yaml":
            assert isinstance(yaml.compose(block), yaml.MappingNode)


class Accepted(BaseException):
    """The arguments have been accepted."""


def commands(page: Path) -> Iterator[list[str]]:
    for kind, block in blocks_of(page.read_text(encoding="utf-8")):
        if kind == "bash":
            for line in block.replace("\\\n", " ").splitlines():
                yield shlex.split(line, comments=True)


def of_package(words: list[str]) -> list[str] | None:
    """The arguments of ``paddle-focal`` that a command stands for."""
    if words[:1] == ["paddle-focal"]:
        return words[1:]
    tools = [i for i, word in enumerate(words) if word.startswith("tools/")]
    if words[:1] != ["python"] or not tools:
        return None
    command = Path(words[tools[0]]).stem.replace("_", "-")
    return ["export" if command == "export-model" else command, *words[tools[0] + 1 :]]


@pages
def test_commands(page, monkeypatch):
    """Each is accepted by the parser of its command; ``make`` has its targets."""
    accept = argparse.ArgumentParser.parse_args

    def stop(parser, *arguments):
        accept(parser, *arguments)
        raise Accepted

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", [])
    for words in commands(page):
        arguments = of_package(words)
        if arguments:
            assert arguments[0] in cli.COMMANDS
        if arguments and arguments[1:]:
            with pytest.raises(Accepted), warnings.catch_warnings():
                cli.main(arguments)
        if words[:1] == ["make"]:
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
