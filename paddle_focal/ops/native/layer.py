"""The native losses in dynamic mode: the library's forward and backward pass as a layer of Paddle's autograd.

Where a gradient will be asked for, the forward pass of a sum on the CPU writes it at once, because loss and gradient
share their exponentials and logarithms, and the backward pass hands it over, multiplied by what comes from above. Half
precision would be rounded twice so; its gradient is computed from the logits in the backward pass, as is that of losses
which are not added up, a second one, or any on a GPU, where the memory is dearer than the arithmetic. Half precision is
computed in float32.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from paddle_focal.ops import backward_checks, devices
from paddle_focal.ops.loss import LossParams
from paddle_focal.ops.native import cpu, gpu, memory
from paddle_focal.ops.native.library import library
from paddle_focal.ops.native.params import Plan, plan_of


def compute(logit: Tensor, params: LossParams) -> Tensor:
    """The loss of checked arguments; see :func:`paddle_focal.ops.compute`."""
    plan = plan_of(params.spec)
    if logit.stop_gradient or not paddle.is_grad_enabled():
        return _forward(plan, logit, params, None)
    call = _Call(plan, params)
    result = _NativeLoss.apply(logit, call)
    return backward_checks.refuse_second(result, call.context, params.spec.loss.name)


def compute_sum(logits: Sequence[Tensor], params: Sequence[LossParams]) -> Tensor:
    """The sum of the losses; see :func:`paddle_focal.ops.compute_sum`."""
    plans = [plan_of(one.spec) for one in params]
    calls = [_Call(plan, one) for plan, one in zip(plans, params)]
    if not paddle.is_grad_enabled() or all(logit.stop_gradient for logit in logits):
        return _forward_sum(calls, logits, [None] * len(calls))
    result = _NativeSum.apply(calls, *logits)
    return backward_checks.refuse_second(result, calls[0].context, params[0].spec.loss.name)


class _Call:
    """The arguments of a call, and the context that lives until the backward pass.

    A plain object, because ``PyLayer.apply`` takes tensors in tuples for inputs that want a gradient.
    """

    __slots__ = ("context", "params", "plan")

    def __init__(self, plan: Plan, params: LossParams) -> None:
        self.plan, self.params = plan, params


class _NativeLoss(PyLayer):
    @staticmethod
    def forward(ctx, logit, call):
        plan, params = call.plan, call.params
        call.context = weakref.ref(ctx)
        ctx.saved = plan, logit, params, backward_checks.versions(logit, params)
        is_written = plan.writes_gradient and devices.kind(logit) == "cpu"
        ctx.grad = grad = memory.empty(params.spec.shape, params.spec.dtype) if is_written else None
        return _forward(plan, logit, params, grad)

    @staticmethod
    def backward(ctx, grad_out):
        plan, logit, params, versions = ctx.saved
        backward_checks.check(logit, params, versions)
        grad_out = backward_checks.upstream(grad_out, logit, plan.dtype, params.spec.loss.name)
        grad, ctx.grad = ctx.grad, None  # whoever asks for it next gets one of his own
        return _gradient(plan, logit, params, grad, grad_out)


class _NativeSum(PyLayer):
    @staticmethod
    def forward(ctx, calls, *logits):
        calls[0].context = weakref.ref(ctx)
        ctx.saved = calls, logits, [backward_checks.versions(logit, one.params) for one, logit in zip(calls, logits)]
        is_written = calls[0].plan.writes_gradient and devices.kind(logits[0]) == "cpu"
        wanted = [is_written and not logit.stop_gradient for logit in logits]
        ctx.grads = [memory.empty(one.shape, one.dtype) if written else None for one, written in zip(logits, wanted)]
        return _forward_sum(calls, logits, ctx.grads)

    @staticmethod
    def backward(ctx, grad_out):
        calls, logits, versions = ctx.saved
        for call, logit, before in zip(calls, logits, versions):
            backward_checks.check(logit, call.params, before)
        plan, params = calls[0].plan, calls[0].params
        grad_out = backward_checks.upstream(grad_out, logits[0], plan.dtype, params.spec.loss.name)
        grads, ctx.grads = ctx.grads, [None] * len(calls)
        return tuple(
            None if logit.stop_gradient else _gradient(call.plan, logit, call.params, grad, grad_out)
            for call, logit, grad in zip(calls, logits, grads)
        )


def _gradient(plan: Plan, logit: Tensor, params: LossParams, grad: Tensor | None, grad_out: Tensor) -> Tensor:
    """The gradient that the forward pass has written, multiplied by what comes from above; or one computed now."""
    if grad is None:
        with devices.at_home(logit):
            return _backward(plan, logit, params, grad_out)
    factor = plan.number.from_address(grad_out.data_ptr()).value
    if factor != 1.0:
        library().focal_multiply(grad.data_ptr(), plan.logit_format, plan.count, factor)
    return grad


def _forward_sum(calls: Sequence[_Call], logits: Sequence[Tensor], grads: Sequence[Tensor | None]) -> Tensor:
    if devices.kind(logits[0]) == "gpu":
        return gpu.forward_sum([(one.plan, *_contiguous(logit, one.params)) for one, logit in zip(calls, logits)])
    return paddle.add_n([_forward(one.plan, logit, one.params, grad) for one, logit, grad in zip(calls, logits, grads)])


def _forward(plan: Plan, logit: Tensor, params: LossParams, grad: Tensor | None) -> Tensor:
    logit, params = _contiguous(logit, params)
    if devices.kind(logit) == "gpu":
        return gpu.forward(plan, logit, params)
    return cpu.forward(plan, logit, params, grad)


def _backward(plan: Plan, logit: Tensor, params: LossParams, grad_out: Tensor) -> Tensor:
    logit, params = _contiguous(logit, params)
    passes = gpu if devices.kind(logit) == "gpu" else cpu
    return passes.backward(plan, logit, params, grad_out)


def _contiguous(logit: Tensor, params: LossParams) -> tuple[Tensor, LossParams]:
    for name, tensor in (("label", params.label), ("weight", params.weight), ("score", params.score)):
        if tensor is not None and not tensor.is_contiguous():
            params = params._replace(**{name: devices.contiguous(tensor)})
    return devices.contiguous(logit), params
