"""Converts probabilities to float64 logits, which keep the accuracy of every probability from 0 to 1."""

from __future__ import annotations

import weakref

import paddle
from paddle import Tensor
from paddle.autograd import PyLayer

from paddle_focal.ops import backward_checks, devices, label_range
from paddle_focal.ops.rounding import rounded

# Used in place of 0, which has no logarithm. Gradients are divided by it, so it is far above 6e-309, which Paddle's exp
# on the CPU returns instead of 0.
_SMALLEST = 1e-300


def logit_of(prob: Tensor, loss: str) -> Tensor:
    """The float64 logits log(p / (1 - p)), finite for 0 and 1, too; its gradient is finite in the dtype of ``prob``.

    Args:
        prob: floating.
        loss: that the logit is for, for messages.

    Raises:
        ValueError: a probability is outside [0, 1]. On devices other than the CPU, its logit is NaN instead.
    """
    if devices.kind(prob) == "cpu" or label_range.is_wanted_everywhere():
        label_range.check_unit_interval("prob", prob)
    contexts: list[weakref.ref] = []
    logit = _Logit.apply(prob, contexts)
    return logit if logit.stop_gradient else backward_checks.refuse_second(logit, contexts[0], loss)


class _Logit(PyLayer):
    @staticmethod
    def forward(ctx, prob, contexts):
        ctx.save_for_backward(prob)
        contexts.append(weakref.ref(ctx))
        p, q = _both(prob)
        valid = (prob >= 0).logical_and(prob <= 1)
        return paddle.where(valid, paddle.log(p) - paddle.log(q), paddle.full_like(p, float("nan")))

    @staticmethod
    def backward(ctx, grad_out):
        (prob,) = ctx.saved_tensor()
        largest = paddle.finfo(prob.dtype).max
        with devices.at_home(prob):
            p, q = _both(prob)
            return rounded((grad_out / p / q).clip(-largest, largest), prob.dtype)


def _both(prob: Tensor) -> tuple[Tensor, Tensor]:
    p = prob.astype("float64")
    return p.clip(min=_SMALLEST), (1.0 - p).clip(min=_SMALLEST)
