"""Losses whose value and gradient are closed forms of the logits, computed block by block from Paddle operators.

The backward pass computes the gradient anew from the logits, so nothing logit-sized is kept between the two. On the CPU
a block and its temporaries stay in the cache, where an elementwise operator takes a tenth of the time that it takes in
main memory.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from paddle_focal.ops import backward_checks, devices, label_range
from paddle_focal.ops.loss import Loss, LossParams, highest_label, loss_shape, result_dtype
from paddle_focal.ops.rounding import rounded

#: Elements in a block on the CPU: 1 MiB of float32, which a core's second-level cache holds.
BLOCK = 1 << 18


def compute(logit: Tensor, params: LossParams) -> Tensor:
    """The loss of checked arguments; see :func:`paddle_focal.ops.compute`."""
    if not paddle.in_dynamic_mode():
        raise RuntimeError(
            "the composite backend cannot be traced into a static graph: "
            "build the native library, and its operator, with `python -m paddle_focal.build --operator`, or run in "
            "dynamic mode"
        )
    if on_cpu(params.label) or label_range.is_wanted_everywhere():
        label_range.check(params)
    spec = params.spec
    view = _view(logit, spec.axis)
    call = _Call(spec.loss, _params_in_view(logit, params, view))
    result = _ClosedForm.apply(logit.reshape(view), call)
    if not result.stop_gradient:
        backward_checks.refuse_second(result, call.context, spec.loss.name)
    if spec.reduction == "sum":
        return result
    return result.reshape(loss_shape(spec.loss, logit.shape, spec.axis))


def _view(logit: Tensor, axis: int) -> list[int]:
    """The shape [outer, C, inner], with the axes before the class axis merged into one, and likewise those after it."""
    shape = logit.shape
    return [math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])]


def _params_in_view(logit: Tensor, params: LossParams, view: list[int]) -> LossParams:
    outer, _, inner = view
    axis = params.spec.axis
    label = params.label.reshape(view if params.label.is_floating_point() else [outer, inner])
    weight = params.weight
    if weight is not None and params.spec.loss.keeps_class_axis:
        shape = logit.shape
        full = [1 if i == axis and n == 1 else shape[i] for i, n in enumerate(weight.shape)]
        weight = weight if weight.shape == full else weight.expand(full)
        weight = weight.reshape([outer, weight.shape[axis], inner])
    elif weight is not None:
        weight = weight.reshape([outer, 1, inner])
    score = None if params.score is None else params.score.reshape([outer, inner])
    return params._replace(label=label, weight=weight, score=score)


class _Call:
    """A loss and its arguments in view; a plain object, so that ``PyLayer.apply`` treats its tensors as constants."""

    context: weakref.ref  # of the layer, until the backward pass

    def __init__(self, loss: Loss, params: LossParams) -> None:
        self.loss, self.params = loss, params

    def value(self, logit: Tensor) -> Tensor:
        if self.params.spec.reduction == "sum":
            return self._add_up(logit)
        return self._gather(
            logit, [logit.shape[0], logit.shape[1] if self.loss.keeps_class_axis else 1, logit.shape[2]]
        )

    def gradient(self, logit: Tensor, grad_out: Tensor) -> Tensor:
        """The gradient of the logits, given that of the result."""
        return self._gather(logit, logit.shape, grad_out)

    def _gather(self, logit: Tensor, shape: list[int], grad_out: Tensor | None = None) -> Tensor:
        """The blocks of a result, in one tensor of the given shape and of the logits' dtype."""
        if not on_cpu(logit):
            return rounded(self._block(logit, slice(None), grad_out, self._has_excluded(logit)), logit.dtype)
        result, has_excluded = paddle.empty(shape, logit.dtype), self._has_excluded(logit)
        for rows in _rows(logit):
            result[rows].copy_(rounded(self._block(logit, rows, grad_out, has_excluded), logit.dtype), False)
        return result

    def _add_up(self, logit: Tensor) -> Tensor:
        """The sum of the blocks of the loss, as a scalar."""
        has_excluded = self._has_excluded(logit)
        sums = [self._block(logit, rows, None, has_excluded).sum() for rows in _rows(logit)]
        total = paddle.stack(sums).astype("float64").sum() if sums else paddle.zeros([], "float64")
        return total.astype(result_dtype(logit.dtype))

    def _has_excluded(self, logit: Tensor) -> bool:
        """Whether some labels may have neither loss nor gradient; true where finding out would wait for a device."""
        if self.params.label.is_floating_point():
            return False
        return not on_cpu(logit) or bool(self._excluded(self.params.label, logit).any())

    def _excluded(self, label: Tensor, logit: Tensor) -> Tensor:
        return (label < 0).logical_or(label > highest_label(self.loss, logit.shape[1]))

    def _block(self, logit: Tensor, rows: slice, grad_out: Tensor | None, has_excluded: bool) -> Tensor:
        """The losses of some rows, or the gradients of their logits."""
        params, dtype = self.params, self.loss.composite_dtype(logit.dtype)
        label, score = params.label[rows], None if params.score is None else params.score[rows]
        of_rows = params._replace(label=label, score=score)
        value = self.loss.formula(logit[rows].astype(dtype), of_rows, grad_out is not None)
        if params.weight is not None:
            value = _weighted(value, params.weight[rows])
        if grad_out is not None:
            value = value * (grad_out if params.spec.reduction == "sum" else grad_out[rows]).astype(dtype)
        return self._without_excluded(value, label, logit) if has_excluded else value

    def _without_excluded(self, value: Tensor, label: Tensor, logit: Tensor) -> Tensor:
        """The value; 0 where the label is ``ignore_index``, NaN where it is otherwise out of range, to be noticed."""
        zero = paddle.zeros_like(label, value.dtype)
        fill = paddle.where(label == self.params.spec.ignore_index, zero, paddle.full_like(zero, float("nan")))
        return paddle.where(self._excluded(label, logit).unsqueeze(1), fill.unsqueeze(1), value)


class _ClosedForm(PyLayer):
    @staticmethod
    def forward(ctx, logit, call):
        ctx.save_for_backward(logit)
        ctx.call = call
        call.context = weakref.ref(ctx)
        ctx.versions = backward_checks.versions(logit, call.params)
        return call.value(logit)

    @staticmethod
    def backward(ctx, grad_out):
        (logit,) = ctx.saved_tensor()
        backward_checks.check(logit, ctx.call.params, ctx.versions)
        spec = ctx.call.params.spec
        dtype = result_dtype(spec.dtype) if spec.reduction == "sum" else spec.dtype
        with devices.at_home(logit):
            return ctx.call.gradient(logit, backward_checks.upstream(grad_out, logit, dtype, spec.loss.name))


def on_cpu(tensor: Tensor) -> bool:
    return devices.kind(tensor) == "cpu"


def _rows(logit: Tensor) -> Iterator[slice]:
    """Slices of the first axis: cache-sized on the CPU, everything at once elsewhere."""
    if not on_cpu(logit):
        yield slice(None)
        return
    outer, classes, inner = logit.shape
    step = max(1, BLOCK // max(1, classes * inner))
    for start in range(0, outer if classes * inner else 0, step):
        yield slice(start, min(start + step, outer))


def _weighted(value: Tensor, weight: Tensor) -> Tensor:
    """The value times a weight; a weight of 0 gives 0 even where the value has overflowed."""
    weight = weight.astype(value.dtype)
    is_zero = weight.abs() <= 0  # Paddle's == takes 1e-9 as 0
    return paddle.where(is_zero, paddle.zeros_like(value), value * weight)
