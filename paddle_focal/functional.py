"""Focal losses as functions: arguments are checked here, computed by a backend, and reduced."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import Tensor

from paddle_focal import ops
from paddle_focal.arguments import (
    check_alpha,
    check_gamma,
    check_integer,
    check_label_smoothing,
    check_positive,
    check_reduction,
)

_FLOATING = ("float16", "bfloat16", "float32", "float64")
_INDEX = ("int32", "int64")


@paddle.jit.not_to_static  # traced as it is: its branches are on shapes and numbers
def sigmoid_focal_loss(
    logit: Tensor,
    label: Tensor,
    normalizer: float | Tensor | None = None,
    alpha: float | Sequence[float] | Tensor | None = 0.25,
    gamma: float = 2.0,
    reduction: str = "sum",
    name: str | None = None,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -1,
    label_smoothing: float = 0.0,
    axis: int = -1,
    backend: str | None = None,
) -> Tensor:
    r"""Focal loss of independent sigmoid classifiers (Lin et al., arXiv:1708.02002, eqs. 4 and 5).

    .. math:: \mathrm{FL}(p_t) = -\alpha_t (1 - p_t)^\gamma \log p_t, \qquad
              p_t = \sigma(x) \text{ where the target is 1, } 1 - \sigma(x) \text{ where it is 0}

    A drop-in for ``paddle.nn.functional.sigmoid_focal_loss``, whose seven parameters come first. With dense labels

    .. code-block:: python

        sigmoid_focal_loss(logit, label, normalizer, alpha, gamma, reduction)

        # Equivalent to, but finite and accurate for every logit, and with a fraction of the time and memory:
        p = F.sigmoid(logit)
        p_t = p * label + (1 - p) * (1 - label)
        alpha_t = alpha * label + (1 - alpha) * (1 - label)
        loss = alpha_t * (1 - p_t) ** gamma * F.binary_cross_entropy_with_logits(logit, label, reduction="none")
        loss = (loss / normalizer).sum()

    and with class indices ``label = F.one_hot(index, C + 1)[..., :C]``, which is never materialised.

    Args:
        logit: floating tensor of any rank from 1 up, with C classes along ``axis``.
        label: class indices (int32 or int64, the shape of ``logit`` without ``axis``): 0..C-1 foreground, C
            background, ``ignore_index`` neither loss nor gradient. Or dense targets in [0, 1] (floating, the shape of
            ``logit``), soft ones included.
        normalizer: divides the loss before the reduction: a number > 0, or a tensor of shape [], [1] or [C] (one value
            per class), whose values are the caller's to keep above 0. None: no division.
        alpha: balance. A number in [0, 1]: targets 1 weigh ``alpha``, targets 0 ``1 - alpha``. C numbers: one alpha
            per class. None: no balance, every factor is 1.
        gamma: focusing parameter >= 0; 0 is the cross entropy.
        reduction: 'none' (the shape of ``logit``), 'sum', or 'mean' over the elements that are not ignored (0 if there
            are none).
        name: accepted for Paddle's signature; has no effect.
        weight: multiplies the loss: a tensor of the shape of ``label``, or one that broadcasts to that of ``logit``.
        ignore_index: class index that is left out; outside 0..C.
        label_smoothing: in [0, 1). The cross entropy is taken against ``label * (1 - s) + s / 2``; alpha and the
            modulating factor keep the label itself.
        axis: the class axis. ``[N, A, C, H * W]`` with ``axis=2`` is read in place, without a transpose.
        backend: None for the best one available, or 'fused' or 'composite'.

    Returns:
        Tensor: for 'none' the shape and dtype of ``logit``; else a scalar in float32 (float64 for float64 logits).
        Half precision is computed in float32 and rounded once. The gradient flows to ``logit`` only and is a closed
        form (it cannot be differentiated again).

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: an argument out of range or of the wrong shape. The range of ``label`` is checked on the CPU; on
            other devices, where that would wait for the device, a class index out of range gives NaN.
        RuntimeError: ``backend`` names one that cannot serve, with the reason; or, in the backward pass, a second
            derivative is asked for (an OSError in the fused backend, which is how Paddle passes an operator's error
            on), or ``logit``, ``label`` or ``weight`` has been changed in place meanwhile.

    Note:
        The composite backend's gradient is a ``PyLayer``, which Paddle frees in its first ``backward()``, with
        ``retain_graph=True`` too: a second ``backward()`` through it crashes in Paddle. ``paddle.grad`` can be
        called again and again. The fused backend knows no such limit.

    Examples:
        >>> logit = paddle.to_tensor([[0.97, 0.91, 0.03], [0.55, 0.43, 0.71]])
        >>> label = paddle.to_tensor([0, 1])
        >>> float(sigmoid_focal_loss(logit, label, normalizer=2.0))
        0.6578246355056763
    """
    axis = check_logit(logit, axis)
    classes = logit.shape[axis]
    indexed = check_label(logit, label, axis, check_integer("ignore_index", ignore_index))
    foreground_scale, background_scale = _scales(_check_alpha(alpha, classes), normalizer, classes, logit.dtype)
    reduction = check_reduction(reduction)

    loss = ops.select(backend, logit).sigmoid_focal_loss(
        logit,
        label,
        axis=axis,
        foreground_scale=foreground_scale,
        background_scale=background_scale,
        weight=_check_weight(weight, logit, label, axis),
        gamma=check_gamma(gamma),
        label_smoothing=check_label_smoothing(label_smoothing),
        ignore_index=ignore_index,
        reduction="none" if reduction == "none" else "sum",
    )
    if reduction == "mean":
        kept = (label != ignore_index).sum() * classes if indexed else paddle.numel(logit)
        return loss / kept.clip(min=1).astype(loss.dtype)
    return loss


def _dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).rsplit(".", 1)[-1]


def _check_tensor(name: str, value: Tensor, dtypes: Sequence[str]) -> None:
    accepted = f"a Tensor of dtype {', '.join(dtypes[:-1])} or {dtypes[-1]}"
    if not paddle.is_tensor(value):
        raise TypeError(f"{name} must be {accepted}, but got {value!r} ({type(value).__name__})")
    if _dtype_name(value) not in dtypes:
        raise TypeError(f"{name} must be {accepted}, but its dtype is {_dtype_name(value)}")


def check_logit(logit: Tensor, axis: int) -> int:
    """The class axis, counted from the front."""
    _check_tensor("logit", logit, _FLOATING)
    if logit.ndim == 0:
        raise ValueError("logit must have at least one axis, but its shape is []")
    axis = check_integer("axis", axis)
    if not -logit.ndim <= axis < logit.ndim:
        raise ValueError(
            f"axis must be in [{-logit.ndim}, {logit.ndim - 1}] for logit of shape {list(logit.shape)}, but got {axis}"
        )
    axis %= logit.ndim
    if logit.shape[axis] < 1:  # -1 in a static graph: not known
        raise ValueError(f"logit must have at least one class, but its shape is {list(logit.shape)} with axis {axis}")
    return axis


def check_label(logit: Tensor, label: Tensor, axis: int, ignore_index: int) -> bool:
    """Whether the label is class indices (else dense targets)."""
    _check_tensor("label", label, _INDEX + _FLOATING)
    shape, label_shape, classes = list(logit.shape), list(label.shape), logit.shape[axis]
    indexed = _dtype_name(label) in _INDEX
    expected = shape[:axis] + shape[axis + 1 :] if indexed else shape
    if not _same_shape(label_shape, expected):
        hint = ""
        if indexed and label_shape == shape:
            hint = "; for 0/1 targets in the shape of logit, cast label to a floating dtype"
        raise ValueError(
            f"label of dtype {_dtype_name(label)} must have shape {expected} for logit of shape {shape} and "
            f"class axis {axis}, but its shape is {label_shape}{hint}"
        )
    if indexed and 0 <= ignore_index <= classes:
        raise ValueError(
            f"ignore_index must lie outside [0, {classes}], the classes and the background, but got {ignore_index}"
        )
    if indexed and not -(2**31) <= ignore_index < 2**31:
        raise ValueError(f"ignore_index must be a 32-bit integer, but got {ignore_index}")
    return indexed


def _same_shape(one: list[int], other: list[int]) -> bool:
    """Whether two shapes agree, as far as they are known: a static graph has -1 for sizes of the batch."""
    return len(one) == len(other) and all(m == n or -1 in (m, n) for m, n in zip(one, other))


def _check_alpha(alpha: float | Sequence[float] | Tensor | None, classes: int) -> float | tuple[float, ...] | None:
    value = check_alpha(alpha)
    if isinstance(value, tuple) and len(value) not in (1, classes):
        raise ValueError(f"alpha must be one number or {classes} numbers, one per class, but got {len(value)}")
    return value


def _scales(
    alpha: float | tuple[float, ...] | None, normalizer: float | Tensor | None, classes: int, dtype: paddle.dtype
) -> tuple[float | Tensor, float | Tensor]:
    """The factors alpha / normalizer and (1 - alpha) / normalizer: numbers, or tensors of shape [1] or [C]."""
    dtype = "float64" if dtype == paddle.float64 else "float32"
    if isinstance(alpha, tuple):
        foreground = paddle.to_tensor(alpha, dtype=dtype)
        background = 1.0 - foreground
    else:
        foreground, background = (1.0, 1.0) if alpha is None else (alpha, 1.0 - alpha)
    if normalizer is None:
        return foreground, background
    if paddle.is_tensor(normalizer):
        if list(normalizer.shape) not in ([], [1], [classes]):
            raise ValueError(
                f"normalizer must be a number or a Tensor of shape [], [1] or [{classes}], "
                f"but its shape is {list(normalizer.shape)}"
            )
        normalizer = normalizer.detach().reshape([-1]).astype(dtype)
    else:
        normalizer = check_positive("normalizer", normalizer)
    return foreground / normalizer, background / normalizer


def _check_weight(weight: Tensor | None, logit: Tensor, label: Tensor, axis: int) -> Tensor | None:
    """The weight as a floating tensor of the rank of ``logit``.

    It is broadcast along all axes before the class axis or along none, and likewise behind it, so that a backend can
    see these axes as one.
    """
    if weight is None:
        return None
    _check_tensor("weight", weight, (*_FLOATING, *_INDEX, "bool"))
    weight = weight.detach()
    if _dtype_name(weight) not in _FLOATING:
        weight = weight.astype("float32")
    shape, given = list(logit.shape), list(weight.shape)
    if len(label.shape) < len(shape) and _same_shape(given, list(label.shape)):
        return weight.unsqueeze(axis)
    full = [1] * (len(shape) - len(given)) + given
    if len(full) > len(shape) or not _same_shape([n if m == 1 else m for m, n in zip(full, shape)], shape):
        raise ValueError(
            f"weight must have the shape of label, {list(label.shape)}, or broadcast to that of logit, {shape}, "
            f"but its shape is {given}"
        )
    before, behind = slice(None, axis), slice(axis + 1, None)
    target = list(full)
    for group in (before, behind):
        if any(m != 1 for m in full[group]):
            target[group] = shape[group]
    weight = weight.unsqueeze(list(range(len(full) - len(given)))) if len(given) < len(full) else weight
    return weight if target == full else weight.expand(target)
