"""What surrounds the package on a GPU, on the CPU: another device is the current one, and ``auto_cast`` is on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import paddle
import pytest
from paddle.base import core, framework

from paddle_focal.ops import devices

#: Operators that ``auto_cast`` of level O2 computes in float16 on a GPU; on the CPU it leaves all as they are.
CAST = ("__add__", "__mul__", "__rmul__", "__rsub__", "__sub__", "__truediv__", "clip")


@contextmanager
def on_another_device() -> Iterator[None]:
    """Not on the current device, on which nothing can be made (Paddle from 3.0 on takes the CPU for it)."""
    tracer = framework._dygraph_tracer()
    before = tracer._amp_level, tracer._amp_dtype
    with pytest.MonkeyPatch.context() as patch, framework._dygraph_place_guard(core.Place()):
        patch.setattr(devices, "_is_cpu_only", lambda: False)
        patch.setattr(paddle, "get_device", lambda: "gpu:0")
        for name in CAST:
            patch.setattr(paddle.Tensor, name, _cast(getattr(paddle.Tensor, name)))
        tracer._amp_level, tracer._amp_dtype = core.AmpLevel.O2, "float16"
        try:
            yield
        finally:
            tracer._amp_level, tracer._amp_dtype = before


def _cast(operator: Callable) -> Callable:
    def run(*arguments, **options):
        result = operator(*arguments, **options)
        is_cast = framework._dygraph_tracer()._amp_level == core.AmpLevel.O2 and result.dtype == paddle.float32
        return result.astype("float16") if is_cast else result

    return run
