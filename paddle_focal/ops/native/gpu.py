"""The passes of the native library on a GPU, over contiguous tensors; nothing here waits for it but the first call."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, _C_ops
from paddle.base import core

from paddle_focal.ops import label_range
from paddle_focal.ops.loss import Loss, LossParams, LossSpec, highest_label
from paddle_focal.ops.native import cpu, driver
from paddle_focal.ops.native.interface import OK, UnavailableError, kernel_names
from paddle_focal.ops.native.library import library
from paddle_focal.ops.native.params import Plan, packed, packed_array, plan_of

REMEDY = "build them with `python -m paddle_focal.build` where there is nvcc"


def forward(plan: Plan, logit: Tensor, params: LossParams) -> Tensor:
    """The loss; NaN where a label is out of range."""
    result = _C_ops.empty(plan.shape, plan.dtype, logit.place)
    _forward([(plan, logit, params)], [result.data_ptr()])
    return result


def forward_sum(calls: Sequence[tuple[Plan, Tensor, LossParams]]) -> Tensor:
    """The sum of the losses of several calls that are each reduced."""
    plan, logit, _ = calls[0]
    results = _C_ops.empty([len(calls)], plan.dtype, logit.place)
    size = ctypes.sizeof(plan.number)
    _forward(calls, [results.data_ptr() + i * size for i in range(len(calls))])
    return results.sum()


def _forward(calls: Sequence[tuple[Plan, Tensor, LossParams]], results: Sequence[int]) -> None:
    """Writes the loss of each call to an address; one after the other, so that they share a workspace."""
    structs = [packed(*call) for call in calls]
    size = max(library().focal_gpu_workspace(struct) for struct in structs)
    workspace = _C_ops.empty([size], paddle.uint8, calls[0][1].place) if size else None
    address = None if workspace is None else workspace.data_ptr()
    for (_, logit, params), struct, result in zip(calls, structs, results):
        if label_range.is_wanted_everywhere():
            label_range.check(params)
        _run(library().focal_gpu_forward, logit, params, struct, result, address)


def backward(plan: Plan, logit: Tensor, params: LossParams, grad_out: Tensor) -> Tensor:
    """The gradient of the logits, given that of the result."""
    grad = _C_ops.empty(logit.shape, params.spec.dtype, logit.place)
    factor = packed_array(grad_out, plan.result_format)
    _run(library().focal_gpu_backward, logit, params, packed(plan, logit, params), factor, grad.data_ptr())
    return grad


def _run(function: Callable, logit: Tensor, params: LossParams, *arguments: Any) -> None:
    number = device_number(logit)
    kernels = kernels_on(number)
    if kernels.run(function, kernels.packed, *arguments, current_stream(number)) != OK:
        raise RuntimeError(f"{params.spec.loss.name}: {library().focal_error().decode()}")


def device_number(tensor: Tensor) -> int:
    return tensor.place.gpu_device_id()


def place_of_gpu(number: int) -> paddle.CUDAPlace:
    return paddle.CUDAPlace(number)


def current_stream(number: int) -> int:
    """The handle of the stream that Paddle uses on a device."""
    return core._get_current_stream(number).cuda_stream


@cache
def kernels_on(number: int) -> driver.Kernels:
    """The kernels, loaded on a device.

    Raises:
        UnavailableError: there are none of these sources.
        CudaError: the driver refuses them.
    """
    from paddle_focal import build  # not above: `python -m paddle_focal.build` imports the package first

    path = build.PACKAGE / build.KERNELS
    if not path.exists():
        raise UnavailableError(f"the kernels for GPUs have not been built: {REMEDY}")
    image, fingerprint = build.split_kernels(path.read_bytes())
    if fingerprint != build.kernels_fingerprint():
        raise UnavailableError(f"the kernels for GPUs were built from other sources: {REMEDY}")
    return driver.Kernels(_driver(), image, kernel_names(library()), number)


@cache
def _driver() -> driver.Driver:
    return driver.Driver(driver.LIBRARY)


@cache
def reason_against(number: int, loss: Loss) -> str | None:
    """Why a device cannot serve a loss; None if it computes the same numbers as the CPU."""
    return why_not(number, lambda place: _is_right(place, loss))


def why_not(number: int, is_right: Callable[[paddle.CUDAPlace], bool]) -> str | None:
    """Why a device cannot serve; None if there are kernels for it, and they are right."""
    if not paddle.is_compiled_with_cuda():
        return "this Paddle is built without CUDA"
    count = paddle.device.cuda.device_count()
    if number >= count:
        return f"there is no GPU {number}: Paddle sees {count}"
    try:
        kernels_on(number)
        serves = is_right(place_of_gpu(number))
    except (OSError, RuntimeError) as error:
        return str(error)
    return None if serves else f"the kernels for GPUs compute wrong numbers on GPU {number}"


def _is_right(place: paddle.CUDAPlace, loss: Loss) -> bool:
    """Whether a loss and a gradient are those of the CPU."""
    label = (
        [4, highest_label(loss, 5), -1] if loss.takes_index else np.linspace(0, 1, 15, dtype="float32").reshape(3, 5)
    )
    spec = LossSpec(
        loss=loss,
        shape=(3, 5),
        dtype=paddle.float32,
        label_dtype=paddle.int64 if loss.takes_index else paddle.float32,
        axis=1,
        numbers={**dict.fromkeys(loss.numbers, 0.0), loss.numbers[0]: 2.0},
        ignore_index=-1,
        reduction="sum",
    )
    plan, scales = plan_of(spec), dict.fromkeys(loss.scales, 0.5)
    results = []
    for compute, where in ((cpu, paddle.CPUPlace()), (sys.modules[__name__], place)):
        logit = paddle.to_tensor(np.linspace(-9, 9, 15, dtype="float32").reshape(3, 5), place=where)
        score = paddle.to_tensor([0.25, 0.5, 0.75], place=where) if loss.takes_score else None
        params = LossParams(spec, paddle.to_tensor(label, place=where), scales, None, score)
        grad_out = paddle.to_tensor(3.0, place=where)
        passed = compute.forward(plan, logit, params), compute.backward(plan, logit, params, grad_out)
        results.append(np.concatenate([result.numpy().ravel() for result in passed]))
    return np.allclose(*results, rtol=2e-5, atol=0)
