"""The native losses in dynamic mode: the library's forward and backward pass as a layer of Paddle's autograd.

Where a gradient will be asked for, the forward pass of a sum on the CPU writes it at once, because loss and gradient
share their exponentials and logarithms, and the backward pass hands it over, multiplied by what comes from above. Half
precision would be rounded twice so; its gradient is computed from the logits in the backward pass, as is that of losses
which are not added up, a second one, or any on a GPU, where the memory is dearer than the arithmetic. Half precision is
computed in float32.
"""

from __future__ import annotations

import weakref

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
        grad = ctx.grad
        if grad is None:
            with devices.at_home(logit):
                return _backward(plan, logit, params, grad_out)
        ctx.grad = None  # whoever asks for it next gets one of his own
        factor = plan.number.from_address(grad_out.data_ptr()).value
        if factor != 1.0:
            library().focal_multiply(grad.data_ptr(), plan.logit_format, plan.count, factor)
        return grad


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
    for name in ("label", "weight", "score"):
        tensor = getattr(params, name)
        if tensor is not None and not tensor.is_contiguous():
            params = params._replace(**{name: tensor.contiguous()})
    return (logit if logit.is_contiguous() else logit.contiguous()), params
