"""One call's arguments as the C struct that ``csrc/focal.h`` declares."""

from __future__ import annotations

import ctypes
import math
from functools import lru_cache
from typing import NamedTuple

import paddle
from paddle import Tensor

from paddle_focal.ops.loss import LossParams, LossSpec, loss_shape, result_dtype
from paddle_focal.ops.native import interface
from paddle_focal.ops.native.interface import ARRAY, ARRAYS, NUMBERS, SCALES, WEIGHT

#: Number formats as ``csrc/focal.h`` numbers them.
FORMATS = {getattr(paddle, name): number for name, number in interface.FORMATS.items()}
_NO_WEIGHT = WEIGHT.pack(0, 0, 0, 0, 0)


class Plan(NamedTuple):
    """What follows from a spec."""

    logit_format: int
    label_format: int
    score_format: int  # 0 without scores
    result_format: int
    packed: bytes  # what follows the weight
    count: int  # of logits
    shape: list[int]  # of the result
    dtype: paddle.dtype  # of the result
    number: type  # of ctypes, like a reduced result
    writes_gradient: bool  # in the forward pass on the CPU


@lru_cache(maxsize=512)
def plan_of(spec: LossSpec) -> Plan:
    shape, axis, reduce = list(spec.shape), spec.axis, spec.reduction == "sum"
    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    numbers = [*spec.numbers.values(), 0.0, 0.0][:3]
    return Plan(
        logit_format=FORMATS[spec.dtype],
        label_format=FORMATS[spec.label_dtype],
        score_format=0 if spec.score_dtype is None else FORMATS[spec.score_dtype],
        packed=NUMBERS.pack(spec.loss.number, outer, shape[axis], inner, *numbers, spec.ignore_index, reduce),
        shape=[] if reduce else loss_shape(spec.loss, shape, axis),
        dtype=result_dtype(spec.dtype) if reduce else spec.dtype,
        result_format=FORMATS[result_dtype(spec.dtype) if reduce else spec.dtype],
        count=math.prod(shape),
        number=ctypes.c_double if spec.dtype == paddle.float64 else ctypes.c_float,
        writes_gradient=reduce and spec.dtype in (paddle.float32, paddle.float64),
    )


def packed(plan: Plan, logit: Tensor, params: LossParams) -> bytes:
    """The struct; its pointers are valid while the tensors live and keep their memory. All of them are contiguous."""
    label, score = params.label.data_ptr(), 0 if params.score is None else params.score.data_ptr()
    arrays = ARRAYS.pack(logit.data_ptr(), plan.logit_format, label, plan.label_format, score, plan.score_format)
    weight = _NO_WEIGHT if params.weight is None else _packed_weight(params)
    return arrays + _packed_scales(*params.scales.values()) + weight + plan.packed


def packed_array(tensor: Tensor, number_format: int) -> bytes:
    return ARRAY.pack(tensor.data_ptr(), number_format)


def _packed_scales(first: float | Tensor, second: float | Tensor = 0.0) -> bytes:
    if type(first) is float and type(second) is float:
        return SCALES.pack(first, 0, 0, second, 0, 0)
    return SCALES.pack(*_scale(first), *_scale(second))


def _scale(scale: float | Tensor) -> tuple[float, int, int]:
    return (scale, 0, 0) if type(scale) is float else (0.0, scale.data_ptr(), int(scale.shape[0] > 1))


def _packed_weight(params: LossParams) -> bytes:
    weight, axis = params.weight, params.spec.axis
    shape = weight.shape
    if params.spec.loss.keeps_class_axis:
        strides = (_stride(shape, 0, axis), _stride(shape, axis, axis + 1), _stride(shape, axis + 1, len(shape)))
    else:
        strides = (math.prod(shape[axis:]), 0, 1)
    return WEIGHT.pack(weight.data_ptr(), FORMATS[weight.dtype], *strides)


def _stride(shape: list[int], first: int, last: int) -> int:
    """The stride of the axes [first, last) of a contiguous tensor that are seen as one: 0 if they are all of size 1."""
    return 0 if math.prod(shape[first:last]) == 1 else math.prod(shape[last:])
