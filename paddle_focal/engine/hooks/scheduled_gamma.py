"""Gamma over the course of training, from the section ``gamma_schedule`` of a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from paddle import nn
from ppdet.engine.callbacks import Callback

from paddle_focal.detection.replacement import Replacement
from paddle_focal.engine.logs import logger
from paddle_focal.losses.base import FocalLoss
from paddle_focal.losses.gamma_schedule import GammaSchedule


class ScheduledGamma(Callback):
    """Sets the gamma of every loss of this package in the model before each iteration, and logs it once an epoch.

    .. code-block:: yaml

        gamma_schedule: {kind: linear, gammas: [0.5, 2.0], epochs: [0, 4], by: iteration}

    Args:
        trainer: ppdet's.
        section: the arguments of :class:`paddle_focal.GammaSchedule`.

    Attributes:
        gamma: the gamma in use.

    Raises:
        TypeError, ValueError: the section does not describe a schedule, or the model has no loss of this package.
    """

    def __init__(self, trainer, section: Mapping) -> None:
        super().__init__(trainer)
        self._schedule = _schedule_of(section)
        self._losses = list(_losses_in(trainer.model))
        if not self._losses:
            raise ValueError("gamma_schedule needs a model with a loss of paddle_focal, and this one has none")
        self.gamma = self._schedule(0)

    def on_step_begin(self, status: dict) -> None:
        if status["mode"] != "train":
            return
        self.gamma = self._schedule(status["epoch_id"], status["step_id"], status["steps_per_epoch"])
        for loss in self._losses:
            loss.gamma = self.gamma

    def on_epoch_end(self, status: dict) -> None:
        if status["mode"] == "train":
            gammas = dict.fromkeys(f"{gamma:.4g}" for gamma in (self._schedule(status["epoch_id"]), self.gamma))
            logger.info("Epoch %d: gamma %s", status["epoch_id"] + 1, " to ".join(gammas))


def _losses_in(model: nn.Layer) -> Iterator[FocalLoss]:
    """Those that are layers of the model, and those of replaced components that are no layers themselves."""
    for layer in model.sublayers(include_self=True):
        if isinstance(layer, FocalLoss):
            yield layer
        components = (value for value in vars(layer).values() if isinstance(value, Replacement))
        yield from (value for one in components for value in vars(one).values() if isinstance(value, FocalLoss))


def _schedule_of(section: Mapping) -> GammaSchedule:
    if not isinstance(section, Mapping):
        raise TypeError(f"gamma_schedule must be a section with kind, gammas and epochs, but got {section!r}")
    try:
        return GammaSchedule(**section)
    except (TypeError, ValueError) as error:
        raise type(error)(f"gamma_schedule: {error}") from error
