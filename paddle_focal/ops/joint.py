"""The logit of a product of two probabilities, and its gradients, by the native library or by Paddle's operators."""

from __future__ import annotations

import math
import weakref

import paddle
import paddle.nn.functional as F
from paddle import Tensor
from paddle.autograd import PyLayer

from paddle_focal.ops import backward_checks, devices, ladder, native
from paddle_focal.ops.native import memory
from paddle_focal.ops.native.interface import OK
from paddle_focal.ops.native.library import library
from paddle_focal.ops.native.params import FORMATS
from paddle_focal.ops.rounding import rounded


def joint_logit(a: Tensor, b: Tensor, power: float, backend: str | None) -> Tensor:
    """The logits of (sigmoid(a) sigmoid(b))^power of checked tensors of one shape and dtype."""
    if backend is not None and devices.kind(a) != "cpu" and ladder.select(backend, a) is native:
        raise RuntimeError("backend 'native' cannot serve: the native library has joint_logit for the CPU only")
    is_native = devices.kind(a) == "cpu" and ladder.select(backend, a) is native
    contexts: list[weakref.ref] = []
    result = _Joint.apply(a, b, power, _native if is_native else _composite, contexts)
    return result if result.stop_gradient else backward_checks.refuse_second(result, contexts[0], "joint_logit")


class _Joint(PyLayer):
    @staticmethod
    def forward(ctx, a, b, power, passes, contexts):
        contexts.append(weakref.ref(ctx))
        ctx.save_for_backward(a, b)
        ctx.power, ctx.passes, ctx.wanted = power, passes, [not x.stop_gradient for x in (a, b)]
        return passes(a, b, power, None)[0]

    @staticmethod
    def backward(ctx, grad_out):
        a, b = ctx.saved_tensor()
        with devices.at_home(a):
            grads = ctx.passes(a, b, ctx.power, backward_checks.upstream(grad_out, a, a.dtype, "joint_logit"))
        return tuple(grad if is_wanted else None for grad, is_wanted in zip(grads, ctx.wanted))


def _native(a: Tensor, b: Tensor, power: float, grad_out: Tensor | None) -> tuple[Tensor, ...]:
    """The joint logits; or, given their gradient, those of both logits."""
    a, b = devices.contiguous(a), devices.contiguous(b)
    given = a.data_ptr(), b.data_ptr(), FORMATS[a.dtype], math.prod(a.shape), power
    if grad_out is None:
        joint = memory.empty(a.shape, a.dtype)
        _check(library().focal_joint_forward(*given, joint.data_ptr()))
        return (joint,)
    grad_a, grad_b = memory.empty(a.shape, a.dtype), memory.empty(a.shape, a.dtype)
    _check(library().focal_joint_backward(*given, grad_out.data_ptr(), grad_a.data_ptr(), grad_b.data_ptr()))
    return grad_a, grad_b


def _check(status: int) -> None:
    if status != OK:
        raise RuntimeError(f"joint_logit: {library().focal_error().decode()}")


def _composite(a: Tensor, b: Tensor, power: float, grad_out: Tensor | None) -> tuple[Tensor, ...]:
    """The same in float64; see ``csrc/formulas/joint_logit.h`` for the terms."""
    dtype, a, b = a.dtype, a.astype("float64"), b.astype("float64")
    m = F.relu(paddle.minimum(a, b))
    factors = [_factor(x, m) for x in (a, b)]
    total = factors[0][0] + factors[1][0]
    minus_log_p = power * paddle.exp(-m) * total
    small = minus_log_p < 1e-8
    rest = -paddle.expm1(-minus_log_p)
    ratio = paddle.where(small, paddle.ones_like(rest), rest / minus_log_p)
    if grad_out is None:  # the constant is a factor, for Paddle 2.6 rounds those that are added to float32
        return (rounded(m - minus_log_p - paddle.log(power * total * ratio), dtype),)
    shared = grad_out.astype("float64") / (total * ratio)
    return tuple(rounded(shared * sigmoid, dtype) for _, sigmoid in factors)


def _factor(x: Tensor, m: Tensor) -> tuple[Tensor, Tensor]:
    """e^m softplus(-x) and e^m sigmoid(-x)."""
    small, is_positive = paddle.exp(-x.abs()), x > 0
    tail = paddle.log1p(small)
    power = paddle.exp(paddle.where(is_positive, m - x, paddle.zeros_like(x)))
    ratio = paddle.where(small < 1e-16, paddle.ones_like(tail), tail / small)
    return paddle.where(is_positive, power * ratio, tail - x), power / (1.0 + small)
