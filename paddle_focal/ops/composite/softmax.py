"""The softmax focal loss of the composite backend.

For a class t, the logit of the wrong answer against all others is (Lin et al., arXiv:1708.02002, eq. 4)::

    z = log(sum of exp(x_k) over k != t) - x_t        1 - p_t = sigmoid(z)        -log(p_t) = softplus(z)

so that the loss is the sigmoid's, F(z), and with the shares r_k = exp(x_k) / (sum over k != t) of the others::

    dL / dx_k = F'(z) r_k        dL / dx_t = -F'(z)

Smoothing adds s times the mean of x_t - x_k to the cross entropy. Everything is computed in float64: where p_t is close
to 1, the loss depends on z exponentially.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import paddle
from paddle import Tensor

from paddle_focal.ops import label_range
from paddle_focal.ops.composite import closed_form
from paddle_focal.ops.composite.closed_form import along_classes, exclude, of_class, on_cpu, view_of
from paddle_focal.ops.composite.elementwise import hard, modulator

_LOWEST = -1.7976931348623157e308  # in place of the maximum of nothing, -infinity


@dataclass(frozen=True)
class _SoftmaxProblem(closed_form.Problem):
    scale: float | Tensor
    name = "softmax_focal_loss"

    def loss_shape(self, logit: Tensor) -> list[int]:
        return [logit.shape[0], logit.shape[2]]

    def block_function(self, logit: Tensor, upstream: Tensor | None = None) -> Callable[[slice], Tensor]:
        block = _soft if self.label.is_floating_point() else _indexed

        def block_of(rows: slice) -> Tensor:
            label, factor = self.label[rows], paddle.ones([1], "float64")
            if self.weight is not None:
                factor = factor * self.weight[rows].unsqueeze(1).astype("float64")
            if upstream is not None:
                own = upstream if self.reduction == "sum" else upstream[rows].unsqueeze(1)
                factor = factor * own.astype("float64")
            return block(logit[rows].astype("float64"), label, factor, self, upstream is not None)

        return block_of


def softmax_focal_loss(
    logit: Tensor,
    label: Tensor,
    *,
    axis: int,
    scale: float | Tensor,
    weight: Tensor | None,
    gamma: float,
    label_smoothing: float,
    ignore_index: int,
    reduction: str,
) -> Tensor:
    """Softmax focal loss of checked arguments.

    Args:
        logit: C classes along ``axis``, any floating dtype.
        label: integer, the shape of ``logit`` without ``axis`` (0..C-1), or floating, the shape of ``logit``.
        axis: the class axis, counted from the front.
        scale: factor of the loss (alpha / normalizer): a number, or a tensor ``[1]`` or ``[C]``, by the class.
        weight: None, or floating, the shape of ``logit`` without ``axis``.
        gamma: focusing parameter, >= 0.
        label_smoothing: share of the cross-entropy target that is spread evenly over the classes.
        ignore_index: integer label without loss and gradient.
        reduction: 'none' or 'sum'.

    Returns:
        The shape of ``logit`` without ``axis`` and its dtype, or a scalar in float32 (float64 for float64 logits).

    Raises:
        ValueError: a label is out of range; not checked where that would wait for a device.
    """
    closed_form.require_dynamic_mode()
    if on_cpu(label) or label_range.is_wanted_everywhere():
        label_range.check(label, logit.shape[axis], ignore_index, has_background=False)
    outer, classes, inner = view_of(logit, axis)
    problem = _SoftmaxProblem(
        label.reshape([outer, classes, inner] if label.is_floating_point() else [outer, inner]),
        None if weight is None else weight.reshape([outer, inner]),
        gamma,
        label_smoothing,
        ignore_index,
        reduction,
        scale,
    )
    loss = closed_form.apply(logit.reshape([outer, classes, inner]), problem)
    return loss.reshape(logit.shape[:axis] + logit.shape[axis + 1 :]) if reduction == "none" else loss


def _indexed(x: Tensor, label: Tensor, factor: Tensor, problem: _SoftmaxProblem, gradient: bool) -> Tensor:
    classes = x.shape[1]
    index = label.clip(0, classes - 1).unsqueeze(1)
    own = paddle.take_along_axis(x, index, 1)
    others = paddle.put_along_axis(x, index, paddle.full_like(own, -float("inf")), 1)
    highest = others.max(axis=1, keepdim=True).clip(min=_LOWEST)
    power = paddle.exp(others - highest)
    total = power.sum(axis=1, keepdim=True)
    z = paddle.log(total) + (highest - own)
    extra = _smoothing(x, own, problem)
    scale = factor * of_class(problem.scale, index, x.dtype)
    value = scale * hard(z, problem.gamma, gradient, extra)
    if gradient:
        even = problem.label_smoothing * scale * modulator(z, problem.gamma)
        taken = power * _quotient(value, total) - even / classes
        value = paddle.put_along_axis(taken, index, even * (1 - 1 / classes) - value, 1)
    value = exclude(value, label, classes - 1, problem.ignore_index)
    return value if gradient else value.squeeze(1)


def _soft(x: Tensor, label: Tensor, factor: Tensor, problem: _SoftmaxProblem, gradient: bool) -> Tensor:
    """The losses of all classes, each times its share of the label."""
    share = factor * along_classes(problem.scale, x.dtype) * label.astype("float64")
    highest = x.max(axis=1, keepdim=True)
    power = paddle.exp(x - highest)
    index = x.argmax(axis=1, keepdim=True)
    others = _sum_of_others(power, index)
    z = paddle.log(others) + (highest - x)
    value = share * hard(z, problem.gamma, gradient, _smoothing(x, x, problem))
    value = paddle.where(share.abs() <= 0, paddle.zeros_like(value), value)  # ==: see _quotient
    if not gradient:
        return value.sum(axis=1)
    even = problem.label_smoothing * share * modulator(z, problem.gamma)
    taken = power * _sum_of_others(_quotient(value, others), index)
    return taken - value + even - even.mean(axis=1, keepdim=True)


def _sum_of_others(value: Tensor, index: Tensor) -> Tensor:
    """For each class the sum over all others; that at ``index``, which may be nearly everything, is added anew."""
    result = value.sum(axis=1, keepdim=True) - value
    rest = paddle.put_along_axis(value, index, paddle.zeros_like(index).astype(value.dtype), 1)
    return paddle.put_along_axis(result, index, rest.sum(axis=1, keepdim=True), 1)


def _smoothing(x: Tensor, own: Tensor, problem: _SoftmaxProblem) -> Tensor | None:
    """What smoothing adds to the cross entropy."""
    if not problem.label_smoothing:
        return None
    return problem.label_smoothing * (own - x.mean(axis=1, keepdim=True))


def _quotient(value: Tensor, total: Tensor) -> Tensor:
    """The value over the total of the others; 0 where there are no others. To Paddle, == 0 is up to 1e-15, or 1e-8."""
    return paddle.where(total <= 0, paddle.zeros_like(value), value / total)
