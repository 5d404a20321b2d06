"""A second ``backward()`` through a ``PyLayer``, in which Paddle crashes, becomes an error.

Paddle lets go of a layer's context after the first one, with ``retain_graph=True``, too. Hooks on the layer's result
are called before the layer.
"""

from __future__ import annotations

import weakref
from functools import partial

from paddle import Tensor


def refuse(result: Tensor, context: weakref.ref, name: str) -> Tensor:
    """The result of a layer, whose context is gone where its gradient is asked for again."""
    result._register_grad_hook(partial(_check, context, name))
    return result


def _check(context: weakref.ref, name: str, grad: Tensor) -> None:
    if context() is None:
        raise RuntimeError(
            f"backward() was called a second time through {name}: add the losses up and call it once, or use "
            "paddle.grad, which can be called again"
        )
