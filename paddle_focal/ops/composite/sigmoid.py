"""The composite backend: focal losses from Paddle operators, for every device, in dynamic mode."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Callable

import paddle
from paddle import Tensor

from paddle_focal.ops import label_range
from paddle_focal.ops.composite import closed_form
from paddle_focal.ops.composite.closed_form import (
    all_included,
    along_classes,
    compute_dtype,
    exclude,
    of_class,
    on_cpu,
    view_of,
    weighted,
)
from paddle_focal.ops.composite.elementwise import hard, soft
from paddle_focal.ops.composite.softmax import softmax_focal_loss

__all__ = ["sigmoid_focal_loss", "softmax_focal_loss"]


@dataclass(frozen=True)
class _SigmoidProblem(closed_form.Problem):
    foreground_scale: float | Tensor
    background_scale: float | Tensor
    name = "sigmoid_focal_loss"

    def loss_shape(self, logit: Tensor) -> list[int]:
        return logit.shape

    def block_function(self, logit: Tensor, upstream: Tensor | None = None) -> Callable[[slice], Tensor]:
        dtype = compute_dtype(logit.dtype)
        dense = self.label.is_floating_point()
        elementwise = partial(_dense if dense else _indexed, problem=self, gradient=upstream is not None)
        has_excluded = not dense and not (on_cpu(logit) and all_included(self.label, logit.shape[1]))

        def block_of(rows: slice) -> Tensor:
            x = logit[rows].astype(dtype)
            label = self.label[rows]
            value = elementwise(x, label.astype(dtype) if dense else label)
            if self.weight is not None:
                value = weighted(value, self.weight[rows])
            if upstream is not None:
                value = value * (upstream if self.reduction == "sum" else upstream[rows].astype(dtype))
            if has_excluded:
                value = exclude(value, label, logit.shape[1], self.ignore_index)
            return value

        return block_of


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
    closed_form.require_dynamic_mode()
    shape, classes = logit.shape, logit.shape[axis]
    if on_cpu(label) or label_range.is_wanted_everywhere():
        label_range.check(label, classes, ignore_index)
    view = view_of(logit, axis)
    if weight is not None:
        broadcast = [1 if i == axis and n == 1 else shape[i] for i, n in enumerate(weight.shape)]
        weight = weight if weight.shape == broadcast else weight.expand(broadcast)
        weight = weight.reshape([view[0], weight.shape[axis], view[2]])
    problem = _SigmoidProblem(
        label.reshape(view if label.is_floating_point() else [view[0], view[2]]),
        weight,
        gamma,
        label_smoothing,
        ignore_index,
        reduction,
        foreground_scale,
        background_scale,
    )
    loss = closed_form.apply(logit.reshape(view), problem)
    return loss.reshape(shape) if reduction == "none" else loss


def _indexed(x: Tensor, label: Tensor, problem: _SigmoidProblem, gradient: bool) -> Tensor:
    """Loss or gradient of class indices: the background's everywhere, then the foreground's where it belongs."""
    classes = x.shape[1]

    def element(z: Tensor) -> Tensor:
        slope = -0.5 * problem.label_smoothing  # of what smoothing adds to the cross entropy
        return hard(z, problem.gamma, gradient, slope * z if slope else None, slope)

    index = label.clip(0, classes - 1).unsqueeze(1)
    value = element(x) * along_classes(problem.background_scale, x.dtype)
    foreground = element(-paddle.take_along_axis(x, index, 1)) * of_class(problem.foreground_scale, index, x.dtype)
    if gradient:
        foreground = -foreground
    is_foreground = index == label.unsqueeze(1)
    foreground = paddle.where(is_foreground, foreground, paddle.take_along_axis(value, index, 1))
    return paddle.put_along_axis(value, index, foreground, 1)


def _dense(x: Tensor, label: Tensor, problem: _SigmoidProblem, gradient: bool) -> Tensor:
    foreground = label * along_classes(problem.foreground_scale, x.dtype)
    background = (1.0 - label) * along_classes(problem.background_scale, x.dtype)
    return (foreground + background) * soft(x, label, problem.gamma, problem.label_smoothing, gradient)
