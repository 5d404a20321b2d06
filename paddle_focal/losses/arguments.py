"""Checks of the arguments that the losses share: what is wrong, what was given, what is accepted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial, wraps
from typing import Any, Callable, Literal, get_args

import numpy as np
import paddle
from paddle import Tensor

from paddle_focal.arguments import check_integer, check_nonnegative, check_number, check_positive, described
from paddle_focal.ops import devices
from paddle_focal.ops.loss import Loss, LossSpec, highest_label, result_dtype

Reduction = Literal["none", "mean", "sum"]
Backend = Literal["native", "composite"]
REDUCTIONS = get_args(Reduction)
FLOATING = (paddle.float16, paddle.bfloat16, paddle.float32, paddle.float64)
INDEX = (paddle.int32, paddle.int64)
LABEL = INDEX + FLOATING
#: Names that stand for dtypes in look-ups, which dtypes make slow; by identity, because Paddle 2.6 makes new objects of
#: the same dtypes, which then stand for themselves.
_NAMES = {id(dtype): str(dtype) for dtype in LABEL}
_NAMED: Mapping[Any, Any] = {str(dtype): dtype for dtype in LABEL}


def remembered(check: Callable) -> Callable:
    """A check whose results are kept by its arguments: most calls of a loss differ in their tensors' numbers only."""
    kept = lru_cache(maxsize=512, typed=True)(check)

    @wraps(check)
    def look_up(*args: Any) -> Any:
        try:
            return kept(*args)
        except TypeError:  # an argument that cannot be looked up, or that is of a wrong type, which is said again
            return check(*args)

    return look_up


def check_gamma(gamma: Any) -> float:
    return check_nonnegative("gamma", gamma)


def check_alpha(alpha: Any, highest: float = 1.0) -> float | tuple[float, ...] | None:
    """None, a float, or a tuple with one float per class. Reading a tensor waits for a GPU."""
    if alpha is None or (type(alpha) is float and 0 <= alpha <= highest and alpha < math.inf):
        return alpha
    interval = f"number in [0, {highest:g}]" if math.isfinite(highest) else "finite number >= 0"
    accepted = f"None, a {interval} or a list of one such number per class"
    if isinstance(alpha, Tensor):
        alpha = alpha.astype("float64").numpy()
    per_class = isinstance(alpha, (list, tuple, np.ndarray))
    given = np.ravel(np.asarray(alpha, dtype=object)).tolist() if per_class else [alpha]
    values = tuple(
        check_number("alpha", value, accepted, lambda n: 0 <= n <= highest and n < math.inf) for value in given
    )
    if not values:
        raise ValueError(f"alpha must be {accepted}, but got {alpha!r}")
    return values if per_class else values[0]


def check_label_smoothing(label_smoothing: Any) -> float:
    return check_number("label_smoothing", label_smoothing, "a number in [0, 1)", lambda number: 0 <= number < 1)


def check_reduction(reduction: str) -> str:
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {REDUCTIONS}, but got {reduction!r}")
    return reduction


def check_loss_weight(loss_weight: Any) -> float:
    return check_nonnegative("loss_weight", loss_weight)


def check_beta(beta: Any) -> float:
    return check_nonnegative("beta", beta)


def check_margin(margin: Any) -> float:
    accepted = "0 or a number in [1e-6, 1)"  # what 1 - p loses to underflow is divided by it
    return check_number("margin", margin, accepted, lambda number: number == 0 or 1e-6 <= number < 1)


def check_epsilon(epsilon: Any) -> float:
    return check_number("epsilon", epsilon, "a number in [-1, 1e30]", lambda number: -1 <= number <= 1e30)


def check_detach_weight(detach_weight: bool) -> float:
    if not isinstance(detach_weight, bool):
        raise TypeError(f"detach_weight must be True or False, but got {described(detach_weight)}")
    return detach_weight


#: The checks of the parameters that are numbers to the backends.
NUMBERS: dict[str, Callable[[Any], float]] = {
    "gamma": check_gamma,
    "label_smoothing": check_label_smoothing,
    "beta": check_beta,
    "detach_weight": check_detach_weight,
    "gamma_neg": partial(check_nonnegative, "gamma_neg"),
    "gamma_pos": partial(check_nonnegative, "gamma_pos"),
    "margin": check_margin,
    "epsilon": check_epsilon,
}


#: Used in place of larger exponents, whose powers are the same 0 and 1, and which float32 need not have.
_HIGHEST_POWER = 1e30


def dtype_name(dtype: paddle.dtype) -> str:
    return str(dtype).rsplit(".", 1)[-1]


def _accepted(dtypes: Sequence[paddle.dtype]) -> str:
    *names, last = (dtype_name(dtype) for dtype in dtypes)
    return f"a Tensor of dtype {', '.join(names)} or {last}"


