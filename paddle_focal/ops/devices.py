"""Which device a tensor is on and how it lies there, and Paddle's operators on that device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import paddle
from paddle import Tensor
from paddle.base import core, framework

from paddle_focal.ops.loss import LossParams

_NOWHERE_ELSE = nullcontext()


def kind(tensor: Tensor) -> str:
    """'cpu', 'gpu', or the name of another kind of device; in a static graph, that of the device it will run on."""
    if _is_cpu_only():  # without a look at the tensor's place, which cannot be traced
        return "cpu"
    if not paddle.in_dynamic_mode():
        return paddle.get_device().split(":")[0]
    if tensor.place.is_cpu_place():
        return "cpu"
    return "gpu" if tensor.place.is_gpu_place() else str(tensor.place)


def contiguous(tensor: Tensor) -> Tensor:
    """The tensor, or a copy that is contiguous.

    Paddle's own method changes the tensor it is called on: that is no view any more, and forgets how often it has been
    changed in place.
    """
    return tensor if tensor.is_contiguous() else tensor.clone()


def name(tensor: Tensor) -> str:
    """The same, with its number if it is a GPU of a tensor: 'gpu:1'."""
    found = kind(tensor)
    return f"gpu:{tensor.place.gpu_device_id()}" if found == "gpu" and paddle.in_dynamic_mode() else found


def can_read(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor are at hand, on the CPU."""
    return paddle.in_dynamic_mode() and kind(tensor) == "cpu"


def current_gpu() -> int:
    """The number of the GPU that new tensors are on; 0 if they are on another device."""
    kind, _, number = paddle.get_device().partition(":")
    return int(number) if kind == "gpu" else 0


def differ(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are on different devices."""
    return not _is_cpu_only() and name(one) != name(other)


def moved(tensor: Tensor, other: Tensor) -> Tensor:
    """A tensor, copied to the device of the other one if it is on a different one."""
    return tensor._copy_to(other.place, True) if differ(tensor, other) else tensor


def at_home(tensor: Tensor) -> AbstractContextManager:
    """Within it, Paddle's operators run on the device of a tensor, and keep the dtypes that they are given.

    Without it they run on the current device, where new tensors are made, too; and ``paddle.amp.auto_cast`` turns sums
    and numbers of anchors into float16, which ends at 65504.
    """
    if _is_cpu_only() or not paddle.in_dynamic_mode():  # where there is no other device, and auto_cast does nothing
        return _NOWHERE_ELSE
    is_cast = framework._dygraph_tracer()._amp_level != core.AmpLevel.O0
    return _at_home(tensor.place) if is_cast or name(tensor) != paddle.get_device() else _NOWHERE_ELSE


@contextmanager
def _at_home(place: core.Place) -> Iterator[None]:
    if place.is_cpu_place():  # Paddle 2.6 does not know a current device that is any Place
        place = core.CPUPlace()
    elif place.is_gpu_place():
        place = core.CUDAPlace(place.gpu_device_id())
    with framework._dygraph_place_guard(place), paddle.amp.auto_cast(enable=False):
        yield


def check_same(logit: Tensor, params: LossParams) -> None:
    """Raises a ValueError that names the first tensor on another device than ``logit``."""
    if _is_cpu_only():
        return
    for argument, tensor in (
        (params.spec.loss.label, params.label),
        ("score", params.score),
        ("weight", params.weight),
    ):
        if tensor is not None:
            check_beside(argument, tensor, "logit", logit)


def check_beside(argument: str, tensor: Tensor, other_argument: str, other: Tensor) -> None:
    """Raises a ValueError if a tensor is on another device than the other one."""
    if differ(tensor, other):
        raise ValueError(
            f"{argument} must be on the device of {other_argument}, {name(other)}, but is on {name(tensor)}"
        )


@cache
def _is_cpu_only() -> bool:
    named = {*paddle.device.get_all_device_type(), *(paddle.device.get_all_custom_device_type() or [])}  # often none
    return named <= {"cpu"} and not paddle.is_compiled_with_cuda() and not paddle.is_compiled_with_xpu()
