"""What the losses share: the body of their functions, and the layer that holds their hyper-parameters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Callable, ClassVar

import paddle
from paddle import Tensor, nn
from paddle.base import core

from paddle_focal import ops
from paddle_focal.arguments import check_integer, check_positive
from paddle_focal.losses.arguments import (
    NUMBERS,
    check_alpha,
    check_loss_weight,
    check_reduction,
    check_weight,
    scales_of,
    spec_of,
)
from paddle_focal.ops.loss import Loss, LossParams, LossSpec


def compute_loss(
    loss: Loss,
    logit: Tensor,
    label: Tensor,
    *,
    normalizer: float | Tensor | None,
    alpha: float | Sequence[float] | Tensor | None,
    reduction: str,
    weight: Tensor | None,
    ignore_index: int,
    axis: int,
    backend: str | None,
    **numbers: float,
) -> Tensor:
    """Check the arguments of a loss, have a backend compute it, and take the mean where one is asked for."""
    tracer = core.set_eval_frame(None)  # Paddle's bytecode tracer must not look into what it cannot trace
    try:
        spec, is_mean = spec_of(loss, logit, label, axis, ignore_index, reduction, *numbers.values())
        alpha = check_alpha(alpha, loss.highest_alpha)
        scales = scales_of(loss, alpha, normalizer, spec.shape[spec.axis], spec.dtype, logit)
        weight = None if weight is None else check_weight(loss, weight, logit, label, spec.axis)
        result = ops.compute(logit, LossParams(spec, label, scales, weight), backend)
        return _mean(result, spec, label) if is_mean else result
    finally:
        core.set_eval_frame(tracer)


def _mean(total: Tensor, spec: LossSpec, label: Tensor) -> Tensor:
    classes = spec.shape[spec.axis]
    labels = paddle.numel(label) // classes if label.is_floating_point() else (label != spec.ignore_index).sum()
    count = labels.reshape([]) * (classes if spec.loss.keeps_class_axis else 1)  # Paddle's // adds an axis
    return total / count.clip(min=1).astype(total.dtype)


def _check_reduction(reduction: str | None) -> str | None:
    return None if reduction is None else check_reduction(reduction)


def _check_name(name: str | None) -> str | None:
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be None or a string, but got {name!r} ({type(name).__name__})")
    return name


#: The checks of the hyper-parameters that every layer has.
_SHARED = {
    "loss_weight": check_loss_weight,
    "ignore_index": partial(check_integer, "ignore_index"),
    "reduction": _check_reduction,
    "axis": partial(check_integer, "axis"),
    "name": _check_name,
}


class FocalLoss(nn.Layer):
    """What the layers share: hyper-parameters that are checked whenever they are set, and the call.

    A subclass names its loss in ``_loss``, the function that computes it in ``_function``, and in ``_OWN_CHECKS`` the
    checks of hyper-parameters that the loss's description does not have. It hands all of them to ``__init__``.
    """

    _loss: ClassVar[Loss]
    _function: Callable[..., Tensor]
    _OWN_CHECKS: ClassVar[dict[str, Callable]] = {}
    _checks: ClassVar[dict[str, Callable]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        numbers = {name: NUMBERS[name] for name in cls._loss.numbers}
        alpha = partial(check_alpha, highest=cls._loss.highest_alpha)
        cls._checks = {"alpha": alpha, **numbers, **_SHARED, **cls._OWN_CHECKS}

    def __init__(self, **hyper_parameters: Any) -> None:
        super().__init__()
        for name, value in hyper_parameters.items():
            setattr(self, name, value)
        self._names = tuple(hyper_parameters)

    def __setattr__(self, name: str, value: Any) -> None:
        check = self._checks.get(name)
        super().__setattr__(name, check(value) if check else value)

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction: str | None = None,
        axis: int | None = None,
    ) -> Tensor:
        """The loss of one batch.

        Args:
            pred: C classes along the class axis; ``[N, C]`` in PaddleDetection.
            target: class indices or dense targets, see the function.
            weight: factors, see the function.
            avg_factor: a number > 0 or a scalar tensor: the result is the sum divided by it. Only with 'mean'.
            reduction: overrides the attribute.
            axis: overrides the attribute.

        Returns:
            Tensor: a scalar, or the function's shape for 'none'.

        Raises:
            ValueError: ``avg_factor`` with a reduction other than 'mean'; a loss that would be divided twice.
        """
        if reduction is None:
            reduction = self.reduction or ("none" if avg_factor is None else "mean")
        axis = self.axis if axis is None else axis
        if avg_factor is not None:
            self._check_avg_factor(avg_factor, reduction)
        numbers = {name: getattr(self, name) for name in self._loss.numbers}
        return self.loss_weight * self._function(
            pred,
            target,
            normalizer=self._divisor(pred, target, avg_factor, reduction, axis),
            alpha=self.alpha,
            reduction=reduction if avg_factor is None else "sum",
            weight=weight,
            ignore_index=self.ignore_index,
            axis=axis,
            **numbers,
        )

    def _divisor(self, pred: Tensor, target: Tensor, avg_factor: float | Tensor | None, reduction: str, axis: int):
        return avg_factor

    def _check_avg_factor(self, avg_factor: float | Tensor, reduction: str) -> None:
        if reduction != "mean":
            raise ValueError(f"avg_factor takes the place of the mean's count, but reduction is {reduction!r}")
        if not paddle.is_tensor(avg_factor):
            check_positive("avg_factor", avg_factor)
        elif list(avg_factor.shape) not in ([], [1]):
            raise ValueError(
                f"avg_factor must be a number or a scalar Tensor, but its shape is {list(avg_factor.shape)}"
            )

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names)
