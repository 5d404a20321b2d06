"""What a backward pass cannot do becomes an error, on every backend.

In a second ``backward()`` through a ``PyLayer``, Paddle crashes: it lets go of a layer's context
after the first one, with ``retain_graph=True``, too. Hooks on the layer's result are called before the layer.
"""

from __future__ import annotations

import weakref
from functools import partial

import paddle
from paddle import Tensor

from paddle_focal.ops.loss import LossParams


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
    found = (logit.inplace_version, params.label.inplace_version)
    for tensor in (params.weight, params.score):
        if tensor is not None:
            found = (*found, tensor.inplace_version)
    return found


def check(logit: Tensor, params: LossParams, before: tuple[int, ...]) -> None:
    """Raises RuntimeError for a second derivative, and for tensors that have changed since the forward pass."""
    if paddle.is_grad_enabled():
        raise RuntimeError(f"{params.spec.loss.name} cannot be differentiated twice: call it without create_graph")
    if versions(logit, params) != before:
        raise RuntimeError(
            "logit, label, score or weight was changed in place between the forward and the backward pass"
        )
