"""The package is built as docs/architecture.md says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "paddle_focal"
PAGE = (ROOT / "docs/architecture.md").read_text()
ROW = re.compile(r"^\| `(\w+)/` \|[^|]*\|([^|]*)\|$", re.MULTILINE)
#: By room, the rooms that the page says it imports.
ROOMS = {room: set(re.findall(r"`(\w+)`", imports)) for room, imports in ROW.findall(PAGE)}
#: Modules beside the rooms that import nothing of the package.
HELPERS = {"_interrupt", "_paddle", "arguments", "build", "configurations", "errors", "files", "fonts", "safe_config"}


def modules() -> dict[str, Path]:
    paths = {
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in PACKAGE.rglob("*.py")
    }
    return {name.removesuffix(".__init__"): path for name, path in paths.items()}


MODULES = modules()


def imported(path: Path, *, only_when_loaded: bool = False) -> Iterator[str]:
    """The modules of the package that a file imports, in functions, too."""
    tree = ast.parse(path.read_text())
    for node in tree.body if only_when_loaded else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in names)


def room_of(module: str) -> str:
    _, _, rest = module.partition(".")
    return rest.partition(".")[0]


def test_every_room_is_on_the_page():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(ROOMS) == folders
    assert all((ROOT / "tests" / room).is_dir() for room in ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_the_page_says(room):
    found = {room_of(name) for name, path in MODULES.items() if room_of(name) == room for name in imported(path)}
    assert found - HELPERS - {room, ""} == ROOMS[room]


def test_imports_go_down_the_table():
    order = list(ROOMS)
    for room, imports in ROOMS.items():
        assert all(order.index(other) < order.index(room) for other in imports), room


@pytest.mark.parametrize("name", sorted(HELPERS))
def test_helpers_import_nothing_of_the_package(name):
    allowed = {
        "_paddle": {"paddle_focal._interrupt"},
        "configurations": {"paddle_focal.errors"},
        "safe_config": {"paddle_focal.configurations", "paddle_focal.errors"},
    }
    assert set(imported(PACKAGE / f"{name}.py")) == allowed.get(name, set())


def test_no_circles():
    graph = {name: set(imported(path, only_when_loaded=True)) - {name} for name, path in MODULES.items()}
    for name, imports in graph.items():
        # A package and what is in it are one for this: its __init__ lists names.
        graph[name] = {
            other for other in imports if not other.startswith(f"{name}.") and not name.startswith(f"{other}.")
        }
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_ppdet_is_not_needed_below_detection():
    for room in ("ops", "losses"):
        for path in (PACKAGE / room).rglob("*.py"):
            assert "ppdet" not in re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(), re.MULTILINE), path


def test_files_that_the_page_names():
    names = re.findall(r"`?((?:\w+/)+\w+\.\w+)`?", PAGE)
    assert len(names) > 20
    for name in names:
        assert (ROOT / name).exists() or (PACKAGE / name).exists(), name


def test_no_long_files():
    endings = {".py", ".cc", ".h", ".cu", ".cuh"}
    lengths = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*") if path.suffix in endings}
    assert not {str(path): length for path, length in lengths.items() if length > 400}
