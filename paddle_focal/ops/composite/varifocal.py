"""The varifocal loss in Paddle operators (Zhang et al., arXiv:2008.13367, eq. 2).

With p = sigmoid(x), it is q BCE(p, q) where the target is a score q, and alpha p^gamma softplus(x) where it is 0::

    dL / dx = q (p - q)        dL / dx = alpha p^gamma (gamma (1 - p) softplus(x) + p)

or, with the weight p^gamma taken as a constant, alpha p^(gamma + 1).
"""

from __future__ import annotations

import paddle.nn.functional as F
from paddle import Tensor

from paddle_focal.ops.composite.elementwise import Elementwise, Numbers
from paddle_focal.ops.composite.focal_formula import Classifier, hard, modulator


def _negative(x: Tensor, numbers: Numbers, gradient: bool) -> Tensor:
    gamma = numbers["gamma"]
    if gradient and numbers["detach_weight"]:
        return modulator(x, gamma) * F.sigmoid(x)
    return hard(x, gamma, gradient)


def _positive(x: Tensor, score: Tensor, numbers: Numbers, gradient: bool) -> Tensor:
    at = Classifier(x, score)
    return score * (at.difference if gradient else at.cross_entropy)


formula = Elementwise(_negative, _positive)
