"""Two processes under Paddle's launcher, which exchange gradients by gloo on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

import two_ranks
from paddle_limits import IS_PADDLE_2
from ppdet.core import workspace

pytestmark = pytest.mark.usefixtures("workspace_copy")
ROOT = Path(__file__).resolve().parents[2]


def train_on_two_ranks(folder: Path, head: str, boxes: str, normalizer: str = "local", iterations: int = 20):
    """The launcher's result, and what each rank wrote."""
    code, logs = launch(folder, "two_ranks.py", head, normalizer, boxes, str(iterations), str(folder))
    return code, logs, ranks_in(folder, "rank*.npz")


def launch(folder: Path, script: str, *arguments: str) -> tuple[int, str]:
    """Run a script of ``tests/support`` on two ranks; its exit code, and what the ranks printed."""
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(folder / "log")]
    result = subprocess.run(
        [sys.executable, *launcher, str(ROOT / "tests" / "support" / script), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    logs = "\n".join(path.read_text() for path in sorted((folder / "log").glob("workerlog.*")))
    return result.returncode, logs


def ranks_in(folder: Path, files: str) -> list[dict]:
    return [dict(np.load(path)) for path in sorted(folder.glob(files))]


def assert_ranks_agree(ranks: list[dict], where: str) -> None:
    names = [name for name in ranks[0] if name.startswith(where)]
    assert names
    for name in names:
        np.testing.assert_array_equal(ranks[1][name], ranks[0][name], err_msg=name)


class TestEmptyImages:
    @pytest.mark.parametrize(
        "boxes", ["3/2,0", *(pytest.param(boxes, marks=pytest.mark.slow) for boxes in ("3/0", "0/0"))]
    )
    def test_train(self, tmp_path, boxes):
        code, logs, ranks = train_on_two_ranks(tmp_path, "FocalRetinaHead", boxes)
        assert code == 0, logs[-3000:]
        assert [len(rank["loss"]) for rank in ranks] == [20, 20]
        assert np.isfinite(ranks[1]["loss"]).all()
        assert_ranks_agree(ranks, "gradient")
        assert_ranks_agree(ranks, "parameter")

    @pytest.mark.slow
    def test_ppdet_aborts_where_they_come_later(self, tmp_path):
        code, logs, _ = train_on_two_ranks(tmp_path, "RetinaHead", "3/2,0")
        assert code != 0
        cause = "Input(X) should be greater than 0" if IS_PADDLE_2 else "Please set find_unused_parameters=True"
        assert cause in logs

    @pytest.mark.slow
    def test_the_ranks_of_ppdet_drift_apart_where_there_is_nothing_else(self, tmp_path):
        code, _, ranks = train_on_two_ranks(tmp_path, "RetinaHead", "3/0")
        name = "parameter head.retina_reg.bias"
        assert code != 0 or np.abs(ranks[0][name] - ranks[1][name]).max() > 1e-6


class TestSynchronisedNormalizer:
    BOXES = (5, 1)

    def test_gradients_of_two_ranks_are_those_of_one_process(self, tmp_path):
        boxes = "/".join(str(count) for count in self.BOXES)
        code, logs, ranks = train_on_two_ranks(tmp_path, "FocalRetinaHead", boxes, "sync", iterations=1)
        assert code == 0, logs[-3000:]
        paddle.seed(0)
        model = two_ranks.SmallRetinaNet(two_ranks.create_head("FocalRetinaHead"))
        inputs = [image for i, count in enumerate(self.BOXES) for image in two_ranks.images([count], seed=i)]
        model(two_ranks.batch(inputs))["loss"].backward()
        expected = two_ranks.gradients(model)
        assert len(expected) == len(model.parameters())
        for name, gradient in expected.items():
            np.testing.assert_allclose(
                ranks[0][f"gradient {name}"], gradient, rtol=1e-5, atol=1e-6 * np.abs(gradient).max(), err_msg=name
            )
        assert_ranks_agree(ranks, "gradient")


@pytest.mark.slow
def test_replaced_detectors_where_a_rank_has_no_boxes(tmp_path):
    """PaddleDetection's FCOS is NaN on both ranks; its PP-YOLOE and PicoDet of 2.6.0 raise on one, the other waits."""
    names = ["ppyoloe", "picodet", "fcos", *(["rtdetr"] if "RTDETRTransformer" in workspace.global_config else [])]
    code, logs = launch(tmp_path, "ranks_without_boxes.py", str(tmp_path), *names)
    assert code == 0, logs[-3000:]
    assert "Focal losses of paddle_focal in" in logs
    for name in names:
        ranks = ranks_in(tmp_path, f"{name}-rank*.npz")
        assert [len(rank["loss"]) for rank in ranks] == [10, 10]
        assert np.isfinite([rank["loss"] for rank in ranks]).all(), name
        assert_ranks_agree(ranks, "parameter")
