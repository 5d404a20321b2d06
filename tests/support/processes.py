"""The tools as processes of their own, and what they leave."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import paddle
import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/retinanet_r18_fpn_digits.yml"
NAME = CONFIG.stem
#: A network of 0.6 million parameters, which trains on a batch in 0.2 seconds.
SMALL = (
    "RetinaNet.backbone=CSPDarkNet",
    "CSPDarkNet.depth_mult=0.33",
    "CSPDarkNet.width_mult=0.125",
    "snapshot_epoch=1",
    "log_iter=1",
    "TrainReader.batch_size=20",
)


def command_line(folder: Path, digits: Path, *options: str) -> list[str]:
    data = [f"{name}Dataset.dataset_dir={digits}" for name in ("Train", "Eval")]
    flags = ["--skip_final_eval", "--enable_ce", "true"]
    return ["-c", str(CONFIG), *flags, "-o", *SMALL, *data, f"save_dir={folder}", *options]


def start(arguments: list[str], *flags: str, launcher: Sequence[str] = (), **options) -> subprocess.Popen:
    command = [sys.executable, "-W", "ignore", *launcher, "tools/train.py", *flags, *arguments]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **options,
    )


def train(arguments: list[str], *flags: str, code: int = 0, **options) -> str:
    process = start(arguments, *flags, **options)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output[-3000:]
    return output


def read_until(process: subprocess.Popen, text: str) -> str:
    """What the process writes until there is such a line in it."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError("".join(lines)[-3000:])


def tensors(folder: Path, name: str = "model_final") -> dict[str, np.ndarray]:
    state = paddle.load(str(folder / NAME / f"{name}.pdparams"))
    return {key: tensor.numpy() for key, tensor in state.items()}


def assert_same_weights(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def run_tool(name: str, folder: Path, digits: Path, *options: str, flags: tuple[str, ...] = (), config: Path = CONFIG):
    """Run ``tools/<name>.py`` on the data set, with its output in ``folder``."""
    settings = [f"TrainDataset.dataset_dir={digits}", f"EvalDataset.dataset_dir={digits}", f"save_dir={folder}"]
    command = [sys.executable, str(ROOT / "tools" / f"{name}.py"), "-c", str(config), *flags, "-o", *settings, *options]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result


def logged_losses(folder: Path) -> np.ndarray:
    log = next(folder.rglob("train.log")).read_text()
    return np.array([float(value) for value in re.findall(r" loss: ([\d.]+)", log)])


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of every scalar of the one log in a folder."""
    reader = pytest.importorskip("visualdl").LogReader(file_path=str(next(folder.glob("vdlrecords.*.log"))))
    return {
        Path(tag).name: [(item.id, item.value) for item in reader.get_data("scalar", Path(tag).name)]
        for tag, kind in reader.tags().items()
        if kind == "scalar"
    }
