"""The composite backend: sigmoid focal loss from Paddle operators, for every device, in dynamic mode.

The loss and its gradient are closed forms, joined by a ``PyLayer``; the backward pass computes the gradient
anew from the logits, so nothing logit-sized is kept between the two. On the CPU both run block by block: a block
and its temporaries stay in the cache, where an elementwise operator costs a tenth of what it costs in memory. Operators
on temporaries work in place, because malloc may fetch fresh pages for every result.

With the target y in {0, 1} and z = (1 - 2y) x, the logit of the wrong answer (Lin et al., arXiv:1708.02002, eq. 4)::

    1 - p_t = sigmoid(z)         -log(p_t) = softplus(z)         FL = alpha_t (1 - p_t)^gamma * -log(p_t)
    d FL / dz = alpha_t (1 - p_t)^gamma * (gamma * p_t * -log(p_t) + (1 - p_t))
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Callable

import paddle
import paddle.nn.functional as F
from paddle import Tensor
from paddle.autograd import PyLayer

from paddle_focal.ops import devices, label_range

#: Elements in a block on the CPU: 1 MiB of float32, which a core's second-level cache holds.
BLOCK = 1 << 18


@dataclass(frozen=True)
class _Problem:
    """One loss without its logits. A plain object, so that ``PyLayer.apply`` takes the tensors in it as constants."""

    label: Tensor
    foreground_scale: float | Tensor
    background_scale: float | Tensor
    weight: Tensor | None
    gamma: float
    label_smoothing: float
    ignore_index: int
    reduction: str

    def versions(self, logit: Tensor) -> list[int]:
        """How often each tensor that the backward pass reads has been changed in place."""
        return [tensor.inplace_version for tensor in (logit, self.label, self.weight) if tensor is not None]


def sigmoid_focal_loss(
    logit: Tensor,
    label: Tensor,
    *,
    axis: int,
    foreground_scale: float | Tensor,
    background_scale: float | Tensor,
    weight: Tensor | None,
    gamma: float,
    label_smoothing: float,
    ignore_index: int,
    reduction: str,
) -> Tensor:
    """Sigmoid focal loss of checked arguments.

    Args:
        logit: C classes along ``axis``, any floating dtype.
        label: integer, the shape of ``logit`` without ``axis`` (0..C-1 foreground, C background), or floating, the
            shape of ``logit``.
        axis: the class axis, counted from the front.
        foreground_scale: factor of the targets 1 (alpha / normalizer): a number, or a tensor ``[1]`` or ``[C]``.
        background_scale: factor of the targets 0 ((1 - alpha) / normalizer): likewise.
        weight: None, or floating, the rank of ``logit`` and broadcasting to it.
        gamma: focusing parameter, >= 0.
        label_smoothing: share of the cross-entropy target that is spread evenly over 0 and 1.
        ignore_index: integer label without loss and gradient.
        reduction: 'none' or 'sum'.

    Returns:
        The shape and dtype of ``logit``, or a scalar in float32 (float64 for float64 logits).

    Raises:
        ValueError: a label is out of range; not checked where that would wait for a device.
    """
    shape, classes = logit.shape, logit.shape[axis]
    if not paddle.in_dynamic_mode():
        raise RuntimeError(
            "the composite backend cannot be traced into a static graph: "
            "build the native operator with `python -m paddle_focal.build`, or run in dynamic mode"
        )
    if _on_cpu(label) or label_range.is_wanted_everywhere():
        label_range.check(label, classes, ignore_index)
    view = [math.prod(shape[:axis]), classes, math.prod(shape[axis + 1 :])]
    if weight is not None:
        broadcast = [1 if i == axis and n == 1 else shape[i] for i, n in enumerate(weight.shape)]
        weight = weight if weight.shape == broadcast else weight.expand(broadcast)
        weight = weight.reshape([view[0], weight.shape[axis], view[2]])
    problem = _Problem(
        label.reshape(view if label.is_floating_point() else [view[0], view[2]]),
        foreground_scale,
        background_scale,
        weight,
        gamma,
        label_smoothing,
        ignore_index,
        reduction,
    )
    loss = _SigmoidFocalLoss.apply(logit.reshape(view), problem)
    return loss.reshape(shape) if reduction == "none" else loss


class _SigmoidFocalLoss(PyLayer):
    @staticmethod
    def forward(ctx, logit, problem):
        ctx.save_for_backward(logit)
        ctx.problem = problem
        ctx.versions = problem.versions(logit)
        with paddle.amp.auto_cast(enable=False):
            block_of = _block_function(logit, problem, gradient=False)
            if problem.reduction == "none":
                return _gather(logit, block_of)
            sums = [block_of(rows).sum() for rows in _rows(logit)]
            total = paddle.stack(sums).astype("float64").sum() if sums else paddle.zeros([], "float64")
            return total.astype(_compute_dtype(logit))

    @staticmethod
    def backward(ctx, upstream):
        (logit,) = ctx.saved_tensor()
        if paddle.is_grad_enabled():
            raise RuntimeError("sigmoid_focal_loss cannot be differentiated twice: call it without create_graph")
        if ctx.problem.versions(logit) != ctx.versions:
            raise RuntimeError("logit, label or weight was changed in place between the forward and the backward pass")
        with paddle.amp.auto_cast(enable=False):
            return _gather(logit, _block_function(logit, ctx.problem, gradient=True, upstream=upstream))


def _compute_dtype(logit: Tensor):
    return paddle.float64 if logit.dtype == paddle.float64 else paddle.float32


def _on_cpu(logit: Tensor) -> bool:
    return devices.kind(logit) == "cpu"


def _rows(logit: Tensor) -> Iterator[slice]:
    """Slices of the first axis: cache-sized on the CPU, everything at once elsewhere."""
    if not _on_cpu(logit):
        yield slice(None)
        return
    outer, classes, inner = logit.shape
    step = max(1, BLOCK // max(1, classes * inner))
    for start in range(0, outer if classes * inner else 0, step):
        yield slice(start, min(start + step, outer))


def _gather(logit: Tensor, block_of: Callable[[slice], Tensor]) -> Tensor:
    """The blocks of an elementwise result in one tensor, with the shape and dtype of the logits."""
    if not _on_cpu(logit):
        return _rounded(block_of(slice(None)), logit.dtype)
    result = paddle.empty(logit.shape, logit.dtype)
    for rows in _rows(logit):
        result[rows].copy_(_rounded(block_of(rows), logit.dtype), False)
    return result


def _rounded(value: Tensor, dtype: paddle.dtype) -> Tensor:
    if dtype == paddle.float16:
        # Paddle's cast on the CPU turns numbers from 1e-27 to 6e-24 into some up to 1e-4: what rounds to 0 is made 0.
        value = value * (value.abs() >= 2.0**-25).astype(value.dtype)
    return value.astype(dtype)


def _block_function(
    logit: Tensor, problem: _Problem, gradient: bool, upstream: Tensor | None = None
) -> Callable[[slice], Tensor]:
    """The function from rows to the loss of these rows, or to its gradient times ``upstream``."""
    dtype = _compute_dtype(logit)
    dense = problem.label.is_floating_point()
    elementwise = partial(_dense if dense else _indexed, problem=problem, gradient=gradient)
    has_excluded = not dense and not (_on_cpu(logit) and _all_included(problem.label, logit.shape[1]))

    def block_of(rows: slice) -> Tensor:
        x = logit[rows].astype(dtype)
        label = problem.label[rows]
        value = elementwise(x, label.astype(dtype) if dense else label)
        if problem.weight is not None:
            value = value * problem.weight[rows].astype(dtype)
        if upstream is not None:
            value = value * (upstream if problem.reduction == "sum" else upstream[rows].astype(dtype))
        if has_excluded:
            value = _exclude(value, label, problem.ignore_index)
        return value

    return block_of


def _indexed(x: Tensor, label: Tensor, problem: _Problem, gradient: bool) -> Tensor:
    """Loss or gradient of class indices: the background's everywhere, then the foreground's where it belongs."""
    classes = x.shape[1]
    element = partial(_hard, gamma=problem.gamma, smoothing=problem.label_smoothing, gradient=gradient)
    index = label.clip(0, classes - 1).unsqueeze(1)
    value = element(x) * _along_classes(problem.background_scale)
    foreground = element(-paddle.take_along_axis(x, index, 1)) * _of_class(problem.foreground_scale, index)
    if gradient:
        foreground = -foreground
    is_foreground = index == label.unsqueeze(1)
    foreground = paddle.where(is_foreground, foreground, paddle.take_along_axis(value, index, 1))
    return paddle.put_along_axis(value, index, foreground, 1)


def _dense(x: Tensor, label: Tensor, problem: _Problem, gradient: bool) -> Tensor:
    foreground, background = _along_classes(problem.foreground_scale), _along_classes(problem.background_scale)
    scale = label * foreground + (1.0 - label) * background
    return scale * _soft(x, label, problem.gamma, problem.label_smoothing, gradient)


def _hard(z: Tensor, gamma: float, smoothing: float, gradient: bool) -> Tensor:
    """Loss of a 0/1 target, or its derivative by z, the logit of the wrong answer."""
    tail = _log1p_exp_neg(z.abs())
    wrong = F.sigmoid(z)
    cross_entropy = F.relu(z).add_(tail)
    if smoothing:
        cross_entropy = cross_entropy.subtract_((0.5 * smoothing) * z)
    modulator = _power(wrong, lambda: z.clip(max=0.0).subtract_(tail), gamma)
    if not gradient:
        return cross_entropy.multiply_(modulator)
    d_modulator = (-z).sigmoid_().scale_(gamma).multiply_(cross_entropy)
    return d_modulator.add_(wrong - 0.5 * smoothing if smoothing else wrong).multiply_(modulator)


def _soft(x: Tensor, target: Tensor, gamma: float, smoothing: float, gradient: bool) -> Tensor:
    """Loss of any target in [0, 1], or its derivative by x: (1 - p_t) = sigmoid(x) (1 - y) + sigmoid(-x) y.

    Both the cross entropy and 1 - p_t are sums of two terms, of which one vanishes as |x| grows. Each is written
    with the share of the other one, ``lost``, so that a 0/1 target leaves exactly the right term.
    """
    distance = x.abs()
    tail = _log1p_exp_neg(distance)
    small = paddle.exp(-distance)
    positive = (x > 0).astype(x.dtype)
    smoothed = target * (1.0 - smoothing) + 0.5 * smoothing
    lost = (positive - target).abs()
    cross_entropy = distance * (positive - smoothed).abs() + tail
    mixed = lost + (1.0 - lost) * small
    log_mixed = paddle.where(lost == 0, -distance, paddle.log(mixed))
    modulator = _power(mixed / (1.0 + small), lambda: log_mixed - tail, gamma)
    if not gradient:
        return modulator * cross_entropy
    d_log_wrong = (1.0 - 2.0 * target) * paddle.exp(-distance - log_mixed) / (1.0 + small)
    d_cross_entropy = (1.0 - smoothed) * F.sigmoid(x) - smoothed * F.sigmoid(-x)
    return modulator * (gamma * d_log_wrong * cross_entropy + d_cross_entropy)


def _log1p_exp_neg(distance: Tensor) -> Tensor:
    """log(1 + exp(-distance)), distance >= 0, to full relative accuracy.

    Paddle's softplus and log_sigmoid lose it (100 % in float32 at 17), its log1p costs four logarithms. The
    correction restores what rounding took from 1 + exp(-distance).
    """
    small = (-distance).exp_()
    rounded = 1.0 + small
    correction = small.subtract_(rounded - 1.0).divide_(rounded)
    return rounded.log_().add_(correction)


def _power(base: Tensor, log_base: Callable[[], Tensor], gamma: float) -> Tensor:
    if gamma == 0:
        return paddle.ones_like(base)
    if gamma == 1:
        return base
    if gamma == 2:
        return base * base
    return log_base().scale_(gamma).exp_()


def _along_classes(scale: float | Tensor) -> float | Tensor:
    return scale.reshape([1, -1, 1]) if isinstance(scale, Tensor) else scale


def _of_class(scale: float | Tensor, index: Tensor) -> float | Tensor:
    if isinstance(scale, Tensor) and scale.shape[0] > 1:
        return scale.gather(index.flatten()).reshape(index.shape)
    return scale


def _excluded(label: Tensor, classes: int) -> Tensor:
    return (label < 0).logical_or(label > classes)


def _all_included(label: Tensor, classes: int) -> bool:
    return 0 in label.shape or not bool(_excluded(label, classes).any())


def _exclude(value: Tensor, label: Tensor, ignore_index: int) -> Tensor:
    """Zero where the label is ``ignore_index``; NaN where it is out of range, so that it is seen."""
    fill = paddle.where(label == ignore_index, 0.0, float("nan")).astype(value.dtype)
    return paddle.where(_excluded(label, value.shape[1]).unsqueeze(1), fill.unsqueeze(1), value)
