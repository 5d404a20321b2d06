"""Losses whose value and gradient are closed forms of the logits, computed block by block from Paddle operators.

The backward pass computes the gradient anew from the logits, so nothing logit-sized is kept between the two. On the CPU
a block and its temporaries stay in the cache, where an elementwise operator costs a tenth of what it costs in memory.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable, ClassVar

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from paddle_focal.ops import devices
from paddle_focal.ops.rounding import rounded

#: Elements in a block on the CPU: 1 MiB of float32, which a core's second-level cache holds.
BLOCK = 1 << 18


@dataclass(frozen=True)
class Problem(ABC):
    """One loss without its logits. A plain object, so that ``PyLayer.apply`` takes its tensors as constants.

    Attributes:
        name: the function's name, for messages.
        label: integer ``[outer, inner]`` or floating ``[outer, C, inner]``.
        weight: None, or factors of the losses that broadcast to them.
        gamma: focusing parameter, >= 0.
        label_smoothing: share of the cross-entropy target that is spread evenly.
        ignore_index: integer label without loss and gradient.
        reduction: 'none' or 'sum'.
    """

    name: ClassVar[str]
    label: Tensor
    weight: Tensor | None
    gamma: float
    label_smoothing: float
    ignore_index: int
    reduction: str

    @property
    def constants(self) -> list[Tensor]:
        """The tensors that the backward pass reads beside the logits."""
        return [self.label] if self.weight is None else [self.label, self.weight]

    def loss(self, logit: Tensor) -> Tensor:
        block_of = self.block_function(logit)
        return add_up(logit, block_of) if self.reduction == "sum" else gather(logit, block_of, self.loss_shape(logit))

    def gradient(self, logit: Tensor, upstream: Tensor) -> Tensor:
        return gather(logit, self.block_function(logit, upstream), logit.shape)

    @abstractmethod
    def loss_shape(self, logit: Tensor) -> list[int]:
        """The shape of the losses that are not reduced."""

    @abstractmethod
    def block_function(self, logit: Tensor, upstream: Tensor | None = None) -> Callable[[slice], Tensor]:
        """The function from rows to the loss of these rows, or to the gradient of their logits times ``upstream``."""


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


def compute_dtype(dtype: paddle.dtype) -> paddle.dtype:
    """Of what is computed from logits of a dtype."""
    return paddle.float64 if dtype == paddle.float64 else paddle.float32


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


def gather(logit: Tensor, block_of: Callable[[slice], Tensor], shape: list[int]) -> Tensor:
    """The blocks of a result of the given shape in one tensor of the dtype of the logits."""
    if not on_cpu(logit):
        return rounded(block_of(slice(None)), logit.dtype)
    result = paddle.empty(shape, logit.dtype)
    for part in rows(logit):
        result[part].copy_(rounded(block_of(part), logit.dtype), False)
    return result


def add_up(logit: Tensor, block_of: Callable[[slice], Tensor]) -> Tensor:
    """The sum of the blocks of a result, as a scalar of the computing dtype."""
    sums = [block_of(part).sum() for part in rows(logit)]
    total = paddle.stack(sums).astype("float64").sum() if sums else paddle.zeros([], "float64")
    return total.astype(compute_dtype(logit.dtype))


def weighted(value: Tensor, weight: Tensor) -> Tensor:
    """The value times a weight, of which 0 leaves nothing of an overflow either."""
    weight = weight.astype(value.dtype)
    is_zero = weight.abs() <= 0  # Paddle's == takes 1e-9 for 0
    return paddle.where(is_zero, paddle.zeros_like(value), value * weight)


def all_included(label: Tensor, highest: int) -> bool:
    """Whether every label is in [0, highest]."""
    return 0 in label.shape or not bool(_excluded(label, highest).any())


def exclude(value: Tensor, label: Tensor, highest: int, ignore_index: int) -> Tensor:
    """Zero where the label is ``ignore_index``; NaN where else it is not in [0, highest], so that it is seen."""
    fill = paddle.where(label == ignore_index, 0.0, float("nan")).astype(value.dtype)
    return paddle.where(_excluded(label, highest).unsqueeze(1), fill.unsqueeze(1), value)


def _excluded(label: Tensor, highest: int) -> Tensor:
    return (label < 0).logical_or(label > highest)


def along_classes(scale: float | Tensor, dtype: paddle.dtype) -> float | Tensor:
    """A factor, or one for each class, that multiplies ``[outer, C, inner]``."""
    return scale.astype(dtype).reshape([1, -1, 1]) if isinstance(scale, Tensor) else scale


def of_class(scale: float | Tensor, index: Tensor, dtype: paddle.dtype) -> float | Tensor:
    """A factor, or that of the class at each ``index``."""
    if not isinstance(scale, Tensor):
        return scale
    scale = scale.astype(dtype)
    return scale.gather(index.flatten()).reshape(index.shape) if scale.shape[0] > 1 else scale
