"""The sigmoid focal loss in Paddle operators (Lin et al., arXiv:1708.02002, eq. 5), and Poly-1 focal loss.

The latter adds alpha_t epsilon (1 - p_t)^(gamma + 1) (Leng et al., arXiv:2204.12511).
"""

from __future__ import annotations

import paddle
from paddle import Tensor

from paddle_focal.ops.composite.elementwise import Elementwise, Numbers
from paddle_focal.ops.composite.focal_formula import hard, soft


def _negative(x: Tensor, numbers: Numbers, gradient: bool) -> Tensor:
    if numbers.get("epsilon"):
        return _positive(x, paddle.zeros_like(x), numbers, gradient)
    slope = -0.5 * numbers["label_smoothing"]  # the slope of what smoothing adds to the cross entropy
    return hard(x, numbers["gamma"], gradient, slope * x if slope else None, slope)


def _positive(x: Tensor, target: Tensor, numbers: Numbers, gradient: bool) -> Tensor:
    return soft(x, target, numbers["gamma"], numbers["label_smoothing"], gradient, numbers.get("epsilon", 0.0))


formula = Elementwise(_negative, _positive, serves_zero=True)
