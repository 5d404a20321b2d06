"""What the losses share: the body of their functions, and the layer that holds their hyper-parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Callable, ClassVar

import paddle
from paddle import Tensor, nn
from paddle.base import core

from paddle_focal import ops
from paddle_focal.arguments import check_integer, check_positive, described
from paddle_focal.losses.arguments import (
    FLOATING,
    INDEX,
    NUMBERS,
    Reduction,
    check_alpha,
    check_is_tensor,
    check_logit,
    check_loss_weight,
    check_reduction,
    dtype_name,
    scales_of,
    spec_of,
    spec_of_shapes,
)
from paddle_focal.losses.weights import check_weight
from paddle_focal.ops import devices, probability
from paddle_focal.ops.loss import Loss, LossParams, LossSpec, result_dtype
from paddle_focal.ops.rounding import rounded


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
    score: Tensor | None = None,
    **numbers: float,
) -> Tensor:
    """Check the arguments of a loss, have a backend compute it, and take the mean where one is asked for."""
    tracer = core.set_eval_frame(None)  # Paddle's bytecode tracer must not look into what it cannot trace
    try:
        spec = spec_of(loss, logit, label, score, axis, ignore_index, reduction, *numbers.values())
        with devices.at_home(logit):
            scales = scales_of(spec, logit, check_alpha(alpha, loss.highest_alpha), normalizer)
            weight = None if weight is None else check_weight(spec, weight)
            score = None if score is None else score.detach()
            result = ops.compute(logit, LossParams(spec, label, scales, weight, score), backend)
            return _mean(result, spec, label) if reduction == "mean" else result
    finally:
        if tracer is not None:
            core.set_eval_frame(tracer)


def compute_on_probabilities(
    loss: Loss, prob: Tensor, label: Tensor, *, axis: int, reduction: str, **arguments: Any
) -> Tensor:
    """The loss of the logits of probabilities, in float64 whatever their dtype, rounded to what the loss returns."""
    check_logit(prob, axis, "prob")
    with devices.at_home(prob):
        logit = probability.logit_of(prob, loss.name)
        result = compute_loss(loss, logit, label, axis=axis, reduction=reduction, **arguments)
        return rounded(result, prob.dtype if reduction == "none" else result_dtype(prob.dtype))


def compute_sum(
    loss: Loss,
    logits: Sequence[Tensor],
    labels: Sequence[Tensor],
    classes: int,
    *,
    alpha: float | Sequence[float] | None,
    ignore_index: int,
    **numbers: float,
) -> Tensor:
    """The sum of the losses of several tensors, by one layer of autograd; see :meth:`FocalLoss.sum_of`."""
    params = []
    with devices.at_home(logits[0]):
        alpha = check_alpha(alpha, loss.highest_alpha)
        for logit, label in zip(logits, labels):
            *outer, inner = label.shape
            outer = math.prod(outer)
            if math.prod(logit.shape) != outer * classes * inner or logit.dtype != logits[0].dtype:
                raise ValueError(
                    f"preds must have {classes} logits for each of their targets, {list(label.shape)}, and one dtype, "
                    f"but have the shape {list(logit.shape)} and the dtype {dtype_name(logit.dtype)}"
                )
            spec = spec_of_shapes(
                loss,
                (outer, classes, inner),
                logit.dtype,
                (outer, inner),
                label.dtype,
                None,
                None,
                1,
                ignore_index,
                "sum",
                *numbers.values(),
            )
            scales = scales_of(spec, logit, alpha, None)
            params.append(LossParams(spec, devices.contiguous(label), scales, None))
        return ops.compute_sum(logits, params)


def _mean(total: Tensor, spec: LossSpec, label: Tensor) -> Tensor:
    classes = spec.shape[spec.axis]
    is_index = spec.label_dtype in INDEX
    labels = (label != spec.ignore_index).sum() if is_index else paddle.numel(label) // classes
    count = labels.reshape([]) * (classes if spec.loss.keeps_class_axis else 1)  # Paddle's // adds an axis
    return total / count.clip(min=1).astype(total.dtype)


def _check_reduction(reduction: str | None) -> str | None:
    return None if reduction is None else check_reduction(reduction)


def _check_name(name: str | None) -> str | None:
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be None or a string, but got {name!r} ({type(name).__name__})")
    return name


def _check_activated(activated: bool) -> bool:
    if not isinstance(activated, bool):
        raise TypeError(f"activated must be True or False, but got {described(activated)}")
    return activated


def _check_use_sigmoid(use_sigmoid: bool) -> bool:
    if use_sigmoid is not True:
        raise ValueError(f"use_sigmoid must be True: this is the loss of sigmoid classifiers, but got {use_sigmoid!r}")
    return use_sigmoid


#: The checks of the hyper-parameters that are no arguments of the functions.
_OF_LAYERS: dict[str, Callable[[Any], Any]] = {
    "use_sigmoid": _check_use_sigmoid,
    "loss_weight": check_loss_weight,
    "reduction": _check_reduction,
    "activated": _check_activated,
    "name": _check_name,
}
_SHARED: dict[str, Callable[[Any], Any]] = {
    "ignore_index": partial(check_integer, "ignore_index"),
    "axis": partial(check_integer, "axis"),
    **_OF_LAYERS,
}


class FocalLoss(nn.Layer):
    """What the layers share: hyper-parameters that are checked whenever they are set, and the call.

    A subclass names its loss in ``_loss``, the functions that compute it from logits and from probabilities in
    ``_of_logits`` and ``_of_probabilities``, and in ``_OWN_CHECKS`` the checks of hyper-parameters of its own. It hands
    all hyper-parameters to ``__init__``.
    """

    _loss: ClassVar[Loss]
    _of_logits: Callable[..., Tensor]
    _of_probabilities: Any = None
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
        self._arguments = tuple(name for name in self._names if name not in _OF_LAYERS and name not in self._OWN_CHECKS)

    @classmethod
    def checks(cls) -> dict[str, Callable[[Any], Any]]:
        """The checks of the hyper-parameters, by their names."""
        return cls._checks

    def __setattr__(self, name: str, value: Any) -> None:
        check = self._checks.get(name)
        super().__setattr__(name, check(value) if check else value)

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction: Reduction | None = None,
        axis: int | None = None,
        activated: bool | None = None,
    ) -> Tensor:
        """The loss of one batch.

        Args:
            pred: C classes along the class axis; ``[N, C]`` in PaddleDetection.
            target: class indices or dense targets, see the function; for losses that take a score, class indices and
                scores as a pair, too.
            weight: factors, see the function.
            avg_factor: a number > 0 or a scalar tensor: the result is the sum divided by it. Only with 'mean'.
            reduction: overrides the attribute.
            axis: overrides the attribute.
            activated: overrides the attribute, where a loss has it.

        Returns:
            Tensor: a scalar, or the function's shape for 'none'.

        Raises:
            ValueError: ``avg_factor`` with a reduction other than 'mean'; a loss that would be divided twice.
        """
        chosen: str | None = reduction if reduction is not None else self.reduction
        if chosen is None:
            chosen = "none" if avg_factor is None else "mean"
        if avg_factor is not None:
            self._check_avg_factor(avg_factor, chosen)
        arguments = {name: getattr(self, name) for name in self._arguments}
        if axis is not None:
            arguments["axis"] = axis
        if self._loss.takes_score and isinstance(target, (tuple, list)):
            target, arguments["score"] = target
        is_activated = self.is_activated if activated is None else _check_activated(activated)
        function = self._of_probabilities if is_activated else self._of_logits
        check_is_tensor("prob" if is_activated else "logit", pred, FLOATING)
        with devices.at_home(pred):
            loss = function(
                pred,
                target,
                normalizer=self._divisor(pred, target, avg_factor, chosen, arguments.get("axis")),
                reduction=chosen if avg_factor is None else "sum",
                weight=weight,
                **arguments,
            )
            return loss if self.loss_weight == 1 else self.loss_weight * loss

    def sum_of(self, preds: Sequence[Tensor], targets: Sequence[Tensor], classes: int) -> Tensor:
        """The sum of the losses of several maps, as the levels of a pyramid are, in dynamic mode.

        .. code-block:: python

            loss = sum(
                self(pred.reshape([-1, classes, target.shape[-1]]), target.flatten(0, -2), reduction="sum", axis=1)
                for pred, target in zip(preds, targets)
            )

        Args:
            preds: logits of any shape; in memory, C classes are followed by all locations of one map.
            targets: class indices ``[..., locations]``, one for each C logits.
            classes: C.

        Raises:
            ValueError: the layer takes probabilities, or has a normalizer; sizes or dtypes do not fit together.
        """
        if self.is_activated or getattr(self, "normalizer", None) is not None:
            raise ValueError("sum_of adds up losses of logits: activated must be False, and normalizer None")
        arguments = {name: getattr(self, name) for name in self._arguments if name != "axis"}
        with devices.at_home(preds[0]):
            loss = compute_sum(self._loss, preds, targets, classes, **arguments)
            return loss if self.loss_weight == 1 else self.loss_weight * loss

    @property
    def is_activated(self) -> bool:
        """Whether predictions are probabilities."""
        return getattr(self, "activated", False)

    def _divisor(
        self, pred: Tensor, target: Tensor, avg_factor: float | Tensor | None, reduction: str, axis: int | None
    ) -> float | Tensor | None:
        normalizer = getattr(self, "normalizer", None)
        if normalizer is None:
            return avg_factor
        if avg_factor is not None or reduction == "mean":
            other = "reduction='mean'" if avg_factor is None else "avg_factor"
            raise ValueError(
                f"normalizer={normalizer!r} and {other} would divide the loss twice: "
                "set normalizer to None, or call with reduction='sum' and without avg_factor"
            )
        return self._normalizer_of(pred, target, axis)

    def _normalizer_of(self, pred: Tensor, target: Tensor, axis: Any) -> float | Tensor:
        """What the attribute ``normalizer`` stands for, where a layer has one."""
        raise NotImplementedError

    def _check_avg_factor(self, avg_factor: Any, reduction: str) -> None:
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
