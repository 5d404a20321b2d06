"""Focal loss of one logit from Paddle operators, elementwise.

With the target y in {0, 1} and z = (1 - 2y) x, the logit of the wrong answer (Lin et al., arXiv:1708.02002, eq. 4)::

    1 - p_t = sigmoid(z)         -log(p_t) = softplus(z)         FL = alpha_t (1 - p_t)^gamma * -log(p_t)
    d FL / dz = alpha_t (1 - p_t)^gamma * (gamma * p_t * -log(p_t) + (1 - p_t))

Operators on temporaries work in place, because malloc may fetch fresh pages for every result.
"""

from __future__ import annotations

from typing import Callable

import paddle
import paddle.nn.functional as F
from paddle import Tensor


def hard(z: Tensor, gamma: float, gradient: bool, extra: Tensor | None = None, d_extra: float = 0.0) -> Tensor:
    """Loss of a 0/1 target, or its derivative with respect to z, the logit of the wrong answer.

    ``extra`` is added to the cross entropy, and ``d_extra`` is its derivative.
    """
    tail = log1p_exp_neg(z.abs())
    one_minus_p_t = F.sigmoid(z)
    cross_entropy = F.relu(z).add_(tail)
    if extra is not None:
        cross_entropy = cross_entropy.add_(extra)
    modulator = power(one_minus_p_t, lambda: z.clip(max=0.0).subtract_(tail), gamma)
    if not gradient:
        return cross_entropy.multiply_(modulator)
    d_modulator = (-z).sigmoid_().scale_(gamma).multiply_(cross_entropy)
    if d_extra:
        # Not `+ d_extra`, which Paddle 2.6 would round to float32.
        one_minus_p_t = one_minus_p_t + paddle.full_like(one_minus_p_t, d_extra)
    return d_modulator.add_(one_minus_p_t).multiply_(modulator)


def modulator(z: Tensor, gamma: float) -> Tensor:
    """(1 - p_t)^gamma at z, the logit of the wrong answer."""
    return power(F.sigmoid(z), lambda: z.clip(max=0.0).subtract_(log1p_exp_neg(z.abs())), gamma)


class Classifier:
    """A logit x with a target y: the cross entropy, and the distance of p = sigmoid(x) from y.

    Both are sums of two terms, of which one vanishes as |x| grows. Each is written with the share of the other one, so
    that a 0/1 target leaves exactly the right one.

    Attributes:
        tail: log(1 + exp(-|x|)).
        small: exp(-|x|).
        far: sigmoid(|x|).
        cross_entropy: y softplus(-x) + (1 - y) softplus(x).
        difference: p - y.
        variance: p (1 - p).
    """

    def __init__(self, x: Tensor, target: Tensor) -> None:
        distance, is_positive = x.abs(), x > 0
        self.tail = log1p_exp_neg(distance)
        self.small = paddle.exp(-distance)
        self.far = 1.0 / (1.0 + self.small)
        near = self.small * self.far
        rest = 1.0 - target
        self.cross_entropy = distance * paddle.where(is_positive, rest, target) + self.tail
        self.difference = paddle.where(is_positive, rest - near, near - target)
        self.variance = near * self.far


def soft(x: Tensor, target: Tensor, gamma: float, smoothing: float, gradient: bool, epsilon: float = 0.0) -> Tensor:
    """Loss of any target in [0, 1], or its derivative with respect to x; ``epsilon`` (1 - p_t) joins the cross entropy.

    1 - p_t = sigmoid(x) (1 - y) + sigmoid(-x) y is written as the cross entropy is, see :class:`Classifier`.
    """
    # Paddle 2.6 rounds added constants to float32; 0.5 is exact
    at = Classifier(x, target + smoothing * (0.5 - target))
    lost = paddle.where(x > 0, 1.0 - target, target)
    mixed = lost + (1.0 - lost) * at.small
    log_mixed = paddle.where(lost <= 0, -x.abs(), paddle.log(mixed))  # Paddle's == takes 1e-9 as 0
    one_minus_p_t = mixed * at.far
    modulator = power(one_minus_p_t, lambda: log_mixed - at.tail, gamma)
    cross_entropy, d_cross_entropy = at.cross_entropy, at.difference
    if epsilon:
        cross_entropy = cross_entropy + epsilon * one_minus_p_t
    if not gradient:
        return modulator * cross_entropy
    d_log_one_minus_p_t = (1.0 - 2.0 * target) * paddle.exp(-x.abs() - log_mixed) * at.far
    if epsilon:
        d_cross_entropy = d_cross_entropy + epsilon * one_minus_p_t * d_log_one_minus_p_t
    return modulator * (gamma * d_log_one_minus_p_t * cross_entropy + d_cross_entropy)


def log1p_exp_neg(distance: Tensor) -> Tensor:
    """log(1 + exp(-distance)), distance >= 0, to full relative accuracy.

    Paddle's softplus and log_sigmoid lose it (100 % in float32 at 17), and its log1p takes as long as four
    logarithms. The correction restores what rounding took from 1 + exp(-distance).
    """
    small = (-distance).exp_()
    rounded = 1.0 + small
    correction = small.subtract_(rounded - 1.0).divide_(rounded)
    return rounded.log_().add_(correction)


def power(base: Tensor, log_base: Callable[[], Tensor], gamma: float) -> Tensor:
    if gamma == 0:
        return paddle.ones_like(base)
    if gamma == 1:
        return base
    if gamma == 2:
        return base * base
    return log_base().scale_(gamma).exp_()
