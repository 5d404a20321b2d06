"""Training runs in this process: ppdet's trainer and all callbacks on a tiny detector, in a second or two."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import signal
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Callable
from unittest.mock import patch

import numpy as np
import paddle
import pytest
from ppdet.core import workspace
from ppdet.engine import callbacks
from ppdet.metrics import COCOMetric
from ppdet.modeling.architectures.meta_arch import BaseArch

from paddle_focal.cli import analyze, check_data, evaluate, export, infer, train
from paddle_focal.engine import logs, report, runtime
from paddle_focal.engine.hooks import loss_curve
from paddle_focal.engine.hooks.interruption import Interrupted

CONFIG = Path(__file__).resolve().parents[2] / "configs/retinanet_r18_fpn_digits.yml"
#: Twelve images of 64 pixels, in three batches an epoch.
IMAGES, BATCH = 12, 4
STEPS = IMAGES // BATCH
SETTINGS = (
    "RetinaNet.backbone=CSPDarkNet",
    "CSPDarkNet.depth_mult=0.1",
    "CSPDarkNet.width_mult=0.125",
    "FPN.out_channel=8",
    "RetinaHead.conv_feat.feat_in=8",
    "RetinaHead.conv_feat.feat_out=8",
    "RetinaHead.conv_feat.num_convs=1",
    "RetinaHead.conv_feat.norm_type=null",
    "LearningRate.schedulers=[{name: CosineDecay, max_epochs: 8}, {name: LinearWarmup, start_factor: 0.5, steps: 1}]",
    f"TrainReader.batch_size={BATCH}",
    "snapshot_epoch=1",
    "log_iter=1",
    "epoch=2",
)


@contextlib.contextmanager
def undisturbed_process() -> Iterator[None]:
    """Takes back what a tool changes in its process, beside ppdet's workspace."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    states = random.getstate(), np.random.get_state(), paddle.get_rng_state()  # noqa: NPY002
    loggers = {one: list(one.handlers) for one in logging.root.manager.loggerDict.values() if hasattr(one, "handlers")}
    shown = {one: (one.stream, list(one.filters)) for one in logs.console_handlers()}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        paddle.set_rng_state(states[2])
        for one, previous in loggers.items():
            for handler in [handler for handler in one.handlers if handler not in previous]:
                handler.close()
            one.handlers[:] = previous
        for handler, (stream, filters) in shown.items():
            handler.setStream(stream)
            handler.filters[:] = filters


