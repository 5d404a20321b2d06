"""What a person sees of a run: a progress bar on a terminal, plain lines elsewhere, the loss curve."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from unittest.mock import patch

from paddle import distributed
from ppdet.engine.callbacks import Callback, LogPrinter
from tqdm import tqdm

from paddle_focal.engine.hooks.evaluation_report import EvaluationReport
from paddle_focal.engine.hooks.loss_curve import LossCurve
from paddle_focal.engine.hooks.metrics_log import MetricsLog, latest_losses
from paddle_focal.engine.hooks.scheduled_gamma import ScheduledGamma
from paddle_focal.engine.logs import console_handlers, is_quiet


class _AboveTheBar:
    """A stream that prints above the progress bar instead of through it."""

    def __init__(self, stream) -> None:
        self._name = "stderr" if stream is sys.stderr else "stdout"

    def write(self, text: str) -> None:
        tqdm.write(text, file=getattr(sys, self._name), end="")

    def flush(self) -> None:
        getattr(sys, self._name).flush()


class ProgressBar(Callback):
    """A bar with the loss, the learning rate and the time left, in place of ppdet's lines on the terminal.

    ppdet's lines still go to the log file. If gamma is scheduled, the bar shows it, too.

    Args:
        trainer: ppdet's.
        seen: iterations before the first one of this process.
        gamma: the schedule of gamma, or None.
    """

    def __init__(self, trainer, seen: int, gamma: ScheduledGamma | None) -> None:
        super().__init__(trainer)
        self._seen, self.gamma = seen, gamma
        self.bar = None
        for handler in console_handlers():
            handler.setStream(_AboveTheBar(handler.stream))
            handler.addFilter(_is_not_a_progress_line)

    def on_train_begin(self, status: dict) -> None:
        steps, epochs = status["steps_per_epoch"], self.model.cfg.epoch
        self.bar = tqdm(total=epochs * steps, initial=self._seen, unit="it", desc="train", dynamic_ncols=True)

    def on_step_end(self, status: dict) -> None:
        if status["mode"] != "train":
            return
        # The loss comes first: what a narrow terminal has no room for is cut off at the end.
        epoch = f"epoch {status['epoch_id'] + 1}/{self.model.cfg.epoch}"
        self.bar.set_description(f"{epoch}, loss {latest_losses(status)['loss']:.4f}", refresh=False)
        shown = {"lr": f"{status['learning_rate']:.2e}"}
        if self.gamma:
            shown["gamma"] = f"{self.gamma.gamma:.3g}"
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()

    def on_train_end(self, status: dict) -> None:
        self.bar.close()


class LastIteration(Callback):
    """Logs the last iteration of a run, which ppdet's own printer does at multiples of ``log_iter`` only."""

    def on_step_end(self, status: dict) -> None:
        if status["mode"] != "train":
            return
        config, left = self.model.cfg, status["steps_per_epoch"] - 1 - status["step_id"]
        if status["epoch_id"] + 1 == config.epoch and not left and status["step_id"] % config.log_iter:
            with patch.dict(config, log_iter=1):
                LogPrinter.on_step_end(self, status)


def _is_not_a_progress_line(record: logging.LogRecord) -> bool:
    return not (record.module == "callbacks" and record.funcName == "on_step_end")


def progress_callbacks(
    trainer, folder: Path, seen: int, gamma: ScheduledGamma | None, evaluation: EvaluationReport
) -> list[Callback]:
    """The callbacks that show the progress of a training run; empty on all ranks but the first.

    Args:
        trainer: ppdet's.
        folder: where the files are written.
        seen: iterations before the first one of this process.
        gamma: the schedule of gamma, or None.
        evaluation: must be registered before these.
    """
    if distributed.get_rank() != 0:
        return []
    log = MetricsLog(trainer, folder / "metrics.jsonl", seen, gamma, evaluation)
    callbacks: list[Callback] = [log, LossCurve(trainer, folder / "loss_curve.png", log), LastIteration(trainer)]
    if sys.stdout.isatty() and sys.stderr.isatty() and not is_quiet():
        callbacks.insert(0, ProgressBar(trainer, seen, gamma))
    return callbacks
