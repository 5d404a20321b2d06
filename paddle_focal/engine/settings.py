"""What of the configuration has changed when a run is resumed, and the learning rate, which then is the new one."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from paddle.optimizer.lr import LRScheduler

from paddle_focal.engine.logs import logger

#: Top-level names that change nothing of what is learnt.
_ASIDE = {
    *("filename", "save_dir", "output_eval", "weights", "pretrain_weights", "log_iter", "snapshot_epoch", "worker_num"),
    *("print_flops", "print_params", "use_gpu", "use_npu", "use_xpu", "use_mlu", "export", "TestDataset", "TestReader"),
}
_SHOWN = 8  # changes


class Settings:
    """The settings of a run, as a part of its checkpoints.

    Args:
        config: the configuration, before ppdet's trainer puts objects in it.
        aside: further top-level names that are not worth mentioning.
    """

    def __init__(self, config: Mapping[str, Any], aside: Collection[str] = ()) -> None:
        kept = {name: section for name, section in config.items() if name not in _ASIDE and name not in aside}
        self._values = {name: value for section in kept.items() for name, value in _flat(*section)}

    def state_dict(self) -> dict[str, Any]:
        return self._values

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Log in one line what differs from the checkpoint's settings, if it has any."""
        if state is None:
            return
        names = [name for name in {**state, **self._values} if state.get(name) != self._values.get(name)]
        if names:
            changes = [f"{name} {_shown(state, name)} -> {_shown(self._values, name)}" for name in names[:_SHOWN]]
            more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            logger.info("Changed since the checkpoint: %s%s", ", ".join(changes), more)


def take_configured_rate(scheduler: LRScheduler) -> None:
    """Set the learning rate that the configuration has for the iteration at which a run goes on.

    Paddle's optimizer would take one more step at the rate of its checkpoint. A rate that is the same up to rounding,
    of schedules that compute each rate from the last one, stays as it is, to the last bit.
    """
    restored = scheduler.last_lr
    scheduler.step(scheduler.last_epoch)
    configured = scheduler.last_lr
    if math.isclose(configured, restored, rel_tol=1e-6, abs_tol=1e-9 * scheduler.base_lr):
        scheduler.last_lr = restored
    else:
        logger.info("The learning rate goes on at %.6g; it was %.6g", configured, restored)


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Names such as ``LearningRate.schedulers[0].max_epochs``, with values as JSON has them."""
    if not isinstance(value, dict) and hasattr(value, "__dict__"):  # made by a tag, such as !CosineDecay
        value = {"name": type(value).__name__, **vars(value)}
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(f"{name}.{key}", item)
        if not value and "." in name:
            yield name, {}
    elif isinstance(value, (list, tuple)) and any(
        isinstance(item, dict) or hasattr(item, "__dict__") for item in value
    ):
        for i, item in enumerate(value):
            yield from _flat(f"{name}[{i}]", item)
    else:
        yield name, json.loads(json.dumps(value, default=str))


def _shown(values: Mapping[str, Any], name: str) -> str:
    return str(values[name]) if name in values else "(not set)"
