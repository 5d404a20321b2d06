"""Losses whose value and gradient are closed forms of the logits, computed block by block from Paddle operators.

The backward pass computes the gradient anew from the logits, so nothing logit-sized is kept between the two. On the CPU
a block and its temporaries stay in the cache, where an elementwise operator costs a tenth of what it costs in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Callable, Protocol

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from paddle_focal.ops import devices

#: Elements in a block on the CPU: 1 MiB of float32, which a core's second-level cache holds.
BLOCK = 1 << 18


class Problem(Protocol):
    """One loss without its logits. A plain object, so that ``PyLayer.apply`` takes its tensors as constants.

    Attributes:
        name: the function's name, for messages.
        constants: the tensors that the backward pass reads beside the logits.
    """

    name: str
    constants: list[Tensor]

    def loss(self, logit: Tensor) -> Tensor: ...

    def gradient(self, logit: Tensor, upstream: Tensor) -> Tensor: ...


def require_dynamic_mode() -> None:
    """Raises a RuntimeError outside of dynamic mode."""
    if not paddle.in_dynamic_mode():
        raise RuntimeError(
            "the composite backend cannot be traced into a static graph: "
            "build the native operator with `python -m paddle_focal.build`, or run in dynamic mode"
        )


def apply(logit: Tensor, problem: Problem) -> Tensor:
    """The loss of logits ``[outer, C, inner]``, differentiable once."""
    return _ClosedForm.apply(logit, problem)


class _ClosedForm(PyLayer):
    @staticmethod
    def forward(ctx, logit, problem):
        ctx.save_for_backward(logit)
        ctx.problem = problem
        ctx.versions = _versions(logit, problem)
        with paddle.amp.auto_cast(enable=False):
            return problem.loss(logit)

    @staticmethod
    def backward(ctx, upstream):
        (logit,) = ctx.saved_tensor()
        if paddle.is_grad_enabled():
            raise RuntimeError(f"{ctx.problem.name} cannot be differentiated twice: call it without create_graph")
        if _versions(logit, ctx.problem) != ctx.versions:
            raise RuntimeError("logit, label or weight was changed in place between the forward and the backward pass")
        with paddle.amp.auto_cast(enable=False):
            return ctx.problem.gradient(logit, upstream)


def _versions(logit: Tensor, problem: Problem) -> list[int]:
    """How often each tensor that the backward pass reads has been changed in place."""
    return [tensor.inplace_version for tensor in (logit, *problem.constants)]


def view_of(logit: Tensor, axis: int) -> list[int]:
    """The shape [outer, C, inner] with the axes before the class axis as one, and those behind it."""
    shape = logit.shape
    return [math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])]


def compute_dtype(logit: Tensor):
    return paddle.float64 if logit.dtype == paddle.float64 else paddle.float32


def on_cpu(logit: Tensor) -> bool:
    return devices.kind(logit) == "cpu"


def rows(logit: Tensor) -> Iterator[slice]:
    """Slices of the first axis: cache-sized on the CPU, everything at once elsewhere."""
    if not on_cpu(logit):
        yield slice(None)
        return
    outer, classes, inner = logit.shape
    step = max(1, BLOCK // max(1, classes * inner))
    for start in range(0, outer if classes * inner else 0, step):
        yield slice(start, min(start + step, outer))


def gather(logit: Tensor, block_of: Callable[[slice], Tensor], shape: list[int] | None = None) -> Tensor:
    """The blocks of a result in one tensor of the dtype of the logits, and of their shape unless another is given."""
    if not on_cpu(logit):
        return rounded(block_of(slice(None)), logit.dtype)
    result = paddle.empty(logit.shape if shape is None else shape, logit.dtype)
    for part in rows(logit):
        result[part].copy_(rounded(block_of(part), logit.dtype), False)
    return result


def rounded(value: Tensor, dtype: paddle.dtype) -> Tensor:
    """The value in a dtype; differentiable."""
    if dtype == paddle.float16:
        # Paddle's cast on the CPU turns numbers from 1e-27 to 6e-24 into some up to 1e-4: what rounds to 0 is made 0.
        value = value - paddle.where(value.abs() < 2.0**-25, value, paddle.zeros_like(value)).detach()
    return value.astype(dtype)


def add_up(logit: Tensor, block_of: Callable[[slice], Tensor]) -> Tensor:
    """The sum of the blocks of a result, as a scalar of the computing dtype."""
    sums = [block_of(part).sum() for part in rows(logit)]
    total = paddle.stack(sums).astype("float64").sum() if sums else paddle.zeros([], "float64")
    return total.astype(compute_dtype(logit))


def all_included(label: Tensor, highest: int) -> bool:
    """Whether every label is in [0, highest]."""
    return 0 in label.shape or not bool(_excluded(label, highest).any())


def exclude(value: Tensor, label: Tensor, highest: int, ignore_index: int) -> Tensor:
    """Zero where the label is ``ignore_index``; NaN where else it is not in [0, highest], so that it is seen."""
    fill = paddle.where(label == ignore_index, 0.0, float("nan")).astype(value.dtype)
    return paddle.where(_excluded(label, highest).unsqueeze(1), fill.unsqueeze(1), value)


def _excluded(label: Tensor, highest: int) -> Tensor:
    return (label < 0).logical_or(label > highest)
