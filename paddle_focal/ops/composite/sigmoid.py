"""The sigmoid focal loss in Paddle operators (Lin et al., arXiv:1708.02002, eq. 5)."""

from __future__ import annotations

import paddle
from paddle import Tensor

from paddle_focal.ops.composite.focal_formula import along_classes, hard, of_class, soft
from paddle_focal.ops.loss import LossParams


def formula(x: Tensor, label: Tensor, params: LossParams, gradient: bool) -> Tensor:
    """Losses or gradients ``[n, C, inner]``; see :data:`paddle_focal.ops.loss.Formula`."""
    return (_dense if params.label.is_floating_point() else _indexed)(x, label, params, gradient)


def _indexed(x: Tensor, label: Tensor, params: LossParams, gradient: bool) -> Tensor:
    """For class indices: the background's values everywhere, then the foreground's at the labelled classes."""
    classes, gamma = x.shape[1], params.spec.numbers["gamma"]
    slope = -0.5 * params.spec.numbers["label_smoothing"]  # the slope of what smoothing adds to the cross entropy

    def element(z: Tensor) -> Tensor:
        return hard(z, gamma, gradient, slope * z if slope else None, slope)

    index = label.clip(0, classes - 1).unsqueeze(1)
    value = element(x) * along_classes(params.scales["background_scale"], x.dtype)
    foreground_scale = of_class(params.scales["foreground_scale"], index, x.dtype)
    foreground = element(-paddle.take_along_axis(x, index, 1)) * foreground_scale
    if gradient:
        foreground = -foreground
    is_foreground = index == label.unsqueeze(1)
    foreground = paddle.where(is_foreground, foreground, paddle.take_along_axis(value, index, 1))
    return paddle.put_along_axis(value, index, foreground, 1)


def _dense(x: Tensor, label: Tensor, params: LossParams, gradient: bool) -> Tensor:
    target = label.astype(x.dtype)
    foreground = target * along_classes(params.scales["foreground_scale"], x.dtype)
    background = (1.0 - target) * along_classes(params.scales["background_scale"], x.dtype)
    numbers = params.spec.numbers
    return (foreground + background) * soft(x, target, numbers["gamma"], numbers["label_smoothing"], gradient)
