"""The true loss and gradient of a benchmark's inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from paddle_focal.benchmarks.cases import NORMALIZER, Inputs, as_float64
from paddle_focal.benchmarks.losses import LOSSES

_BLOCK = 2**18  # logits at a time


def true_loss(inputs: Inputs) -> float:
    """The sum of the losses, divided by the normalizer."""
    return float(sum(loss.sum() for loss, _ in _blocks(inputs)) / NORMALIZER)


def true_gradient(inputs: Inputs) -> np.ndarray:
    """The derivative of :func:`true_loss` with respect to the logits."""
    return np.concatenate([gradient for _, gradient in _blocks(inputs)]).reshape(inputs.case.shape) / NORMALIZER


def _blocks(inputs: Inputs) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The losses and gradients, a block of the logits at a time."""
    shape, axis = inputs.case.shape, inputs.case.axis % len(inputs.case.shape)
    outer, classes, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    logit, label = inputs.logit.reshape(outer, classes, inner), inputs.label.reshape(outer, 1, inner)
    step = max(1, _BLOCK // (classes * inner))
    definition = LOSSES[inputs.case.loss].definition
    for start in range(0, outer, step):
        is_class = label[start : start + step] == np.arange(classes)[:, None]
        yield definition(as_float64(logit[start : start + step]), is_class, inputs.case.gamma)
