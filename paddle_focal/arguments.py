"""Checks of the arguments that functions and layers share: what is wrong, what was given, what is accepted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Callable

import numpy as np
import paddle
from paddle import Tensor

REDUCTIONS = ("none", "mean", "sum")
FLOATING = ("float16", "bfloat16", "float32", "float64")
INDEX = ("int32", "int64")


def _described(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"


def check_number(name: str, value: Any, accepted: str, accepts: Callable[[float], bool] = lambda number: True) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be {accepted}, but got {_described(value)}")
    try:
        number = float(value)
    except OverflowError:  # an integer of more than 308 digits
        number = math.inf
    if not accepts(number):
        raise ValueError(f"{name} must be {accepted}, but got {value!r}")
    return number


def check_gamma(gamma: Real) -> float:
    return check_number("gamma", gamma, "a finite number >= 0", lambda number: 0 <= number < math.inf)


def check_alpha(alpha: Real | Sequence[Real] | None, highest: float = 1.0) -> float | tuple[float, ...] | None:
    """None, a float, or a tuple with one float per class. A tensor is read, for which a GPU is waited for."""
    interval = f"number in [0, {highest:g}]" if math.isfinite(highest) else "finite number >= 0"
    accepted = f"None, a {interval} or a list of one such number per class"
    if alpha is None:
        return None
    if isinstance(alpha, Tensor):
        alpha = alpha.astype("float64").numpy()
    per_class = isinstance(alpha, (list, tuple, np.ndarray))
    given = np.ravel(alpha).tolist() if per_class else [alpha]
    values = tuple(
        check_number("alpha", value, accepted, lambda n: 0 <= n <= highest and n < math.inf) for value in given
    )
    if not values:
        raise ValueError(f"alpha must be {accepted}, but got {alpha!r}")
    return values if per_class else values[0]


def check_length_of_alpha(alpha: float | tuple[float, ...] | None, classes: int) -> None:
    if isinstance(alpha, tuple) and len(alpha) not in (1, classes):
        raise ValueError(f"alpha must be one number or {classes} numbers, one per class, but got {len(alpha)}")


def check_label_smoothing(label_smoothing: Real) -> float:
    return check_number("label_smoothing", label_smoothing, "a number in [0, 1)", lambda number: 0 <= number < 1)


def check_integer(name: str, value: Integral) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, but got {_described(value)}")
    return int(value)


def check_reduction(reduction: str) -> str:
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {REDUCTIONS}, but got {reduction!r}")
    return reduction


def check_positive(name: str, value: Real) -> float:
    return check_number(name, value, "a finite number > 0", lambda number: 0 < number < math.inf)


def check_loss_weight(loss_weight: Real) -> float:
    return check_number("loss_weight", loss_weight, "a finite number >= 0", lambda number: 0 <= number < math.inf)


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).rsplit(".", 1)[-1]


def _check_tensor(name: str, value: Tensor, dtypes: Sequence[str]) -> None:
    accepted = f"a Tensor of dtype {', '.join(dtypes[:-1])} or {dtypes[-1]}"
    if not paddle.is_tensor(value):
        raise TypeError(f"{name} must be {accepted}, but got {value!r} ({type(value).__name__})")
    if _dtype_name(value) not in dtypes:
        raise TypeError(f"{name} must be {accepted}, but its dtype is {_dtype_name(value)}")


def check_logit(logit: Tensor, axis: int, name: str = "logit") -> int:
    """The class axis, counted from the front."""
    _check_tensor(name, logit, FLOATING)
    if logit.ndim == 0:
        raise ValueError(f"{name} must have at least one axis, but its shape is []")
    axis = check_integer("axis", axis)
    if not -logit.ndim <= axis < logit.ndim:
        raise ValueError(
            f"axis must be in [{-logit.ndim}, {logit.ndim - 1}] for {name} of shape {list(logit.shape)}, but got {axis}"
        )
    axis %= logit.ndim
    if logit.shape[axis] < 1:  # -1 in a static graph: not known
        raise ValueError(f"{name} must have at least one class, but its shape is {list(logit.shape)} with axis {axis}")
    return axis


def check_label(logit: Tensor, label: Tensor, axis: int, ignore_index: int, has_background: bool = True) -> bool:
    """Whether the label is class indices (else dense targets); a background is the index behind the classes."""
    _check_tensor("label", label, INDEX + FLOATING)
    shape, label_shape, classes = list(logit.shape), list(label.shape), logit.shape[axis]
    indexed = _dtype_name(label) in INDEX
    expected = shape[:axis] + shape[axis + 1 :] if indexed else shape
    if not _same_shape(label_shape, expected):
        hint = ""
        if indexed and label_shape == shape:
            hint = "; for 0/1 targets in the shape of the predictions, cast label to a floating dtype"
        raise ValueError(
            f"label of dtype {_dtype_name(label)} must have shape {expected} for predictions of shape {shape} "
            f"and class axis {axis}, but its shape is {label_shape}{hint}"
        )
    highest, meaning = (classes, "the classes and the background") if has_background else (classes - 1, "the classes")
    if indexed and 0 <= ignore_index <= highest:
        raise ValueError(f"ignore_index must lie outside [0, {highest}], {meaning}, but got {ignore_index}")
    if indexed and not -(2**31) <= ignore_index < 2**31:
        raise ValueError(f"ignore_index must be a 32-bit integer, but got {ignore_index}")
    return indexed


def _same_shape(one: list[int], other: list[int]) -> bool:
    """Whether two shapes agree, as far as they are known: a static graph has -1 for sizes of the batch."""
    return len(one) == len(other) and all(m == n or -1 in (m, n) for m, n in zip(one, other))


def check_weight(weight: Tensor | None, logit: Tensor, label: Tensor, axis: int) -> Tensor | None:
    """The weight as a floating tensor of the rank of ``logit``.

    It is broadcast along all axes before the class axis or along none, and likewise behind it, so that a backend can
    see these axes as one.
    """
    if weight is None:
        return None
    weight = _as_floating(weight)
    shape, given = list(logit.shape), list(weight.shape)
    if len(label.shape) < len(shape) and _same_shape(given, list(label.shape)):
        return weight.unsqueeze(axis)
    if len(given) == 1 < len(shape) and given[0] == math.prod(shape) != shape[-1]:  # [N * C] of Weighted_FocalLoss
        return weight.reshape(shape)
    full = [1] * (len(shape) - len(given)) + given
    if len(full) > len(shape) or not _same_shape([n if m == 1 else m for m, n in zip(full, shape)], shape):
        raise ValueError(
            f"weight must have the shape of label, {list(label.shape)}, or broadcast to that of the "
            f"predictions, {shape}, or be that flattened, but its shape is {given}"
        )
    before, behind = slice(None, axis), slice(axis + 1, None)
    target = list(full)
    for group in (before, behind):
        if any(m != 1 for m in full[group]):
            target[group] = shape[group]
    weight = weight.unsqueeze(list(range(len(full) - len(given)))) if len(given) < len(full) else weight
    return weight if target == full else weight.expand(target)


def check_weight_of_labels(weight: Tensor | None, shape: list[int]) -> Tensor | None:
    """The weight as a floating tensor of the shape of the labels."""
    if weight is None:
        return None
    weight = _as_floating(weight)
    given = list(weight.shape)
    full = [1] * (len(shape) - len(given)) + given
    if len(full) > len(shape) or not _same_shape([n if m == 1 else m for m, n in zip(full, shape)], shape):
        raise ValueError(f"weight must broadcast to the shape of the labels, {shape}, but its shape is {given}")
    return weight if given == shape else weight.expand(shape)


def _as_floating(weight: Tensor) -> Tensor:
    _check_tensor("weight", weight, (*FLOATING, *INDEX, "bool"))
    weight = weight.detach()
    return weight if _dtype_name(weight) in FLOATING else weight.astype("float32")
