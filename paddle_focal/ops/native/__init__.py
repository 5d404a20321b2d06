"""The native backend: the library of ``csrc``, bound by ctypes; in static graphs, an operator over the same library."""

from __future__ import annotations

import paddle
from paddle import Tensor

from paddle_focal.ops.loss import LossParams
from paddle_focal.ops.native import cpu, layer
from paddle_focal.ops.native.layer import compute_sum
from paddle_focal.ops.native.library import reason_against

__all__ = ["compute", "compute_sum", "cpu", "reason_against"]


def compute(logit: Tensor, params: LossParams) -> Tensor:
    """The loss of checked arguments; see :func:`paddle_focal.ops.compute`."""
    if paddle.in_dynamic_mode():
        return layer.compute(logit, params)
    from paddle_focal.ops.native import static_operator  # it needs Paddle's headers and a compiler

    return static_operator.compute(logit, params)
