"""Losses of single logits in Paddle operators: of a formula for targets of 0, and one for all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable

import paddle
from paddle import Tensor

from paddle_focal.ops.loss import LossParams

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Elementwise:
    """The :data:`paddle_focal.ops.loss.Formula` of a loss of single logits.

    Attributes:
        negative: the losses of logits whose target is 0, or their derivatives, of logits, numbers, and whether
            derivatives are wanted.
        positive: the same of any other target, which comes after the logits.
        serves_zero: whether ``positive`` is right for a target of 0, too; the scale of a target is then mixed of those
            of targets 1 and 0.
    """

    negative: Callable[[Tensor, Numbers, bool], Tensor]
    positive: Callable[[Tensor, Tensor, Numbers, bool], Tensor]
    serves_zero: bool = False

    def __call__(self, x: Tensor, params: LossParams, gradient: bool) -> Tensor:
        return (self._dense if params.label.is_floating_point() else self._indexed)(x, params, gradient)

    def _indexed(self, x: Tensor, params: LossParams, gradient: bool) -> Tensor:
        """For class indices: as if all targets were 0, and then once more at the labelled classes."""
        label, numbers, scales = params.label, params.spec.numbers, params.scales
        index = label.clip(0, x.shape[1] - 1).unsqueeze(1)
        value = self.negative(x, numbers, gradient) * along_classes(scales["background_scale"], x.dtype)
        own = paddle.take_along_axis(x, index, 1)
        score = paddle.ones_like(own) if params.score is None else params.score.unsqueeze(1).astype(x.dtype)
        foreground, background = (of_class(scale, index, x.dtype) for scale in scales.values())
        positive = self.positive(own, score, numbers, gradient) * self._mixed(score, foreground, background)
        positive = paddle.where(index == label.unsqueeze(1), positive, paddle.take_along_axis(value, index, 1))
        return paddle.put_along_axis(value, index, positive, 1)

    def _dense(self, x: Tensor, params: LossParams, gradient: bool) -> Tensor:
        target, numbers = params.label.astype(x.dtype), params.spec.numbers
        foreground, background = (along_classes(scale, x.dtype) for scale in params.scales.values())
        positive = self.positive(x, target, numbers, gradient) * self._mixed(target, foreground, background)
        if self.serves_zero:
            return positive
        return paddle.where(params.label > 0, positive, self.negative(x, numbers, gradient) * background)

    def _mixed(self, target: Tensor, foreground: float | Tensor, background: float | Tensor) -> float | Tensor:
        return target * foreground + (1.0 - target) * background if self.serves_zero else foreground


def along_classes(scale: float | Tensor, dtype: paddle.dtype) -> float | Tensor:
    """A factor, or one for each class, that multiplies ``[outer, C, inner]``."""
    return scale.astype(dtype).reshape([1, -1, 1]) if isinstance(scale, Tensor) else scale


def of_class(scale: float | Tensor, index: Tensor, dtype: paddle.dtype) -> float | Tensor:
    """A factor, or that of the class at each ``index``."""
    if not isinstance(scale, Tensor):
        return scale
    scale = scale.astype(dtype)
    return scale.gather(index.flatten()).reshape(index.shape) if scale.shape[0] > 1 else scale
