"""What a person sees of a run: a progress bar on a terminal, plain lines elsewhere, the loss curve."""

from __future__ import annotations

import logging
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from paddle import distributed
from ppdet.engine.callbacks import Callback
from tqdm import tqdm

from paddle_focal.detection.gamma import ScheduledGamma
from paddle_focal.detection.report import draw_loss_curve
from paddle_focal.detection.runtime import console_handlers
from paddle_focal.detection.validation import ValidationLoss


def latest_losses(status: dict) -> dict[str, float]:
    """The losses of the iteration that just ended."""
    return {name: float(np.squeeze(meter.value)) for name, meter in status["training_staus"].meters.items()}


class _AboveTheBar:
    """A stream that prints above the progress bar instead of through it."""

    def write(self, text: str) -> None:
        tqdm.write(text, file=sys.stdout, end="")

    def flush(self) -> None:
        sys.stdout.flush()


class ProgressBar(Callback):
    """A bar with the loss, the learning rate and the time left, in place of ppdet's lines on the terminal.

    The lines still go to the log file. Where gamma is scheduled, it is there, too.
    """

    def __init__(self, trainer, gamma: ScheduledGamma | None) -> None:
        super().__init__(trainer)
        self.gamma = gamma
        self.bar = None
        for handler in console_handlers():
            handler.setStream(_AboveTheBar())
            handler.addFilter(_is_not_a_progress_line)

    def on_train_begin(self, status: dict) -> None:
        steps, epochs = status["steps_per_epoch"], self.model.cfg.epoch
        first = self.model.start_epoch * steps
        self.bar = tqdm(total=epochs * steps, initial=first, unit="it", desc="train", dynamic_ncols=True)

    def on_step_end(self, status: dict) -> None:
        if status["mode"] != "train":
            return
        self.bar.set_description(f"epoch {status['epoch_id'] + 1}/{self.model.cfg.epoch}", refresh=False)
        shown = {"loss": f"{latest_losses(status)['loss']:.4f}", "lr": f"{status['learning_rate']:.2e}"}
        if self.gamma:
            shown["gamma"] = f"{self.gamma.gamma:.3g}"
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()

    def on_train_end(self, status: dict) -> None:
        self.bar.close()


def _is_not_a_progress_line(record: logging.LogRecord) -> bool:
    return not (record.module == "callbacks" and record.funcName == "on_step_end")


class LossCurve(Callback):
    """Keeps the losses of every iteration and draws them into ``loss_curve.png`` after each epoch and evaluation."""

    def __init__(self, trainer, path: Path, validation: ValidationLoss | None) -> None:
        super().__init__(trainer)
        self.path = path
        self.validation = validation
        self.validation_losses: dict[int, float] = {}
        self.iterations: list[int] = []
        self.losses: dict[str, list[float]] = defaultdict(list)

    def on_step_end(self, status: dict) -> None:
        if status["mode"] != "train":
            return
        self.iterations.append(status["epoch_id"] * status["steps_per_epoch"] + status["step_id"] + 1)
        for name, value in latest_losses(status).items():
            self.losses[name].append(value)

    def on_epoch_end(self, status: dict) -> None:
        if status["mode"] == "eval" and self.validation:
            self.validation_losses[self.iterations[-1]] = self.validation.results["val_loss"]
        draw_loss_curve(self.iterations, self.losses, self.path, self.validation_losses)


def progress_callbacks(
    trainer, folder: Path, gamma: ScheduledGamma | None, validation: ValidationLoss | None
) -> list[Callback]:
    """The callbacks of a training run; none but on the first rank."""
    if distributed.get_rank() != 0:
        return []
    callbacks: list[Callback] = [LossCurve(trainer, folder / "loss_curve.png", validation)]
    if sys.stdout.isatty() and sys.stderr.isatty():
        callbacks.insert(0, ProgressBar(trainer, gamma))
    return callbacks
