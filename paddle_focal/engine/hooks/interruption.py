"""Runs that end early: because of a signal, or because the loss is NaN or infinite."""

from __future__ import annotations

import copy
import math
import os
import signal
from pathlib import Path
from typing import Callable

import paddle
from ppdet.engine.callbacks import Callback

from paddle_focal.data.annotations import image_files
from paddle_focal.engine import checkpoint
from paddle_focal.engine.checkpoint import STATE, Checkpoints
from paddle_focal.engine.logs import logger
from paddle_focal.errors import ToolError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(SystemExit):
    """Ends the process with the exit code that shells use for the signal."""


class SignalWatch:
    """A context in which SIGINT (Ctrl-C) and SIGTERM are noted; a Ctrl-C after that ends the process.

    It must be entered before the data loader starts its workers, which then leave Ctrl-C to the process that started
    them.

    Attributes:
        received: the number of the first signal; None before it.
        leave: called by :meth:`while_waiting` after a signal.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.leave: Callable[[], None] | None = None
        self._process = os.getpid()
        self._previous = {}

    def __enter__(self) -> SignalWatch:
        self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        if self.received is not None:  # the signal may come again while the process ends
            self._previous[signal.SIGTERM] = signal.SIG_IGN
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def while_waiting(self) -> None:
        """To be called while the run waits for data, whose end need not be near."""
        if self.received is not None and self.leave is not None:
            self.leave()

    def _note(self, number: int, _frame) -> None:
        if os.getpid() != self._process:
            return
        if self.received is None:
            self.received = number
            name = signal.Signals(number).name
            logger.info(
                "%s: stopping after this iteration and saving a checkpoint. Ctrl-C stops at once, without one.", name
            )
        elif number == signal.SIGINT:  # not SIGTERM, which Paddle's launcher repeats
            raise KeyboardInterrupt


class SaveOnSignal(Callback):
    """Saves a checkpoint after the iteration in which a signal came, or while the next one's data is waited for.

    Then it raises Interrupted.

    If there are several ranks, they are at the same iteration when their gradients are averaged. The first one saves,
    and the launcher ends the others when the first one exits.

    Args:
        trainer: ppdet's.
        watch: notes the signals.
        checkpoints: writes the checkpoint.
        folder: where the checkpoint is written.
    """

    def __init__(self, trainer, watch: SignalWatch, checkpoints: Checkpoints, folder: Path) -> None:
        super().__init__(trainer)
        self._watch, self._checkpoints, self._folder = watch, checkpoints, folder
        self._saved: Path | None = None
        self._done: tuple[int, int] | None = None  # whole epochs, and iterations of the next

    def on_step_end(self, status: dict) -> None:
        if status["mode"] == "train":
            self._done = status["epoch_id"], status["step_id"] + 1
        if self._watch.received is not None:
            if self.model.use_ema and status["mode"] == "train" and paddle.distributed.get_rank() == 0:
                self.model.ema.update()  # ppdet would do this next, but the run ends first
            self.leave()

    def leave(self) -> None:
        """Saves a checkpoint and raises Interrupted, on the first rank; only between two iterations."""
        if paddle.distributed.get_rank() != 0:
            return
        status = self.model.status
        if status["mode"] == "train" and self._done is not None:
            self._save(*self._done)
        logger.info(
            "Interrupted in epoch [%d]. Go on with the same command and --resume auto%s",
            status["epoch_id"],  # as ppdet counts in its lines
            f", from {self._saved}" if self._saved else "",
        )
        raise Interrupted(128 + self._watch.received)

    def on_epoch_end(self, status: dict) -> None:
        """Removes the checkpoint of an interruption once there is a later one, of a whole epoch."""
        if status["mode"] != "train":
            return
        self._done = status["epoch_id"] + 1, 0
        if paddle.distributed.get_rank() != 0:
            return
        newest = checkpoint.newest(self._folder)
        for path in self._folder.glob(f"interrupted_*{STATE}"):
            base = path.with_name(path.name[: -len(STATE)])
            if base != newest:
                checkpoint.remove(base)

    def _save(self, epochs: int, iterations: int) -> None:
        trainer = self.model
        weights = getattr(trainer.model, "student_model", trainer.model).state_dict()
        averaged = self._averaged() if trainer.use_ema else None
        name = f"interrupted_{epochs}_{iterations}"
        self._checkpoints.write(weights, trainer.optimizer, self._folder, name, epochs, averaged, iterations)
        self._saved = self._folder / name

    def _averaged(self) -> dict[str, paddle.Tensor]:
        # A copy, because ``apply`` takes each call as the end of an epoch, after which it may start the average anew.
        average = copy.copy(self.model.ema)
        average.state_dict = dict(average.state_dict)
        return average.apply()


class StopOnNonFiniteLoss(Callback):
    """Raises ToolError after an iteration whose loss is NaN or infinite, which has spoilt the weights.

    Args:
        trainer: ppdet's.
        folder: where the checkpoints are.
    """

    def __init__(self, trainer, folder: Path) -> None:
        super().__init__(trainer)
        self._folder = folder
        self._images = self._losses = None
        trainer.model.register_forward_post_hook(self._note)

    def _note(self, model, inputs: tuple[dict], outputs: dict) -> None:
        if model.training:
            self._images, self._losses = inputs[0]["im_id"], outputs

    def on_step_end(self, status: dict) -> None:
        if status["mode"] != "train":
            return
        if math.isfinite(float(self._losses["loss"])):  # ppdet has already read it for its log, so no wait
            return
        files = image_files(self.model.dataset)
        images = "".join(f"\n  {files[image]}" for image in self._images.flatten().tolist())
        newest = checkpoint.newest(self._folder)
        raise ToolError(
            f"The loss is no number any more in iteration {status['step_id'] + 1} of epoch {status['epoch_id'] + 1}: "
            + ", ".join(f"{name} {float(value):g}" for name, value in self._losses.items() if value.size == 1)
            + ". "
            + (f"The newest checkpoint, {newest}, is from before. " if newest else "There is no checkpoint yet. ")
            + f"Look at the learning rate, and at these images and their boxes:{images}"
        )
