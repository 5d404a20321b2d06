"""What kind of device a tensor is on."""

from __future__ import annotations

from functools import cache

import paddle
from paddle import Tensor


def kind(tensor: Tensor) -> str:
    """'cpu', 'gpu', or the name of another kind of device; in a static graph, that of the device it will run on."""
    if _is_cpu_only():  # without a look at the tensor's place, which cannot be traced
        return "cpu"
    if not paddle.in_dynamic_mode():
        return paddle.get_device().split(":")[0]
    if tensor.place.is_cpu_place():
        return "cpu"
    return "gpu" if tensor.place.is_gpu_place() else str(tensor.place)


@cache
def _is_cpu_only() -> bool:
    return [*paddle.device.get_all_device_type(), *(paddle.device.get_all_custom_device_type() or [])] == ["cpu"]
