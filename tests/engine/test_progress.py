"""What a person sees of a run, and the log that it is drawn from, callback by callback."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("ppdet")

from ppdet.engine.callbacks import VisualDLWriter

from paddle_focal.engine.hooks import loss_curve, progress
from paddle_focal.engine.hooks.metrics_log import MetricsLog


@pytest.mark.parametrize(
    ("rank", "stdout", "stderr", "names"),
    [
        (0, True, True, ["ProgressBar", "MetricsLog", "LossCurve"]),
        (0, True, False, ["MetricsLog", "LossCurve"]),
        (0, False, True, ["MetricsLog", "LossCurve"]),
        (1, True, True, []),
    ],
)
def test_a_bar_on_a_terminal_and_nothing_on_other_ranks(monkeypatch, tmp_path, rank, stdout, stderr, names):
    for name in ("ProgressBar", "MetricsLog", "LossCurve"):
        monkeypatch.setattr(progress, name, lambda *_, name=name: name)
    monkeypatch.setattr(progress.distributed, "get_rank", lambda: rank)
    monkeypatch.setattr("sys.stdout.isatty", lambda: stdout)
    monkeypatch.setattr("sys.stderr.isatty", lambda: stderr)
    assert progress.progress_callbacks(SimpleNamespace(), tmp_path, 0, None, SimpleNamespace()) == names


def test_the_curve_is_of_losses_only(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(loss_curve, "draw_loss_curve", lambda *arguments: drawn.append(arguments))
    step = {"iteration": 1, "epoch": 1, "loss": 2.0, "loss_cls": 1.5, "learning_rate": 0.1, "gamma": 2.0}
    log = SimpleNamespace(records=[step, {"iteration": 1, "epoch": 1, "bbox_AP": 0.5, "val_loss": 3.0}])
    loss_curve.LossCurve(SimpleNamespace(), tmp_path / "loss_curve.png", log).on_epoch_end({"mode": "eval"})
    assert drawn == [([1], {"loss": [2.0], "loss_cls": [1.5]}, tmp_path / "loss_curve.png", {1: 3.0})]


@pytest.fixture
def recorded():
    """What is given to VisualDL."""
    return []


@pytest.fixture
def log(tmp_path, recorded):
    writer = VisualDLWriter.__new__(VisualDLWriter)
    writer.vdl_writer = SimpleNamespace(add_scalar=lambda *scalar: recorded.append(scalar))
    trainer = SimpleNamespace(_callbacks=[writer], model=SimpleNamespace(sublayers=list))
    evaluation = SimpleNamespace(metrics={"bbox_AP": 0.5, "bbox_APl": None})
    return MetricsLog(trainer, tmp_path / "metrics.jsonl", 0, None, evaluation)


def test_a_line_is_in_the_file_at_once(log, tmp_path):
    meters = {"loss": SimpleNamespace(value=np.array([2.0]))}
    status = {"mode": "train", "epoch_id": 0, "step_id": 1, "steps_per_epoch": 3, "learning_rate": 0.1}
    log.on_step_end({**status, "training_staus": SimpleNamespace(meters=meters)})
    expected = {"iteration": 2, "epoch": 1, "loss": 2.0, "learning_rate": 0.1}
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [expected]


def test_visualdl_gets_no_metric_without_a_value(log, recorded):
    log.on_epoch_end({"mode": "eval", "epoch_id": 1, "steps_per_epoch": 3})
    assert log.records == [{"iteration": 6, "epoch": 2, "bbox_AP": 0.5, "bbox_APl": None}]
    assert recorded == [("bbox_AP", 0.5, 6)]
