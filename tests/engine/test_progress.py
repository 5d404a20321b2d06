"""What a person sees of a run, and the log that it is drawn from, callback by callback."""

from __future__ import annotations

import functools
import io
import json
import logging
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from ppdet.core.workspace import AttrDict
from ppdet.engine.callbacks import VisualDLWriter
from tqdm import tqdm

from paddle_focal.engine.hooks import loss_curve, progress
from paddle_focal.engine.hooks.metrics_log import MetricsLog
from paddle_focal.losses.normalizer import ForegroundNormalizer


@pytest.mark.parametrize(
    ("rank", "stdout", "stderr", "names"),
    [
        (0, True, True, ["ProgressBar", "MetricsLog", "LossCurve", "LastIteration"]),
        (0, True, False, ["MetricsLog", "LossCurve", "LastIteration"]),
        (0, False, True, ["MetricsLog", "LossCurve", "LastIteration"]),
        (1, True, True, []),
    ],
)
def test_a_bar_on_a_terminal_and_nothing_on_other_ranks(monkeypatch, tmp_path, rank, stdout, stderr, names):
    for name in ("ProgressBar", "MetricsLog", "LossCurve", "LastIteration"):
        monkeypatch.setattr(progress, name, lambda *_, name=name: name)
    monkeypatch.setattr(progress.distributed, "get_rank", lambda: rank)
    monkeypatch.setattr("sys.stdout.isatty", lambda: stdout)
    monkeypatch.setattr("sys.stderr.isatty", lambda: stderr)
    callbacks = lambda: progress.progress_callbacks(SimpleNamespace(), tmp_path, 0, None, SimpleNamespace())  # noqa: E731
    assert callbacks() == names
    monkeypatch.setattr(progress, "is_quiet", lambda: True)
    assert "ProgressBar" not in callbacks()


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


def test_the_files_are_closed_at_the_end(log, recorded):
    log._writers[0].close = lambda: recorded.append("closed")
    log.on_train_end({})
    assert recorded == ["closed"]
    with pytest.raises(ValueError, match="closed file"):
        log.on_epoch_end({"mode": "eval", "epoch_id": 1, "steps_per_epoch": 3})


class Bar:
    """Notes what is done to a bar of tqdm's."""

    def __init__(self, **options) -> None:
        self.calls = [options]

    def __getattr__(self, name: str):
        return lambda *arguments, **options: self.calls.append((name, arguments, options))


@pytest.mark.parametrize("gamma", [None, SimpleNamespace(gamma=1.23456)])
def test_what_the_bar_shows(monkeypatch, gamma):
    monkeypatch.setattr(progress, "tqdm", Bar)
    monkeypatch.setattr(progress, "console_handlers", list)
    bar = progress.ProgressBar(SimpleNamespace(cfg=SimpleNamespace(epoch=12)), 7, gamma)
    bar.on_train_begin({"steps_per_epoch": 5})
    meters = {"loss": SimpleNamespace(value=np.array([1.23456]))}
    status = {"epoch_id": 2, "learning_rate": 0.0012345, "training_staus": SimpleNamespace(meters=meters)}
    bar.on_step_end({"mode": "eval", **status})
    bar.on_step_end({"mode": "train", **status})
    bar.on_train_end({})
    shown = {"lr": "1.23e-03", **({"gamma": "1.23"} if gamma else {})}
    assert bar.bar.calls == [
        {"total": 60, "initial": 7, "unit": "it", "desc": "train", "dynamic_ncols": True},
        ("set_description", ("epoch 3/12, loss 1.2346",), {"refresh": False}),
        ("set_postfix", (shown,), {"refresh": False}),
        ("update", (), {}),
        ("close", (), {}),
    ]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_loss_is_seen_on_a_terminal_of_any_width(monkeypatch, columns):
    stream = io.StringIO()
    monkeypatch.setattr(progress, "tqdm", functools.partial(tqdm, file=stream, mininterval=0))
    monkeypatch.setattr(progress, "console_handlers", list)
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda _: (columns, 24))
    bar = progress.ProgressBar(SimpleNamespace(cfg=SimpleNamespace(epoch=300)), 0, None)
    bar.on_train_begin({"steps_per_epoch": 5000})
    meters = {"loss": SimpleNamespace(value=np.array([1.23456]))}
    status = {"epoch_id": 299, "learning_rate": 0.0012345, "training_staus": SimpleNamespace(meters=meters)}
    bar.on_step_end({"mode": "train", **status})
    shown = stream.getvalue().split("\r")[-1].rstrip()
    bar.on_train_end({})
    assert "epoch 300/300, loss 1.2346" in shown
    assert len(shown) <= columns


