"""The softmax focal loss in Paddle operators.

For a class t, the logit of the wrong answer against all others is (Lin et al., arXiv:1708.02002, eq. 4)::

    z = log(sum of exp(x_k) over k != t) - x_t        1 - p_t = sigmoid(z)        -log(p_t) = softplus(z)

so the loss is that of the sigmoid, F(z). With r_k = exp(x_k) / (sum over k != t), the shares of the other classes::

    dL / dx_k = F'(z) r_k        dL / dx_t = -F'(z)

Smoothing adds s times the mean of x_t - x_k to the cross entropy.
"""

from __future__ import annotations

import paddle
from paddle import Tensor

from paddle_focal.ops.composite.elementwise import along_classes, of_class
from paddle_focal.ops.composite.focal_formula import hard, modulator
from paddle_focal.ops.loss import LossParams

_LOWEST = -1.7976931348623157e308  # used in place of -infinity, the maximum over no classes


def formula(x: Tensor, params: LossParams, gradient: bool) -> Tensor:
    """Losses ``[n, 1, inner]`` or gradients ``[n, C, inner]``; see :data:`paddle_focal.ops.loss.Formula`."""
    return (_soft if params.label.is_floating_point() else _indexed)(x, params.label, params, gradient)


def _indexed(x: Tensor, label: Tensor, params: LossParams, gradient: bool) -> Tensor:
    classes, gamma, label_smoothing = x.shape[1], params.spec.numbers["gamma"], params.spec.numbers["label_smoothing"]
    index = label.clip(0, classes - 1).unsqueeze(1)
    own = paddle.take_along_axis(x, index, 1)
    others = paddle.put_along_axis(x, index, paddle.full_like(own, -float("inf")), 1)
    # Without a maximum, Paddle 2.6 takes the largest number of float32.
    highest = others.max(axis=1, keepdim=True).clip(min=_LOWEST, max=float("inf"))
    power = paddle.exp(others - highest)
    total = power.sum(axis=1, keepdim=True)
    z = paddle.log(total) + (highest - own)
    scale = of_class(params.scales["scale"], index, x.dtype)
    value = scale * hard(z, gamma, gradient, _smoothing(x, own, label_smoothing))
    if not gradient:
        return value
    even = label_smoothing * scale * modulator(z, gamma)
    taken = power * _quotient(value, total) - even / classes
    return paddle.put_along_axis(taken, index, even * (1 - 1 / classes) - value, 1)


def _soft(x: Tensor, label: Tensor, params: LossParams, gradient: bool) -> Tensor:
    """The losses of all classes, each times its share of the label."""
    gamma, label_smoothing = params.spec.numbers["gamma"], params.spec.numbers["label_smoothing"]
    share = along_classes(params.scales["scale"], x.dtype) * label.astype(x.dtype)
    highest = x.max(axis=1, keepdim=True)
    power = paddle.exp(x - highest)
    index = x.argmax(axis=1, keepdim=True)
    others = _sum_of_others(power, index)
    z = paddle.log(others) + (highest - x)
    value = share * hard(z, gamma, gradient, _smoothing(x, x, label_smoothing))
    value = paddle.where(share.abs() <= 0, paddle.zeros_like(value), value)  # not ==: see _quotient
    if not gradient:
        return value.sum(axis=1, keepdim=True)
    even = label_smoothing * share * modulator(z, gamma)
    taken = power * _sum_of_others(_quotient(value, others), index)
    return taken - value + even - even.mean(axis=1, keepdim=True)


def _sum_of_others(value: Tensor, index: Tensor) -> Tensor:
    """For each class, the sum over all others; added up anew at ``index``, whose value may be nearly the total."""
    result = value.sum(axis=1, keepdim=True) - value
    rest = paddle.put_along_axis(value, index, paddle.zeros_like(index).astype(value.dtype), 1)
    return paddle.put_along_axis(result, index, rest.sum(axis=1, keepdim=True), 1)


def _smoothing(x: Tensor, own: Tensor, label_smoothing: float) -> Tensor | None:
    """What smoothing adds to the cross entropy."""
    if not label_smoothing:
        return None
    return label_smoothing * (own - x.mean(axis=1, keepdim=True))


def _quotient(value: Tensor, total: Tensor) -> Tensor:
    """The value over the total of the others; 0 if there are no others. Paddle's == 0 is true up to 1e-15, or 1e-8."""
    return paddle.where(total <= 0, paddle.zeros_like(value), value / total)
