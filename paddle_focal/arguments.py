"""Checks of numbers: what is wrong, what was given, what is accepted."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, Callable

import numpy as np


def described(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"


def check_number(name: str, value: Any, accepted: str, accepts: Callable[[float], bool] = lambda number: True) -> float:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    is_number = type(value) is float or (isinstance(value, Real) and not isinstance(value, bool))  # Real takes a while
    if not is_number:
        raise TypeError(f"{name} must be {accepted}, but got {described(value)}")
    try:
        number = float(value)
    except OverflowError:  # an integer of more than 308 digits
        number = math.inf
    if not accepts(number):
        raise ValueError(f"{name} must be {accepted}, but got {value!r}")
    return number


def check_integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, but got {described(value)}")
    return int(value)


def check_positive(name: str, value: Any) -> float:
    if type(value) is float and 0 < value < math.inf:
        return value
    return check_number(name, value, "a finite number > 0", lambda number: 0 < number < math.inf)


def check_nonnegative(name: str, value: Any) -> float:
    return check_number(name, value, "a finite number >= 0", lambda number: 0 <= number < math.inf)
