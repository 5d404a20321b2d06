"""Checks of the arguments that the losses share: what is wrong, what was given, what is accepted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Callable

import numpy as np
import paddle
from paddle import Tensor

from paddle_focal.arguments import check_integer, check_number, check_positive
from paddle_focal.ops.loss import Loss, highest_label, loss_shape, result_dtype

REDUCTIONS = ("none", "mean", "sum")
FLOATING = ("float16", "bfloat16", "float32", "float64")
INDEX = ("int32", "int64")


def check_gamma(gamma: Real) -> float:
    return check_number("gamma", gamma, "a finite number >= 0", lambda number: 0 <= number < math.inf)


def check_alpha(alpha: Real | Sequence[Real] | None, highest: float = 1.0) -> float | tuple[float, ...] | None:
    """None, a float, or a tuple with one float per class. Reading a tensor waits for a GPU."""
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


def check_label_smoothing(label_smoothing: Real) -> float:
    return check_number("label_smoothing", label_smoothing, "a number in [0, 1)", lambda number: 0 <= number < 1)


def check_reduction(reduction: str) -> str:
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {REDUCTIONS}, but got {reduction!r}")
    return reduction


def check_loss_weight(loss_weight: Real) -> float:
    return check_number("loss_weight", loss_weight, "a finite number >= 0", lambda number: 0 <= number < math.inf)


#: The checks of the parameters that are numbers.
NUMBERS: dict[str, Callable[[Real], float]] = {"gamma": check_gamma, "label_smoothing": check_label_smoothing}


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


def check_label(loss: Loss, logit: Tensor, label: Tensor, axis: int, ignore_index: int) -> bool:
    """Whether the label holds class indices; otherwise it holds dense targets."""
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
    highest = highest_label(loss, classes)
    meaning = "the classes and the background" if loss.has_background else "the classes"
    if indexed and 0 <= ignore_index <= highest:
        raise ValueError(f"ignore_index must lie outside [0, {highest}], {meaning}, but got {ignore_index}")
    if indexed and not -(2**31) <= ignore_index < 2**31:
        raise ValueError(f"ignore_index must be a 32-bit integer, but got {ignore_index}")
    return indexed


def _same_shape(one: list[int], other: list[int]) -> bool:
    """Whether two shapes agree, as far as they are known: a static graph has -1 for sizes of the batch."""
    return len(one) == len(other) and all(m == n or -1 in (m, n) for m, n in zip(one, other))


def check_weight(loss: Loss, weight: Tensor | None, logit: Tensor, label: Tensor, axis: int) -> Tensor | None:
    """The weight as a floating tensor that has the rank of the losses and broadcasts to them."""
    if weight is None:
        return None
    _check_tensor("weight", weight, (*FLOATING, *INDEX, "bool"))
    weight = weight.detach()
    weight = weight if _dtype_name(weight) in FLOATING else weight.astype("float32")
    if loss.keeps_class_axis:
        return _weight_of_logits(weight, logit, label, axis)
    return _weight_of_labels(weight, loss_shape(loss, logit.shape, axis))


def _weight_of_logits(weight: Tensor, logit: Tensor, label: Tensor, axis: int) -> Tensor:
    """The weight, broadcast along all axes before the class axis or along none, and likewise for the axes after it.

    A backend can then treat the axes on each side as one.
    """
    shape, given = list(logit.shape), list(weight.shape)
    if len(label.shape) < len(shape) and _same_shape(given, list(label.shape)):
        return weight.unsqueeze(axis)
    if len(given) == 1 < len(shape) and given[0] == math.prod(shape) != shape[-1]:  # [N * C] of Weighted_FocalLoss
        return weight.reshape(shape)
    full = [1] * (len(shape) - len(given)) + given
    if not _broadcasts(full, shape):
        raise ValueError(
            f"weight must have the shape of label, {list(label.shape)}, or broadcast to that of the "
            f"predictions, {shape}, or be that flattened, but its shape is {given}"
        )
    per_label = [*given[:axis], 1, *given[axis:]]
    if given == shape[:axis] + shape[axis + 1 :] and per_label != full:  # as many labels as classes
        raise ValueError(
            f"weight must say by its shape what it is of, labels or classes: {per_label} or {full} for dense labels of "
            f"shape {shape}, but its shape is {given}"
        )
    target = list(full)
    for group in (slice(None, axis), slice(axis + 1, None)):
        if any(n != 1 for n in full[group]):
            target[group] = shape[group]
    weight = weight.unsqueeze(list(range(len(full) - len(given)))) if len(given) < len(full) else weight
    return weight if target == full else weight.expand(target)


def _weight_of_labels(weight: Tensor, shape: list[int]) -> Tensor:
    given = list(weight.shape)
    if not _broadcasts([1] * (len(shape) - len(given)) + given, shape):
        raise ValueError(f"weight must broadcast to the shape of the labels, {shape}, but its shape is {given}")
    return weight if given == shape else weight.expand(shape)


def _broadcasts(given: list[int], shape: list[int]) -> bool:
    return len(given) <= len(shape) and _same_shape([n if m == 1 else m for m, n in zip(given, shape)], shape)


#: The largest finite number of each dtype that scales have.
_LARGEST = {paddle.float32: 3.4028234663852886e38, paddle.float64: 1.7976931348623157e308}


def scales_of(
    loss: Loss,
    alpha: float | tuple[float, ...] | None,
    normalizer: float | Tensor | None,
    classes: int,
    dtype: paddle.dtype,
) -> dict[str, float | Tensor]:
    """The factors of a loss, divided by its normalizer: numbers, or tensors of shape [1] or [C]."""
    dtype = result_dtype(dtype)
    divisor = _check_normalizer(normalizer, classes, dtype)
    _check_magnitude(alpha, 1.0 if paddle.is_tensor(divisor) or divisor is None else divisor, dtype)
    if isinstance(alpha, tuple):
        if len(alpha) not in (1, classes):
            raise ValueError(f"alpha must be one number or {classes} numbers, one per class, but got {len(alpha)}")
        alpha = paddle.to_tensor(alpha, dtype=dtype)
    scales = {name: 1.0 if alpha is None else of_alpha(alpha) for name, of_alpha in loss.scales.items()}
    return scales if divisor is None else {name: scale / divisor for name, scale in scales.items()}


def _check_magnitude(alpha: float | tuple[float, ...] | None, divisor: float, dtype: paddle.dtype) -> None:
    """Raises ValueError where a factor would be infinite, which times 0 is NaN."""
    highest = max(1.0, *(alpha if isinstance(alpha, tuple) else (alpha or 1.0,)))
    if highest / divisor > _LARGEST[dtype]:
        raise ValueError(
            f"alpha / normalizer must be at most {_LARGEST[dtype]:.3g}, the largest number that the loss is computed "
            f"with, but got up to {highest:g} / {divisor:g}"
        )


def _check_normalizer(normalizer: float | Tensor | None, classes: int, dtype: paddle.dtype) -> float | Tensor | None:
    if normalizer is None:
        return None
    if not paddle.is_tensor(normalizer):
        return check_positive("normalizer", normalizer)
    if list(normalizer.shape) not in ([], [1], [classes]):
        raise ValueError(
            f"normalizer must be a number or a Tensor of shape [], [1] or [{classes}], "
            f"but its shape is {list(normalizer.shape)}"
        )
    return normalizer.detach().reshape([-1]).astype(dtype)
