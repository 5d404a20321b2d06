"""The tutorial: its configuration, and what its tools print, on the data that it is about."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from paddle_limits import IS_PADDLE_2
from tutorial import DATA, ROOT, blocks_of, checkout, commands_of, read, run

pytest.importorskip("ppdet")

TEXT = read("train_your_own_data.md")
BLOCKS, COMMANDS = blocks_of(TEXT), commands_of(TEXT)


@pytest.fixture
def folder(tmp_path) -> Path:
    return checkout(tmp_path)


def few(source: Path, target: Path) -> None:
    """The annotations of the first eight images."""
    content = json.loads(source.read_text())
    content["images"] = content["images"][:8]
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in ids]
    target.write_text(json.dumps(content))


def test_commands_name_what_there_is():
    tools = [command.split()[1] for command in COMMANDS if command.startswith("python tools/")]
    assert len(tools) == 13
    assert all((ROOT / tool).is_file() for tool in tools)
    images = re.findall(r"!\[[^]]+\]\((.*?)\)", TEXT)
    assert len(images) == 2
    assert all((ROOT / "docs/en" / image).is_file() for image in images)


@pytest.mark.parametrize("tool", ["check_data", "class_alpha"])
def test_prints_what_is_shown(folder, tool):
    """Those that are done in seconds."""
    (command,) = (command for command in COMMANDS if f"/{tool}.py" in command)
    printed = run(command, folder)
    shown = TEXT[TEXT.index(command) :].split("```")[2].strip()
    assert len(shown) > 100
    assert shown in printed


@pytest.mark.slow
def test_train_and_export(folder):
    """The other commands, on a few of the images, with a training of one epoch."""
    (folder / "dataset/cells").unlink()
    (folder / "dataset/cells/annotations").mkdir(parents=True)
    (folder / "dataset/cells/images").symlink_to(DATA / "images")
    for split in ("train", "val"):
        few(DATA / f"annotations/instances_{split}.json", folder / f"dataset/cells/annotations/instances_{split}.json")
    for command in COMMANDS[COMMANDS.index("python tools/train.py -c configs/cells.yml --eval --enable_ce true") :]:
        if command.startswith("python tools/train.py"):
            command += " -o epoch=1"
        if command.startswith("python tools/analyze.py"):
            command += " --images 4"
        if command.startswith("python"):
            script = next(block for kind, block in BLOCKS if kind == "python")
            script = script.replace("model.json", "model.pdmodel") if IS_PADDLE_2 else script  # as the tutorial says
            (folder / "predict.py").write_text(script)
            run(command, folder)
        else:
            subprocess.run(command, shell=True, cwd=folder, check=True)
    written = ("cells/metrics.json", "cells/loss_distribution.png", "cells_ppyoloe/bbox.json")
    assert all((folder / "output" / name).is_file() for name in written)
    assert (folder / "drawn/predictions.json").is_file()
    assert (folder / "output_inference/cells_ppyoloe/infer_cfg.yml").is_file()
