"""What the pages of ``docs/en/`` say to run, and a checkout with the data of the tutorial to run it in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared/bccd"


def read(name: str) -> str:
    return (ROOT / "docs/en" / name).read_text(encoding="utf-8")


def blocks_of(page: str) -> list[tuple[str, str]]:
    """The language and the text of each block of code."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def commands_of(page: str) -> list[str]:
    return [line for kind, block in blocks_of(page) if kind == "bash" for line in block.splitlines()]


def configuration(base: str = "retinanet_r18_fpn_digits") -> str:
    """The tutorial's own, which is the one that builds on the demo's, or its one for another detector."""
    blocks = blocks_of(read("train_your_own_data.md"))
    (found,) = (block for kind, block in blocks if block.startswith(f"_BASE_: [{base}.yml]"))
    return found


def checkout(folder: Path) -> Path:
    """A folder with the tools, the data and the configurations of the tutorial."""
    if not DATA.is_dir():
        pytest.skip(f"the blood cells are not in {DATA}")
    for name in ("tools", "configs"):
        (folder / name).mkdir()
        for path in (ROOT / name).iterdir():
            (folder / name / path.name).symlink_to(path)
    (folder / "dataset").mkdir()
    (folder / "dataset/cells").symlink_to(DATA)
    (folder / "configs/cells.yml").write_text(configuration())
    (folder / "configs/cells_ppyoloe.yml").write_text(configuration("ppyoloe_digits"))
    return folder


def run(command: str, folder: Path) -> str:
    """What a command that starts with ``python`` prints, without the times of its log."""
    result = subprocess.run(
        ["bash", "-c", command.replace("python", f"{sys.executable} -W ignore", 1)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return re.sub(r"^\[.*?\] paddle_focal INFO: ", "", result.stdout, flags=re.MULTILINE)
