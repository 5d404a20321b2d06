"""The losses that the benchmark measures, with their definition in NumPy's float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

from paddle_focal.ops.loss import Loss
from paddle_focal.ops.registry import SIGMOID, SOFTMAX

ALPHA = 0.25


def sigmoid(x: np.ndarray, is_class: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    sign = np.where(is_class, 1.0, -1.0)
    alpha_t = np.where(is_class, ALPHA, 1 - ALPHA)
    one_minus_p_t, cross_entropy = 1 / (1 + np.exp(sign * x)), np.log1p(np.exp(-sign * x))
    p_t, modulator = 1 - one_minus_p_t, alpha_t * one_minus_p_t**gamma
    return modulator * cross_entropy, -sign * modulator * (gamma * p_t * cross_entropy + one_minus_p_t)


def softmax(x: np.ndarray, is_class: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    power = np.exp(x - x.max(axis=1, keepdims=True))
    p = power / power.sum(axis=1, keepdims=True)
    p_t = np.sum(p, axis=1, keepdims=True, where=is_class)
    one_minus_p_t = np.sum(p, axis=1, keepdims=True, where=~is_class)
    modulator, log_p_t = one_minus_p_t**gamma, np.log(p_t)
    slope = gamma * one_minus_p_t ** max(gamma - 1, 0) * p_t * log_p_t - modulator  # p_t * dL / dp_t
    return -modulator * log_p_t, slope * (is_class - p)


@dataclass(frozen=True)
class BenchmarkedLoss:
    """One loss of the benchmark.

    Attributes:
        description: what it is.
        definition: computes the losses and gradients from logits ``[N, C, M]``, a mask of where the label is the class,
            and gamma (arXiv:1708.02002, eq. 5).
        arguments: what this package's function gets besides gamma.
    """

    description: Loss
    definition: Callable[[np.ndarray, np.ndarray, float], tuple[np.ndarray, np.ndarray]]
    arguments: Mapping[str, Any]


LOSSES = {
    "sigmoid": BenchmarkedLoss(SIGMOID, sigmoid, {"alpha": ALPHA}),
    "softmax": BenchmarkedLoss(SOFTMAX, softmax, {}),
}
