"""Casts to half precision that round to the nearest.

On the CPU, Paddle's own casts do not: 2.6 truncates, and turns numbers above the largest float16 into infinity; 3.3
turns numbers from 1e-27 to 6e-24 into float16 numbers of up to 1e-4.
"""

from __future__ import annotations

import paddle
from paddle import Tensor

from paddle_focal.ops import devices

#: Bits of a float32 that a dtype has no room for.
_DROPPED = {paddle.float16: 13, paddle.bfloat16: 16}


def rounded(value: Tensor, dtype: paddle.dtype) -> Tensor:
    """The value in a dtype, rounded to the nearest, ties to even; differentiable."""
    if dtype in _DROPPED and devices.kind(value) == "cpu":
        constant = value.detach()
        change = _representable(constant.astype("float32"), dtype).astype(value.dtype) - constant
        value = value + paddle.where(paddle.isfinite(constant), change, paddle.zeros_like(change))
    return value.astype(dtype)


def _representable(value: Tensor, dtype: paddle.dtype) -> Tensor:
    """The float32 nearest to a finite one, among those that the dtype can represent."""
    unit = 1 << _DROPPED[dtype]  # the value of the last bit that is kept
    bits = value.view("int32")
    is_odd = bits.bitwise_and(_integer(unit)).astype("bool").astype("int32")
    result = (bits + is_odd + _integer(unit // 2 - 1)).bitwise_and(_integer(-unit)).view("float32")
    if dtype == paddle.float16:  # its subnormal numbers are multiples of 2^-24, as are the float32 from 0.5 to 1
        result = paddle.where(value.abs() < 2.0**-14, value + 0.75 - 0.75, result)
    return result


def _integer(value: int) -> Tensor:
    return paddle.full([], value, "int32")
