"""The native losses in dynamic mode: the library's forward and backward pass as a layer of Paddle's autograd.

Where a gradient will be asked for, the forward pass of a sum writes it at once, because loss and gradient share their
exponentials and logarithms, and the backward pass hands it over, multiplied by what comes from above. Half precision
would be rounded twice so; its gradient is computed from the logits in the backward pass, as is that of losses which are
not added up, or a second one. Half precision is computed in float32.
"""

from __future__ import annotations

import weakref

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from paddle_focal.ops import label_range, second_backward
from paddle_focal.ops.loss import LossParams
from paddle_focal.ops.native import memory
from paddle_focal.ops.native.library import FAILED, OK, library
from paddle_focal.ops.native.params import Plan, packed, packed_array, plan_of


def compute(logit: Tensor, params: LossParams) -> Tensor:
    """The loss of checked arguments; see :func:`paddle_focal.ops.compute`."""
    plan = plan_of(params.spec)
    if logit.stop_gradient or not paddle.is_grad_enabled():
        return _forward(plan, logit, params, None)
    call = _Call(plan, params)
    result = _NativeLoss.apply(logit, call)
    return second_backward.refuse(result, call.context, params.spec.loss.name)


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
        ctx.saved = plan, logit, params, _versions(logit, params)
        ctx.grad = grad = memory.empty(params.spec.shape, params.spec.dtype) if plan.writes_gradient else None
        return _forward(plan, logit, params, grad)

    @staticmethod
    def backward(ctx, grad_out):
        plan, logit, params, versions = ctx.saved
        if paddle.is_grad_enabled():
            raise RuntimeError(f"{params.spec.loss.name} cannot be differentiated twice: call it without create_graph")
        if _versions(logit, params) != versions:
            raise RuntimeError("logit, label or weight was changed in place between the forward and the backward pass")
        grad = ctx.grad
        if grad is None:
            return _backward(plan, logit, params, grad_out)
        ctx.grad = None  # whoever asks for it next gets one of his own
        factor = plan.number.from_address(grad_out.data_ptr()).value
        if factor != 1.0:
            library().focal_multiply(grad.data_ptr(), plan.logit_format, plan.count, factor)
        return grad


def _versions(logit: Tensor, params: LossParams) -> tuple[int, ...]:
    """How often each tensor that the backward pass reads has been changed in place."""
    versions = (logit.inplace_version, params.label.inplace_version)
    return versions if params.weight is None else (*versions, params.weight.inplace_version)


def _forward(plan: Plan, logit: Tensor, params: LossParams, grad: Tensor | None) -> Tensor:
    """The loss; the gradient of a reduced one is written to ``grad``."""
    result = memory.empty(plan.shape, plan.dtype)
    logit, params = _contiguous(logit, params)
    struct = packed(plan, logit, params)
    status = library().focal_forward(struct, result.data_ptr(), None if grad is None else grad.data_ptr())
    if status != OK:
        _fail(status, params)
    return result


def _backward(plan: Plan, logit: Tensor, params: LossParams, grad_out: Tensor) -> Tensor:
    grad = memory.empty(params.spec.shape, params.spec.dtype)
    logit, params = _contiguous(logit, params)
    factor = packed_array(grad_out.contiguous(), plan.result_format)
    status = library().focal_backward(packed(plan, logit, params), factor, grad.data_ptr())
    if status != OK:
        _fail(status, params)
    return grad


def _contiguous(logit: Tensor, params: LossParams) -> tuple[Tensor, LossParams]:
    label, weight = params.label, params.weight
    if not (label.is_contiguous() and (weight is None or weight.is_contiguous())):
        params = params._replace(label=label.contiguous(), weight=None if weight is None else weight.contiguous())
    return (logit if logit.is_contiguous() else logit.contiguous()), params


def _fail(status: int, params: LossParams) -> None:
    if status != FAILED:
        label_range.check(params)
    raise RuntimeError(f"{params.spec.loss.name}: {library().focal_error().decode()}")
