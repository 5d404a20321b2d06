"""PaddleX writes a configuration of its own, and starts PaddleDetection's tools/train.py as a child."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TREES = ("PADDLEX", "PADDLEDETECTION")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not {*TREES} <= os.environ.keys(), reason=f"{TREES} do not name source trees"),
]
#: As paddlex/repo_apis/base/runner.py: a child in PaddleDetection's folder, with a copy of the environment.
RUNNER = """
import asyncio, os, sys

async def train(arguments):
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    environment = {**os.environ.copy(), "CUDA_VISIBLE_DEVICES": "0"}
    command = [sys.executable, "tools/train.py", "--eval", "--config", *arguments]
    child = await asyncio.create_subprocess_exec(*command, env=environment, cwd=sys.argv[1], **pipes)
    output, errors = await child.communicate()
    sys.stdout.buffer.write(output + errors)
    return child.returncode

sys.exit(asyncio.run(train(sys.argv[2:])))
"""


@pytest.fixture(scope="module")
def paddlex() -> Path:
    return Path(os.environ["PADDLEX"]) / "paddlex/repo_apis/PaddleDetection_api"


@pytest.fixture(scope="module")
def config_helper(paddlex) -> ModuleType:
    spec = importlib.util.spec_from_file_location("config_helper", paddlex / "config_helper.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_line_cannot_stand_in_its_configurations(config_helper, tmp_path):
    (tmp_path / "a.yml").write_text("paddle_focal: !!python/object/apply:paddle_focal.detection.replace []")
    with pytest.raises(yaml.constructor.ConstructorError, match=r"paddle_focal\.detection\.replace"):
        config_helper.PPDetConfigMixin().load_config_literally(str(tmp_path / "a.yml"))


@pytest.mark.parametrize("is_run", [True, False])
def test_training(paddlex, config_helper, tmp_path, few_digits, is_run):
    """A configuration that it has written trains with our losses below ``paddle-focal run`` only."""
    mixin = config_helper.PPDetConfigMixin()
    config = mixin.load_config_literally(str(paddlex / "configs/PicoDet-XS.yaml"))
    train = {"image_dir": "train", "anno_path": "annotations/instances_train.json"}
    val = {"image_dir": "val", "anno_path": "annotations/instances_val.json"}
    data = {"name": "COCODataSet", "dataset_dir": str(few_digits)}
    changes = {
        "TrainDataset": {**data, **train, "data_fields": ["image", "gt_bbox", "gt_class", "is_crowd"]},
        "EvalDataset": {**data, **val},
        "num_classes": 10,
        "epoch": 1,
        "log_iter": 1,
        "worker_num": 0,
        "use_gpu": False,
        "pretrain_weights": None,
        "save_dir": str(tmp_path),
    }
    mixin.update_from_dict(changes, config)
    config["TrainReader"]["batch_size"] = 4
    mixin.dump_literal_config(str(tmp_path / "config.yml"), config)
    (tmp_path / "runner.py").write_text(RUNNER)
    run = [sys.executable, "-m", "paddle_focal", "run"] if is_run else []
    result = subprocess.run(
        [
            *run,
            sys.executable,
            str(tmp_path / "runner.py"),
            os.environ["PADDLEDETECTION"],
            str(tmp_path / "config.yml"),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    assert ("Focal losses of paddle_focal in" in result.stdout) == is_run
    losses = [float(loss) for loss in re.findall(r" loss_vfl: ([\d.]+)", result.stdout)]
    assert len(losses) == 3
