"""What ppdet's checkpoints leave out of a run, part by part; see :class:`paddle_focal.engine.checkpoint.Part`."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle
from paddle import nn
from ppdet.engine.callbacks import Checkpointer

from paddle_focal.engine.logs import logger
from paddle_focal.losses.normalizer import ForegroundNormalizer


class MovingAverages:
    """The averages of the normalizers of mode 'ema'."""

    def __init__(self, model: nn.Layer) -> None:
        self._layers = {
            name: layer
            for name, layer in model.named_sublayers()
            if isinstance(layer, ForegroundNormalizer) and layer.mode == "ema"
        }

    def state_dict(self) -> dict[str, float]:
        return {name: float(layer.average) for name, layer in self._layers.items()}

    def load_state_dict(self, state: dict[str, float] | None) -> None:
        for name, layer in self._layers.items():
            if name in (state or {}):
                layer.average = paddle.to_tensor(state[name], dtype="float32")
            else:
                average = float(layer.average)
                logger.info("The checkpoint has no moving average of %s: it starts anew at %g", name, average)


class RandomGenerators:
    """The random generators of Python and NumPy, which draw augmentations and the seeds of the loader's workers."""

    def state_dict(self) -> dict[str, list]:
        kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - the one that ppdet draws from
        return {"python": list(random.getstate()), "numpy": [kind, keys.tolist(), *rest]}

    def load_state_dict(self, state: dict[str, list] | None) -> None:
        if state:
            version, numbers, gauss = state["python"]
            random.setstate((version, tuple(numbers), gauss))
            np.random.set_state(tuple(state["numpy"]))  # noqa: NPY002


class BestModel:
    """The AP of ``best_model``; without it, ppdet would take the first AP after resuming as the best."""

    def __init__(self, trainer) -> None:
        self._checkpointers = [callback for callback in trainer._callbacks if isinstance(callback, Checkpointer)]

    def state_dict(self) -> float | None:
        return max((float(one.best_ap) for one in self._checkpointers), default=None)

    def load_state_dict(self, state: float | None) -> None:
        for one in self._checkpointers if state is not None else ():
            one.best_ap = state


def average_state(ema) -> dict[str, Any]:
    """The sums and counters of ppdet's ModelEMA, tensors among them.

    ``apply``, whose result ppdet resumes from, divides the sums by the total weight that they have gathered so far.
    """
    return {"sums": ema.state_dict, "step": ema.step, "epoch": ema.epoch}


def restore_average(ema, state: Mapping[str, Any]) -> None:
    """Make ppdet's ModelEMA continue from such a state."""
    ema.resume(state["sums"], state["step"])
    ema.epoch = state["epoch"]