@pytest.mark.parametrize(
    ("epoch", "step", "mode", "is_logged"),
    [(1, 4, "train", True), (1, 3, "train", False), (0, 4, "train", False), (1, 4, "eval", False)],
)
def test_the_last_iteration_is_logged_once(monkeypatch, epoch, step, mode, is_logged):
    lines = []
    monkeypatch.setattr(logging.Logger, "info", lambda logger, text: lines.append(text))
    config = AttrDict(epoch=2, log_iter=3, TrainReader={"batch_size": 1})
    meters = SimpleNamespace(log=lambda: "loss: 1.5")
    time = SimpleNamespace(global_avg=1.0, avg=1.0)
    status = {"mode": mode, "epoch_id": epoch, "step_id": step, "steps_per_epoch": 5, "learning_rate": 0.1}
    status |= {"training_staus": meters, "batch_time": time, "data_time": time}
    trainer = SimpleNamespace(cfg=config)
    progress.LastIteration(trainer).on_step_end(status)
    assert [line.split(" learning_rate")[0] for line in lines] == ["Epoch: [1] [4/5]"] * is_logged
    assert config.log_iter == 3
    lines.clear()
    config.log_iter = 2  # of which 4 is a multiple: ppdet's own printer has logged it
    progress.LastIteration(trainer).on_step_end(status)
    assert lines == []


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_lines_above_the_bar(monkeypatch, name):
    written, flushed = [], []
    monkeypatch.setattr(progress.tqdm, "write", lambda text, file, end: written.append((text, file, end)))
    stream = SimpleNamespace(flush=lambda: flushed.append(True))
    monkeypatch.setattr(progress.sys, name, stream)
    handler = logging.StreamHandler(stream)
    monkeypatch.setattr(progress, "console_handlers", lambda: [handler])
    progress.ProgressBar(SimpleNamespace(cfg=None), 0, None)

    def record(module: str, function: str) -> logging.LogRecord:
        return logging.LogRecord("n", 20, f"/{module}.py", 1, f"of {module}.{function}", (), None, func=function)

    for module, function in (("callbacks", "on_step_end"), ("callbacks", "on_epoch_end"), ("trainer", "on_step_end")):
        handler.handle(record(module, function))
    expected = ["of callbacks.on_epoch_end", "\n", "of trainer.on_step_end", "\n"]
    assert "".join(text for text, *_ in written) == "".join(expected)
    assert {end for *_, end in written} == {""}
    assert all(file is stream for _, file, _ in written)
    assert flushed


def test_what_the_callbacks_are_given(monkeypatch, tmp_path):
    made = []
    for name in ("ProgressBar", "MetricsLog", "LossCurve", "LastIteration"):
        monkeypatch.setattr(progress, name, lambda *given, name=name: made.append((name, *given)) or name)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress.progress_callbacks("trainer", tmp_path, 7, "gamma", "evaluation")
    assert made == [
        ("MetricsLog", "trainer", tmp_path / "metrics.jsonl", 7, "gamma", "evaluation"),
        ("LossCurve", "trainer", tmp_path / "loss_curve.png", "MetricsLog"),
        ("LastIteration", "trainer"),
        ("ProgressBar", "trainer", 7, "gamma"),
    ]


def test_the_foreground_of_an_evaluation_is_not_that_of_training(tmp_path):
    normalizer = ForegroundNormalizer("local")
    model = paddle.nn.Sequential(normalizer)
    trainer = SimpleNamespace(_callbacks=[object()], model=model)
    log = MetricsLog(trainer, tmp_path / "metrics.jsonl", 0, SimpleNamespace(gamma=1.5), None)
    meters = {"loss": SimpleNamespace(value=np.array([2.0]))}
    status = {"mode": "train", "epoch_id": 1, "step_id": 0, "steps_per_epoch": 3, "learning_rate": 0.5}
    status["training_staus"] = SimpleNamespace(meters=meters)
    log.on_step_end(status)
    for training, count in ((True, 4.0), (False, 9.0)):
        model.train() if training else model.eval()
        normalizer(paddle.to_tensor(count))
    log.on_step_end(status)
    log.on_step_end({**status, "mode": "eval"})
    record = {"iteration": 4, "epoch": 2, "loss": 2.0, "learning_rate": 0.5, "gamma": 1.5}
    assert log.records == [record, {**record, "foreground": 4}]
    log.on_train_end({})


@pytest.mark.parametrize("seen", [0, 2])
def test_the_lines_that_a_resumed_run_keeps(tmp_path, seen):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"iteration": i, "epoch": 1}) for i in (1, 2, 3)]
    path.write_text("\n".join([*lines[:2], "null", lines[2], '{"iter']))
    trainer = SimpleNamespace(_callbacks=[], model=paddle.nn.Layer())
    log = MetricsLog(trainer, path, seen, None, None)
    assert path.read_text() == "".join(f"{line}\n" for line in lines[:seen])
    assert [record["iteration"] for record in log.records] == [1, 2][:seen]
    log.on_train_end({})
    (tmp_path / "none").mkdir()
    assert MetricsLog(trainer, tmp_path / "none/metrics.jsonl", 2, None, None).records == []
