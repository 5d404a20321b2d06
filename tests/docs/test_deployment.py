"""The page on deployment: its scripts, on models with random weights, against the boxes of ``tools/infer.py``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle_limits import IS_PADDLE_2
from tutorial import ROOT, blocks_of, checkout, commands_of, read, run

pytest.importorskip("ppdet")

from ppdet.core import workspace

PAGE = read("deployment.md")
NAMES = ("prepare", "predict_paddle", "predict_onnx")
SCRIPTS = dict(zip(NAMES, (block for kind, block in blocks_of(PAGE) if kind == "python")))
INFER = "python tools/infer.py -c configs/cells.yml --infer_dir new --output_dir drawn --visualize false"


def test_commands_name_what_there_is():
    commands = [command.split()[1] for command in commands_of(PAGE) if command.startswith("python ")]
    assert len(commands) == 5
    for command in commands:
        assert Path(command).stem in SCRIPTS if "/" not in command else (ROOT / command).is_file()
    assert all(f"`{name}.py`" in PAGE for name in SCRIPTS)


def random_weights(folder: Path) -> None:
    from paddle_focal.cli import train
    from paddle_focal.engine import runtime

    flags = train.parse_arguments(["-c", str(folder / "configs/cells.yml"), "-o", f"save_dir={folder / 'output'}"])
    runtime.load_config(flags)
    paddle.seed(3)
    model = workspace.create("RetinaNet")
    for layer, scale in ((model.head.retina_cls, 0.1), (model.head.retina_reg, 0.02)):
        layer.weight.set_value(scale * paddle.randn(layer.weight.shape))
    paddle.save(model.state_dict(), str(folder / "output/cells/model_final.pdparams"))


def corners(x: float, y: float, width: float, height: float) -> tuple[float, ...]:
    return x, y, x + width, y + height


def sorted_boxes(boxes: Iterable[tuple]) -> list[tuple]:
    return sorted(tuple(round(value) if isinstance(value, float) else value for value in box) for box in boxes)


@pytest.mark.slow
def test_scripts_find_what_the_tool_finds(tmp_path, workspace_copy):
    folder = checkout(tmp_path)
    random_weights(folder)
    (folder / "new").mkdir()
    for path in (folder / "dataset/cells/images").glob("BloodImage_0000[0-9].jpg"):
        (folder / "new" / path.name).symlink_to(path.resolve())
    for name, script in SCRIPTS.items():
        script = script.replace("model.json", "model.pdmodel") if IS_PADDLE_2 else script  # as the page says
        (folder / f"{name}.py").write_text(script)
    run(INFER, folder)
    expected = sorted_boxes(
        (Path(box["file_name"]).name, box["category_id"] - 1, f"{box['score']:.2f}", *corners(*box["bbox"]))
        for box in json.loads((folder / "drawn/predictions.json").read_text())
        if box["score"] > 0.5
    )
    assert len(expected) > 20
    exports = [command for command in commands_of(PAGE) if "export_model.py" in command]
    for format, export in zip(("paddle", "onnx"), exports):
        if format == "onnx":
            for module in ("onnx", "paddle2onnx", "onnxruntime"):
                pytest.importorskip(module)
        (predict,) = (one for one in commands_of(PAGE) if one.startswith(f"python predict_{format}.py"))
        run(export, folder)
        lines = re.findall(r"^(\S+)  class (\d+)  score (\S+)  box (.*)$", run(predict, folder), re.MULTILINE)
        found = sorted_boxes(
            (Path(path).name, int(label), score, *map(float, box.split())) for path, label, score, box in lines
        )
        assert [box[:3] for box in found] == [box[:3] for box in expected]
        np.testing.assert_allclose([box[3:] for box in found], [box[3:] for box in expected], atol=1.01)
