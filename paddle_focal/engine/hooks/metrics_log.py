"""The course of a run as numbers: ``metrics.jsonl``, and the same for VisualDL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from paddle import Tensor
from ppdet.engine.callbacks import Callback, VisualDLWriter

from paddle_focal.engine.hooks.evaluation_report import EvaluationReport
from paddle_focal.engine.hooks.scheduled_gamma import ScheduledGamma
from paddle_focal.files import write_whole
from paddle_focal.losses.normalizer import ForegroundNormalizer


def latest_losses(status: dict) -> dict[str, float]:
    """The losses of the iteration that just ended."""
    return {name: float(np.squeeze(meter.value)) for name, meter in status["training_staus"].meters.items()}


class MetricsLog(Callback):
    """Adds a line to ``metrics.jsonl`` after every iteration and every evaluation.

    A line is a JSON object with ``iteration`` and ``epoch``, both counted from 1. For an iteration it also has the
    losses, the ``learning_rate``, the ``gamma`` if it is scheduled, and the number of ``foreground`` anchors of
    FocalRetinaHead on this rank; for an evaluation, the metrics. A resumed run continues the file, without the lines
    from after its checkpoint. If VisualDL is on, it also gets the values that ppdet does not give to it.

    Args:
        trainer: ppdet's.
        path: the file.
        seen: iterations before the first one of this process.
        gamma: the schedule of gamma, or None.
        evaluation: the callback whose metrics are written; must be registered before this one.

    Attributes:
        records: the lines of the file.
    """

    def __init__(
        self, trainer, path: Path, seen: int, gamma: ScheduledGamma | None, evaluation: EvaluationReport
    ) -> None:
        super().__init__(trainer)
        self._gamma, self._evaluation = gamma, evaluation
        self._writers = [one.vdl_writer for one in trainer._callbacks if isinstance(one, VisualDLWriter)]
        self._foreground: Tensor | None = None
        for layer in trainer.model.sublayers():
            if isinstance(layer, ForegroundNormalizer):
                layer.register_forward_pre_hook(self._note_foreground)
        lines = path.read_text().splitlines() if seen and path.exists() else []
        self.records = [record for record in map(_record, lines) if record and record["iteration"] <= seen]
        text = "".join(json.dumps(record) + "\n" for record in self.records)
        write_whole(path, lambda partial: partial.write_text(text))
        self._file = path.open("a", buffering=1)

    def on_step_end(self, status: dict) -> None:
        if status["mode"] != "train":
            return
        extra = {"learning_rate": float(status["learning_rate"])}
        if self._gamma:
            extra["gamma"] = self._gamma.gamma
        if self._foreground is not None:
            extra["foreground"] = int(self._foreground.item())
        self._add(status, {**latest_losses(status), **extra}, for_visualdl=extra)

    def on_epoch_end(self, status: dict) -> None:
        metrics = self._evaluation.metrics
        if status["mode"] == "eval" and metrics:
            self._add(status, metrics, {name: value for name, value in metrics.items() if value is not None})

    def on_train_end(self, status: dict) -> None:
        self._file.close()
        for writer in self._writers:
            writer.close()  # it writes in a thread of its own

    def _note_foreground(self, _normalizer, inputs: tuple[Tensor]) -> None:
        if self.model.model.training:
            self._foreground = inputs[0]

    def _add(self, status: dict, values: Mapping[str, float | None], for_visualdl: Mapping[str, float]) -> None:
        if status["mode"] == "train":
            iteration = status["epoch_id"] * status["steps_per_epoch"] + status["step_id"] + 1
        else:
            iteration = (status["epoch_id"] + 1) * status["steps_per_epoch"]
        record = {"iteration": iteration, "epoch": status["epoch_id"] + 1, **values}
        self.records.append(record)
        self._file.write(json.dumps(record) + "\n")
        for writer in self._writers:
            for name, value in for_visualdl.items():
                writer.add_scalar(name, value, iteration)


def _record(line: str) -> dict | None:
    try:
        return json.loads(line)
    except ValueError:  # the last line of a run that was killed
        return None
