"""Which device a tensor is on."""

from __future__ import annotations

from functools import cache

import paddle
from paddle import Tensor

from paddle_focal.ops.loss import LossParams


def kind(tensor: Tensor) -> str:
    """'cpu', 'gpu', or the name of another kind of device; in a static graph, that of the device it will run on."""
    if _is_cpu_only():  # without a look at the tensor's place, which cannot be traced
        return "cpu"
    if not paddle.in_dynamic_mode():
        return paddle.get_device().split(":")[0]
    if tensor.place.is_cpu_place():
        return "cpu"
    return "gpu" if tensor.place.is_gpu_place() else str(tensor.place)


def name(tensor: Tensor) -> str:
    """The same, with its number if it is a GPU of a tensor: 'gpu:1'."""
    found = kind(tensor)
    return f"gpu:{tensor.place.gpu_device_id()}" if found == "gpu" and paddle.in_dynamic_mode() else found


def current_gpu() -> int:
    """The number of the GPU that new tensors are on; 0 if they are on another device."""
    kind, _, number = paddle.get_device().partition(":")
    return int(number) if kind == "gpu" else 0


def place_of(tensor: Tensor) -> paddle.base.core.Place | None:
    """Where to make a tensor beside this one; None is Paddle's choice."""
    return None if _is_cpu_only() or not paddle.in_dynamic_mode() else tensor.place


def check_same(logit: Tensor, params: LossParams) -> None:
    """Raises a ValueError that names the first tensor on another device than ``logit``."""
    if _is_cpu_only():
        return
    expected = name(logit)
    scales = [("normalizer", scale) for scale in params.scales.values()]
    for argument, tensor in [("label", params.label), ("score", params.score), ("weight", params.weight), *scales]:
        if isinstance(tensor, Tensor) and name(tensor) != expected:
            raise ValueError(f"{argument} must be on the device of logit, {expected}, but is on {name(tensor)}")


@cache
def _is_cpu_only() -> bool:
    named = {*paddle.device.get_all_device_type(), *(paddle.device.get_all_custom_device_type() or [])}  # often none
    return named <= {"cpu"} and not paddle.is_compiled_with_cuda() and not paddle.is_compiled_with_xpu()
