"""The quality focal loss in Paddle operators (Li et al., arXiv:2006.04388, eq. 3).

With p = sigmoid(x), a score y in [0, 1] and d = p - y::

    QFL = |d|^gamma BCE(p, y)        d QFL / dx = |d|^gamma d + gamma |d|^(gamma - 1) sgn(d) p (1 - p) BCE(p, y)
"""

from __future__ import annotations

import paddle
from paddle import Tensor

from paddle_focal.ops.composite.elementwise import Elementwise, Numbers
from paddle_focal.ops.composite.focal_formula import Classifier, hard, power


def _negative(x: Tensor, numbers: Numbers, gradient: bool) -> Tensor:
    return hard(x, numbers["gamma"], gradient)


def _positive(x: Tensor, score: Tensor, numbers: Numbers, gradient: bool) -> Tensor:
    at, gamma = Classifier(x, score), numbers["gamma"]
    distance = at.difference.abs()
    is_met = distance < paddle.full_like(distance, 2.2250738585072014e-308)  # Paddle 2.6 has no such constant
    modulator = power(distance, lambda: paddle.log(paddle.where(is_met, paddle.ones_like(distance), distance)), gamma)
    if gamma:
        modulator = paddle.where(is_met, paddle.zeros_like(modulator), modulator)
    if not gradient:
        return modulator * at.cross_entropy
    # |d|^(gamma - 1) sgn(d); 0 at d = 0, where it may have no limit
    slope = paddle.where(is_met, paddle.zeros_like(modulator), modulator / at.difference)
    return modulator * at.difference + gamma * slope * at.variance * at.cross_entropy


formula = Elementwise(_negative, _positive, serves_zero=True)