def check_is_tensor(name: str, value: Tensor, dtypes: Sequence[paddle.dtype]) -> None:
    if not isinstance(value, Tensor) and not paddle.is_tensor(value):
        raise TypeError(f"{name} must be {_accepted(dtypes)}, but got {value!r} ({type(value).__name__})")


def check_dtype(name: str, dtype: paddle.dtype, dtypes: Sequence[paddle.dtype]) -> None:
    if dtype not in dtypes:
        raise TypeError(f"{name} must be {_accepted(dtypes)}, but its dtype is {dtype_name(dtype)}")


def spec_of(
    loss: Loss,
    logit: Tensor,
    label: Tensor,
    score: Tensor | None,
    axis: int,
    ignore_index: int,
    reduction: str,
    *numbers: float,
) -> LossSpec:
    """What the arguments say. ``numbers`` come in the order of the loss's."""
    check_is_tensor("logit", logit, FLOATING)
    check_is_tensor(loss.label, label, LABEL if loss.takes_index else FLOATING)
    dtype, label_dtype, score_shape, score_dtype = logit.dtype, label.dtype, None, None
    if score is not None:
        check_is_tensor("score", score, FLOATING)
        score_shape, score_dtype = tuple(score.shape), score.dtype
    return spec_of_shapes(
        loss,
        tuple(logit.shape),
        _NAMES.get(id(dtype), dtype),
        tuple(label.shape),
        _NAMES.get(id(label_dtype), label_dtype),
        score_shape,
        _NAMES.get(id(score_dtype), score_dtype),
        axis,
        ignore_index,
        reduction,
        *numbers,
    )


@remembered
def spec_of_shapes(
    loss: Loss,
    shape: tuple[int, ...],
    dtype: Any,
    label_shape: tuple[int, ...],
    label_dtype: Any,
    score_shape: tuple[int, ...] | None,
    score_dtype: Any,
    axis: int,
    ignore_index: int,
    reduction: str,
    *numbers: float,
) -> LossSpec:
    """The same of shapes and dtypes alone; these may be names."""
    dtype, label_dtype = _NAMED.get(dtype, dtype), _NAMED.get(label_dtype, label_dtype)
    score_dtype = _NAMED.get(score_dtype, score_dtype)
    axis = _class_axis("logit", shape, dtype, axis)
    ignore_index = check_integer("ignore_index", ignore_index)
    _check_label(loss, shape, label_shape, label_dtype, axis, ignore_index)
    if score_shape is not None:
        _check_score(label_shape, label_dtype, score_shape, score_dtype)
    return LossSpec(
        loss=loss,
        shape=shape,
        dtype=dtype,
        label_dtype=label_dtype,
        axis=axis,
        numbers={name: min(NUMBERS[name](value), _HIGHEST_POWER) for name, value in zip(loss.numbers, numbers)},
        ignore_index=ignore_index,
        reduction="none" if check_reduction(reduction) == "none" else "sum",
        score_dtype=score_dtype,
    )


def check_logit(logit: Tensor, axis: int, name: str = "logit") -> int:
    """The class axis, counted from the front."""
    check_is_tensor(name, logit, FLOATING)
    return _class_axis(name, tuple(logit.shape), logit.dtype, axis)


def _class_axis(name: str, shape: tuple[int, ...], dtype: paddle.dtype, axis: int) -> int:
    check_dtype(name, dtype, FLOATING)
    if not shape:
        raise ValueError(f"{name} must have at least one axis, but its shape is []")
    ndim, axis = len(shape), check_integer("axis", axis)
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis must be in [{-ndim}, {ndim - 1}] for {name} of shape {list(shape)}, but got {axis}")
    axis %= ndim
    if shape[axis] < 1:  # -1 in a static graph: not known
        raise ValueError(f"{name} must have at least one class, but its shape is {list(shape)} with axis {axis}")
    return axis


def check_label(loss: Loss, logit: Tensor, label: Tensor, axis: int, ignore_index: int) -> bool:
    """Whether the label holds class indices; otherwise it holds dense targets."""
    check_is_tensor("label", label, LABEL)
    return _check_label(loss, tuple(logit.shape), tuple(label.shape), label.dtype, axis, ignore_index)


def _check_label(
    loss: Loss, of_logit: tuple[int, ...], of_label: tuple[int, ...], dtype: paddle.dtype, axis: int, ignore_index: int
) -> bool:
    check_dtype(loss.label, dtype, LABEL if loss.takes_index else FLOATING)
    shape, given, indexed = list(of_logit), list(of_label), dtype in INDEX
    expected = shape[:axis] + shape[axis + 1 :] if indexed else shape
    if not same_shape(given, expected):
        if not loss.takes_index:
            raise ValueError(f"{loss.label} must have the shape of the predictions, {shape}, but its shape is {given}")
        hint = ""
        if indexed and given == shape:
            hint = "; for 0/1 targets in the shape of the predictions, cast label to a floating dtype"
        raise ValueError(
            f"label of dtype {dtype_name(dtype)} must have shape {expected} for predictions of shape {shape} "
            f"and class axis {axis}, but its shape is {given}{hint}"
        )
    highest = highest_label(loss, shape[axis])
    meaning = "the classes and the background" if loss.has_background else "the classes"
    if indexed and 0 <= ignore_index <= highest:
        raise ValueError(f"ignore_index must lie outside [0, {highest}], {meaning}, but got {ignore_index}")
    if indexed and not -(2**31) <= ignore_index < 2**31:
        raise ValueError(f"ignore_index must be a 32-bit integer, but got {ignore_index}")
    return indexed


