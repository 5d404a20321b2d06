"""What a backward pass is asked: for what it cannot do there is an error, on every backend.

In a second ``backward()`` through a ``PyLayer``, Paddle crashes: it lets go of a layer's context
after the first one, with ``retain_graph=True``, too. Hooks on the layer's result are called before the layer.
"""

from __future__ import annotations

import math
import weakref
from functools import partial

import paddle
from paddle import Tensor

from paddle_focal.ops import devices
from paddle_focal.ops.loss import LossParams
from paddle_focal.ops.rounding import rounded


def refuse_second(result: Tensor, context: weakref.ref, name: str) -> Tensor:
    """The result of a layer, whose context is gone where its gradient is asked for again."""
    result._register_grad_hook(partial(_check_alive, context, name))
    return result


def _check_alive(context: weakref.ref, name: str, grad: Tensor) -> None:
    if context() is None:
        raise RuntimeError(
            f"backward() was called a second time through {name}: add the losses up and call it once, or use "
            "paddle.grad, which can be called again"
        )


def versions(logit: Tensor, params: LossParams) -> tuple[int, ...]:
    """How often each tensor that the backward pass reads has been changed in place."""
    found = (logit._inplace_version(), params.label._inplace_version())
    for tensor in (params.weight, params.score):
        if tensor is not None:
            found = (*found, tensor._inplace_version())
    return found


def check(logit: Tensor, params: LossParams, before: tuple[int, ...]) -> None:
    """Raises RuntimeError for a second derivative, and for tensors that have changed since the forward pass."""
    if paddle.is_grad_enabled():
        raise RuntimeError(f"{params.spec.loss.name} cannot be differentiated twice: call it without create_graph")
    if versions(logit, params) != before:
        raise RuntimeError(
            "logit, label, score or weight was changed in place between the forward and the backward pass"
        )


def upstream(grad_out: Tensor, logit: Tensor, dtype: paddle.dtype, name: str) -> Tensor:
    """The gradient of a result, which ``backward()`` may be given in any dtype, contiguous and in that of the result.

    Raises:
        ValueError: it is on another device than the logits, and more than one number, which may be copied.
    """
    if devices.differ(grad_out, logit):
        if math.prod(grad_out.shape) > 1:
            devices.check_beside(f"the gradient of the result of {name}", grad_out, "logit", logit)
        with devices.at_home(logit):
            return paddle.full(grad_out.shape, grad_out.item(), dtype)
    given = grad_out.dtype
    grad_out = grad_out if given is dtype or given == dtype else rounded(grad_out, dtype)  # == takes a while
    return devices.contiguous(grad_out)
