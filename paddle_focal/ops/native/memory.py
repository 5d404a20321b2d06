"""Memory for the results of the native library."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import paddle
from paddle import Tensor, _C_ops
from paddle.base import core

from paddle_focal.ops.native.library import library

#: Results of this size and above lie in the library's huge pages: fresh memory costs as much as the arithmetic.
LARGE = 2 << 20
_FEW = LARGE // 8  # numbers, which are not that large in any dtype
#: What NumPy calls numbers of a dtype, with their size in bytes; Paddle takes uint16 as bfloat16, which NumPy lacks.
_NUMPY = {paddle.float16: "<f2", paddle.bfloat16: "<u2", paddle.float32: "<f4", paddle.float64: "<f8"}
_SIZE = {dtype: int(name[-1]) for dtype, name in _NUMPY.items()}
_CPU = core.CPUPlace()


def empty(shape: Sequence[int], dtype: paddle.dtype) -> Tensor:
    """A tensor on the CPU whose numbers are not set."""
    count = math.prod(shape)
    if count < _FEW or (size := count * _SIZE[dtype]) < LARGE:
        return _C_ops.empty(shape, dtype, _CPU)
    array = np.asarray(_Memory(shape, _NUMPY[dtype], size))
    return core.eager.Tensor(value=array, place=_CPU, persistable=False, zero_copy=True, name="", stop_gradient=True)


class _Memory:
    """A block of the library, released when the last array of it dies. NumPy reads ``__array_interface__``."""

    def __init__(self, shape: Sequence[int], typestr: str, size: int) -> None:
        self._data = None
        self._release, self._size = library().focal_release, size
        self._data = library().focal_allocate(size)
        if not self._data:
            raise MemoryError(f"paddle_focal: no memory for a result of {size:,} bytes")
        self.__array_interface__ = {
            "shape": tuple(shape),
            "typestr": typestr,
            "data": (self._data, False),
            "version": 3,
        }

    def __del__(self) -> None:
        if self._data:
            self._release(self._data, self._size)