def same_shape(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two shapes agree, as far as they are known: a static graph has -1 for sizes of the batch."""
    return len(one) == len(other) and all(m == n or -1 in (m, n) for m, n in zip(one, other))


def _check_score(
    of_label: tuple[int, ...], label_dtype: paddle.dtype, shape: tuple[int, ...], dtype: paddle.dtype
) -> None:
    """That of the targets of the labels' own classes; backends check their range."""
    check_dtype("score", dtype, FLOATING)
    if label_dtype in FLOATING:
        raise ValueError(
            f"score is the target of a class index, but label of dtype {dtype_name(label_dtype)} holds the targets "
            "themselves: leave score out"
        )
    if not same_shape(shape, of_label):
        raise ValueError(f"score must have the shape of label, {list(of_label)}, but its shape is {list(shape)}")


#: The largest finite numbers of float32 and float64, the dtypes that scales have.
_LARGEST = 3.4028234663852886e38, 1.7976931348623157e308


def scales_of(
    spec: LossSpec, logit: Tensor, alpha: float | tuple[float, ...] | None, normalizer: float | Tensor | None
) -> Mapping[str, float | Tensor]:
    """The factors of a loss, divided by its normalizer: numbers, or tensors of shape [1] or [C]."""
    loss = spec.loss
    divisor = 1.0 if normalizer is None else _check_normalizer(spec, logit, normalizer)
    _check_magnitude(alpha, divisor if type(divisor) is float else 1.0, spec.dtype)
    if isinstance(alpha, tuple):
        classes = spec.shape[spec.axis]
        if len(alpha) not in (1, classes):
            raise ValueError(f"alpha must be one number or {classes} numbers, one per class, but got {len(alpha)}")
        factors = _kept_factors_of_classes if paddle.in_dynamic_mode() else _factors_of_classes
        scales = factors(loss, alpha, result_dtype(spec.dtype), devices.name(logit))
    else:
        scales = _kept_factors(loss, alpha)
    return scales if normalizer is None else {name: scale / divisor for name, scale in scales.items()}


def _factors(loss: Loss, alpha: float | Tensor | None) -> dict[str, float | Tensor]:
    return {name: 1.0 if alpha is None else of_alpha(alpha) for name, of_alpha in loss.scales.items()}


_kept_factors = lru_cache(maxsize=512)(_factors)


def _factors_of_classes(
    loss: Loss, alpha: tuple[float, ...], dtype: paddle.dtype, device: str
) -> dict[str, float | Tensor]:
    """The factors of each class, on the current device, which ``device`` names."""
    return _factors(loss, paddle.to_tensor(alpha, dtype=dtype))


#: In dynamic mode, so that they are copied to a GPU once.
_kept_factors_of_classes = lru_cache(maxsize=64)(_factors_of_classes)


def _check_magnitude(alpha: float | tuple[float, ...] | None, divisor: float, dtype: paddle.dtype) -> None:
    """Raises ValueError where a factor would be infinite, which times 0 is NaN."""
    highest = max(1.0, *alpha) if isinstance(alpha, tuple) else max(1.0, alpha or 1.0)
    if highest / divisor <= _LARGEST[0]:
        return
    largest = _LARGEST[dtype == paddle.float64]
    if highest / divisor > largest:
        raise ValueError(
            f"alpha / normalizer must be at most {largest:.3g}, the largest number that the loss is computed with, "
            f"but got up to {highest:g} / {divisor:g}"
        )


def _check_normalizer(spec: LossSpec, logit: Tensor, normalizer: Any) -> float | Tensor:
    if type(normalizer) is float or not paddle.is_tensor(normalizer):
        return check_positive("normalizer", normalizer)
    shape = list(normalizer.shape)
    if math.prod(shape) == 1 and devices.differ(normalizer, logit):
        return check_positive("normalizer", normalizer.item())
    classes = spec.shape[spec.axis] if spec.loss.takes_index else 1
    if shape not in ([], [1], [classes]):
        shapes = "[] or [1]" if classes == 1 else f"[], [1] or [{classes}]"
        raise ValueError(f"normalizer must be a number or a Tensor of shape {shapes}, but its shape is {shape}")
    if shape in ([], [1]) and devices.can_read(normalizer):
        number = float(normalizer.item())
        if number:  # Python does not divide by 0
            return number
    devices.check_beside("normalizer", normalizer, "logit", logit)
    return normalizer.detach().reshape([-1]).astype(result_dtype(spec.dtype))
