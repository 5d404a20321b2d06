"""Checks of the arguments that functions and layers share: what is wrong, what was given, what is accepted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Callable

import numpy as np
from paddle import Tensor

REDUCTIONS = ("none", "mean", "sum")


def _described(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"


def check_number(name: str, value: Any, accepted: str, accepts: Callable[[float], bool] = lambda number: True) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be {accepted}, but got {_described(value)}")
    number = float(value)
    if not accepts(number):
        raise ValueError(f"{name} must be {accepted}, but got {value!r}")
    return number


def check_gamma(gamma: Real) -> float:
    return check_number("gamma", gamma, "a finite number >= 0", lambda number: 0 <= number < math.inf)


def check_alpha(alpha: Real | Sequence[Real] | None) -> float | tuple[float, ...] | None:
    """None, a float, or a tuple with one float per class. A tensor is read, for which a GPU is waited for."""
    accepted = "None, a number in [0, 1] or a list of one such number per class"
    if alpha is None:
        return None
    if isinstance(alpha, Tensor):
        alpha = alpha.astype("float64").numpy()
    per_class = isinstance(alpha, (list, tuple, np.ndarray))
    given = np.ravel(alpha).tolist() if per_class else [alpha]
    values = tuple(check_number("alpha", value, accepted, lambda number: 0 <= number <= 1) for value in given)
    if not values:
        raise ValueError(f"alpha must be {accepted}, but got {alpha!r}")
    return values if per_class else values[0]


def check_label_smoothing(label_smoothing: Real) -> float:
    return check_number("label_smoothing", label_smoothing, "a number in [0, 1)", lambda number: 0 <= number < 1)


def check_integer(name: str, value: Integral) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, but got {_described(value)}")
    return int(value)


def check_reduction(reduction: str) -> str:
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {REDUCTIONS}, but got {reduction!r}")
    return reduction


def check_positive(name: str, value: Real) -> float:
    return check_number(name, value, "a finite number > 0", lambda number: 0 < number < math.inf)


def check_loss_weight(loss_weight: Real) -> float:
    return check_number("loss_weight", loss_weight, "a finite number >= 0", lambda number: 0 <= number < math.inf)
