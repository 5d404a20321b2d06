"""The COCO configurations are PaddleDetection's, key by key, as its source tree reads both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: The line is in force for both, so that both have the keys of the replaced components.
READ = """
import json, sys
import paddle_focal.detection
from ppdet.core import workspace
import ppdet.engine
paddle_focal.detection.replace()
config = workspace.load_config(sys.argv[1])
schedules = [{type(one).__name__: vars(one)} for one in workspace.create("LearningRate").schedulers]
print(json.dumps({**config, "LearningRate": [schedules, config["LearningRate"]["base_lr"]]}, default=str))
"""
#: Names of files, and sizes from which PaddleDetection computes beforehand what is otherwise computed for each image.
APART = {"filename", "weights", "paddle_focal", "eval_height", "eval_width", "eval_size"}


def without_false(config):
    """PaddleDetection writes out some keys that are false by default."""
    if isinstance(config, list):
        return [without_false(value) for value in config]
    if isinstance(config, dict):
        return {key: without_false(value) for key, value in config.items() if value is not False}
    return config


def read(config: Path) -> dict:
    paths = str(ROOT), os.environ["PADDLEDETECTION"], os.environ.get("PYTHONPATH", "")
    result = subprocess.run(
        [sys.executable, "-c", READ, str(config)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return without_false(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.skipif("PADDLEDETECTION" not in os.environ, reason="PADDLEDETECTION does not name a source tree")
@pytest.mark.parametrize(
    "config",
    [
        "fcos/fcos_r50_fpn_1x_coco",
        "ppyoloe/ppyoloe_plus_crn_s_80e_coco",
        "picodet/picodet_s_320_coco_lcnet",
        "rtdetr/rtdetr_r18vd_6x_coco",
    ],
)
def test_of_coco(config):
    theirs = Path(os.environ["PADDLEDETECTION"], "configs", f"{config}.yml")
    ours, stock = read(ROOT / "configs" / theirs.name), read(theirs)
    assert {"TrainReader", "TrainDataset", "OptimizerBuilder", "LearningRate", "num_classes", "epoch"} <= set(ours)
    for key in sorted((set(ours) | set(stock)) - APART):
        assert ours.get(key) == stock.get(key), key