class SmallRuns:
    """Starts training runs, and notes what their iterations see.

    Attributes:
        folder: where checkpoints and everything else of the runs go.
        data: the data set.
        images: ids of every batch that was trained on, since the last start.
        evaluated: how often a picture of the predictions was drawn.
        drawn: iterations of the loss curve and its points, as they were last drawn.
    """

    def __init__(
        self, folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch, clean: Callable[[], AbstractContextManager]
    ) -> None:
        self.folder, self.data, self._patch, self._clean = folder / CONFIG.stem, data, monkeypatch, clean
        self._config, self._settings = CONFIG, SETTINGS
        self.images: list[tuple[int, ...]] = []
        self.evaluated = 0
        self.drawn: tuple[list[int], list[int]] | None = None
        self._signal_at: tuple[str, int, int] | None = None
        self._signal = signal.SIGTERM
        self._count_images()
        self._interrupt()
        monkeypatch.setattr(loss_curve, "draw_loss_curve", self._draw_curve)  # a third of a second each
        monkeypatch.setattr(report, "draw_predictions", self._draw_predictions)
        monkeypatch.setattr(runtime, "use_all_cores", lambda: None)  # the other tests have one

    def arguments(self, *options: str, flags: Iterable[str] = (), save_dir: Path | None = None) -> list[str]:
        data = [f"{name}Dataset.dataset_dir={self.data}" for name in ("Train", "Eval")]
        where = f"save_dir={save_dir or self.folder.parent}"
        return ["-c", str(self._config), *flags, "-o", *self._settings, *data, where, *options]

    def use(self, name: str, *settings: str) -> None:
        """Another configuration of ``configs/``, with settings that make it small."""
        self._config, self._settings = CONFIG.with_stem(name), settings
        self.folder = self.folder.with_name(name)

    def train(
        self, *options: str, flags: Iterable[str] = (), final_eval: bool = False, save_dir: Path | None = None
    ) -> None:
        """``tools/train.py``, seeded, from the start unless a flag says to resume."""
        self.images.clear()
        flags = ["--enable_ce", "true", *flags, *([] if final_eval else ["--skip_final_eval"])]
        with self._process():
            train.main(self.arguments(*options, flags=flags, save_dir=save_dir))

    def resume(self, *options: str, flags: Iterable[str] = (), **how) -> None:
        self.train(*options, flags=["--resume", "auto", *flags], **how)

    def evaluate(self, *options: str, flags: Iterable[str] = (), save_dir: Path | None = None) -> None:
        """``tools/eval.py``."""
        with self._process():
            evaluate.main(self.arguments(*options, flags=flags, save_dir=save_dir))

    def check_data(self, *options: str) -> None:
        """``tools/check_data.py``."""
        with self._process():
            check_data.main(self.arguments(*options))

    def infer(self, *options: str, flags: Iterable[str] = ()) -> None:
        """``tools/infer.py``."""
        with self._process():
            infer.main(self.arguments(f"TestDataset.dataset_dir={self.data}", *options, flags=flags))

    def export(self, *options: str, flags: Iterable[str] = ()) -> None:
        """``tools/export_model.py``, which traces ppdet's own method."""
        with self._process(), patch.object(BaseArch, "forward", self._forward):
            export.main(self.arguments(f"TestDataset.dataset_dir={self.data}", *options, flags=flags))

    def random_weights(self, *options: str) -> Path:
        """Weights of a network with group norms in its head, which finds boxes of many scores anywhere."""
        with self._process():
            runtime.load_config(train.parse_arguments(self.arguments(*options)))
            paddle.seed(3)
            model = workspace.create("RetinaNet")
            head = model.head
            for part, scale in ((head.conv_feat, 1.0), (head.retina_cls, 0.2), (head.retina_reg, 0.02)):
                for layer in part.sublayers(include_self=True):
                    if isinstance(layer, paddle.nn.Conv2D):
                        layer.weight.set_value(scale * paddle.randn(layer.weight.shape))
            path = self.folder.parent / "random.pdparams"
            paddle.save(model.state_dict(), str(path))
        return path

    def analyze(self, *options: str, flags: Iterable[str] = ()) -> None:
        """``tools/analyze.py``."""
        with self._process():
            analyze.main(self.arguments(*options, flags=flags))

    def interrupt(
        self,
        epoch: int,
        iteration: int,
        *options: str,
        flags: Iterable[str] = (),
        mode: str = "train",
        number: signal.Signals = signal.SIGTERM,
        **how,
    ) -> Path:
        """A run that gets a signal in an iteration, both counted from 0; its checkpoint, without ending."""
        self._signal_at, self._signal = (mode, epoch, iteration), number
        with pytest.raises(Interrupted) as end:
            self.train(*options, flags=flags, **how)
        assert end.value.code == 128 + number
        assert self._signal_at is None
        return self.folder / f"interrupted_{epoch}_{iteration + 1}"

    def script_ap(self, *values: float) -> None:
        """Has the evaluations to come find these APs, one after the other."""
        coming = iter(values)

        def accumulate(metric) -> None:
            metric.eval_results = {"bbox": [next(coming)] * 12}

        self._patch.setattr(COCOMetric, "accumulate", accumulate)
        self._patch.setattr(COCOMetric, "log", lambda metric: None)

    def records(self) -> list[dict]:
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]

    def state(self, name: str = "model_final") -> dict:
        return json.loads((self.folder / f"{name}.state.json").read_text())

    def checkpoints(self) -> set[str]:
        return {path.name.removesuffix(".state.json") for path in self.folder.glob("*.state.json")}

    @contextlib.contextmanager
    def _process(self) -> Iterator[None]:
        """As in one of its own, nothing of the run before is left: no options, and parameters count from 0."""
        with self._clean(), paddle.utils.unique_name.guard(), undisturbed_process():
            yield

    def _count_images(self) -> None:
        forward = self._forward = BaseArch.forward

        def noting(model, inputs):
            if model.training:
                self.images.append(tuple(inputs["im_id"].flatten().tolist()))
            return forward(model, inputs)

        self._patch.setattr(BaseArch, "forward", noting)

    def _interrupt(self) -> None:
        on_step_end = callbacks.LogPrinter.on_step_end

        def interrupting(printer, status: dict) -> None:
            on_step_end(printer, status)
            if self._signal_at == (status["mode"], status.get("epoch_id"), status["step_id"]):
                self._signal_at = None
                os.kill(os.getpid(), self._signal)

        self._patch.setattr(callbacks.LogPrinter, "on_step_end", interrupting)

    def _draw_curve(self, iterations, losses, path, validation_losses=None) -> None:
        assert all(len(values) == len(iterations) for values in losses.values())
        self.drawn = list(iterations), list(validation_losses or {})

    def _draw_predictions(self, *_) -> None:
        self.evaluated += 1


def assert_same_content(one: Path, other: Path) -> None:
    """Of two files of Paddle, to the last bit."""
    first, second = (paddle.load(str(path)) for path in (one, other))
    assert first.keys() == second.keys()
    for name, value in first.items():
        if paddle.is_tensor(value):
            np.testing.assert_array_equal(value.numpy(), second[name].numpy(), err_msg=name)
        else:
            assert value == second[name], name
