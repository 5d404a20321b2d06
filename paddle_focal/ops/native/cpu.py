"""The passes of the native library on the CPU, over contiguous tensors."""

from __future__ import annotations

import math

from paddle import Tensor

from paddle_focal.ops import devices, label_range
from paddle_focal.ops.loss import LossParams
from paddle_focal.ops.native import memory
from paddle_focal.ops.native.interface import FAILED, OK
from paddle_focal.ops.native.library import library
from paddle_focal.ops.native.params import FORMATS, Plan, packed, packed_array


def forward(plan: Plan, logit: Tensor, params: LossParams, grad: Tensor | None = None) -> Tensor:
    """The loss; the gradient of a reduced one is written to ``grad``."""
    result = memory.empty(plan.shape, plan.dtype)
    struct = packed(plan, logit, params)
    _check(library().focal_forward(struct, result.data_ptr(), None if grad is None else grad.data_ptr()), params)
    return result


def backward(plan: Plan, logit: Tensor, params: LossParams, grad_out: Tensor) -> Tensor:
    """The gradient of the logits, given that of the result."""
    grad = memory.empty(logit.shape, params.spec.dtype)
    factor = packed_array(grad_out, plan.result_format)
    _check(library().focal_backward(packed(plan, logit, params), factor, grad.data_ptr()), params)
    return grad


def count_ones(tensor: Tensor) -> int:
    """How many numbers of a floating tensor are 1."""
    tensor = devices.contiguous(tensor)
    count = library().focal_count_ones(packed_array(tensor, FORMATS[tensor.dtype]), math.prod(tensor.shape))
    if count < 0:
        raise RuntimeError(f"count_ones: {library().focal_error().decode()}")
    return count


def _check(status: int, params: LossParams) -> None:
    if status == OK:
        return
    if status != FAILED:
        label_range.check(params)
    raise RuntimeError(f"{params.spec.loss.name}: {library().focal_error().decode()}")
