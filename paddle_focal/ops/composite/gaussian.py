"""The focal loss of heatmaps in Paddle operators (Law and Deng, arXiv:1808.01244, eq. 1)."""

from __future__ import annotations

import paddle
from paddle import Tensor

from paddle_focal.ops.composite.elementwise import along_classes
from paddle_focal.ops.composite.focal_formula import hard, power
from paddle_focal.ops.loss import LossParams


def formula(x: Tensor, params: LossParams, gradient: bool) -> Tensor:
    """Losses or gradients ``[n, C, inner]``; see :data:`paddle_focal.ops.loss.Formula`."""
    numbers, heatmap = params.spec.numbers, params.label
    is_peak = heatmap >= 1  # Paddle's == takes 1 - 1e-9 as 1
    value = hard(paddle.where(is_peak, -x, x), numbers["gamma"], gradient)
    rest = (1.0 - heatmap.astype("float64")).astype(x.dtype)  # 1 - 1e-9 is 1 in float32
    factor = power(rest, lambda: paddle.log(rest), numbers["beta"])
    factor = paddle.where(is_peak, paddle.full_like(x, -1.0 if gradient else 1.0), factor)  # of d z / d x, too
    return value * factor * along_classes(params.scales["background_scale"], x.dtype)
