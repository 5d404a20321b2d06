"""The asymmetric loss in Paddle operators (Ridnik et al., arXiv:2009.14119).

With p = sigmoid(x) and m = max(p - margin, 0), it is that of a target y in [0, 1] between those of targets 1 and 0::

    L = y (1 - p)^gamma_pos softplus(-x) + (1 - y) m^gamma_neg (-log(1 - m))

Both parts are the focal loss, the second one if there is no margin. With one, its derivative is, for m > 0::

    p (1 - p) m^gamma_neg (gamma_neg (-log(1 - m)) / m + 1 / (1 - m))        1 - m = (1 - p) + margin
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import Tensor

from paddle_focal.ops.composite.elementwise import Elementwise, Numbers
from paddle_focal.ops.composite.focal_formula import hard, power


def _negative(x: Tensor, numbers: Numbers, gradient: bool) -> Tensor:
    gamma = numbers["gamma_neg"]
    if not numbers["margin"]:
        return hard(x, gamma, gradient)
    margin = paddle.full_like(x, numbers["margin"])  # not the number, which Paddle 2.6 would round to float32
    p, q, half = F.sigmoid(x), F.sigmoid(-x), paddle.full_like(x, 0.5)
    is_clipped = p <= margin
    m, rest = paddle.where(is_clipped, half, p - margin), q + margin  # clipped: some number that no formula minds
    # Of a small m the second one, in which 1 - m is not rounded.
    cross_entropy = -paddle.where(m > half, paddle.log(rest), paddle.log1p(-m))
    value = power(m, lambda: paddle.log(m), gamma)
    value = value * (p * q * (gamma * cross_entropy / m + 1.0 / rest) if gradient else cross_entropy)
    return paddle.where(is_clipped, paddle.zeros_like(value), value)


def _positive(x: Tensor, target: Tensor, numbers: Numbers, gradient: bool) -> Tensor:
    own = hard(-x, numbers["gamma_pos"], gradient)
    return target * (-own if gradient else own) + (1.0 - target) * _negative(x, numbers, gradient)


formula = Elementwise(_negative, _positive, serves_zero=True)
