"""Focal losses as layers: they hold hyper-parameters, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Callable, ClassVar

import paddle
from paddle import Tensor, nn

from paddle_focal.arguments import (
    check_alpha,
    check_gamma,
    check_integer,
    check_label,
    check_label_smoothing,
    check_logit,
    check_loss_weight,
    check_positive,
    check_reduction,
)
from paddle_focal.losses import sigmoid as functional
from paddle_focal.losses.normalizer import ForegroundNormalizer

#: The values of ``normalizer``, and the mode of :class:`ForegroundNormalizer` that each one stands for.
NORMALIZERS = {"foreground": "local", "foreground_sync": "sync", "foreground_ema": "ema"}


def _check_normalizer(normalizer: str | None) -> str | None:
    if normalizer is not None and normalizer not in NORMALIZERS:
        accepted = ", ".join(repr(name) for name in NORMALIZERS)
        raise ValueError(f"normalizer must be None or one of {accepted}, but got {normalizer!r}")
    return normalizer


def _check_reduction(reduction: str | None) -> str | None:
    return None if reduction is None else check_reduction(reduction)


def _check_name(name: str | None) -> str | None:
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be None or a string, but got {name!r} ({type(name).__name__})")
    return name


def _check_flag(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, but got {value!r} ({type(value).__name__})")
    return value


def _check_use_sigmoid(use_sigmoid: bool) -> bool:
    if use_sigmoid is not True:
        raise ValueError(f"use_sigmoid must be True: this is the loss of sigmoid classifiers, but got {use_sigmoid!r}")
    return use_sigmoid


class _FocalLoss(nn.Layer):
    """What the losses share: hyper-parameters that are checked whenever they are set, and the call.

    Subclasses name each of them in ``_CHECKS`` with its check, and in ``_function`` what computes the loss.
    """

    _function: Callable[..., Tensor]

    _CHECKS: ClassVar[dict[str, Callable]] = {
        "gamma": check_gamma,
        "loss_weight": check_loss_weight,
        "ignore_index": partial(check_integer, "ignore_index"),
        "label_smoothing": check_label_smoothing,
        "reduction": _check_reduction,
        "axis": partial(check_integer, "axis"),
        "name": _check_name,
    }

    def __setattr__(self, name: str, value: Any) -> None:
        check = self._CHECKS.get(name)
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
            ValueError: ``avg_factor`` with another reduction than 'mean'; a loss that would be divided twice.
        """
        if reduction is None:
            reduction = self.reduction or ("none" if avg_factor is None else "mean")
        axis = self.axis if axis is None else axis
        if avg_factor is not None:
            self._check_avg_factor(avg_factor, reduction)
        return self.loss_weight * self._function(
            pred,
            target,
            self._divisor(pred, target, avg_factor, reduction, axis),
            self.alpha,
            self.gamma,
            reduction if avg_factor is None else "sum",
            weight=weight,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            axis=axis,
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
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self._CHECKS)


class SigmoidFocalLoss(_FocalLoss):
    """:func:`paddle_focal.losses.sigmoid.sigmoid_focal_loss` with its hyper-parameters (arXiv:1708.02002, eq. 5).

    Takes the place of PaddleDetection's ``FocalLoss`` and ``Weighted_FocalLoss``:

    .. code-block:: python

        loss = SigmoidFocalLoss(alpha=0.25, gamma=2.0, loss_weight=1.0)(pred, target, reduction="sum")

        # Equivalent to
        target = F.one_hot(target, C + 1)[:, :C].cast(pred.dtype)
        loss = F.sigmoid_focal_loss(pred, target, alpha=0.25, gamma=2.0, reduction="sum") * loss_weight

    Every argument is an attribute of the same name that can be read and set at any time (``loss.gamma = 1.5``); a
    value that is not accepted is refused when it is set. The state dict is empty.

    Args:
        use_sigmoid: True, the only value accepted; heads of PaddleDetection read it.
        alpha: a number in [0, 1], one such number per class, or None for no balance.
        gamma: focusing parameter, a number >= 0.
        loss_weight: a number >= 0 that multiplies the result.
        normalizer: None: whoever calls divides, as PaddleDetection's RetinaHead and YOLOFHead do. 'foreground': the
            loss divides by the number of foreground labels, at least 1; 'foreground_sync': by its mean over the ranks;
            'foreground_ema': by the moving average of that, see :class:`paddle_focal.ForegroundNormalizer`, which is
            the attribute ``foreground_normalizer``.
        ignore_index: class index without loss and gradient; outside 0..C.
        label_smoothing: a number in [0, 1).
        reduction: 'none', 'mean' or 'sum' where the call does not say; None: 'mean' in a call with ``avg_factor``,
            'none' in one without, as in PaddleDetection.
        axis: the class axis of ``pred``.
        activated: whether ``pred`` is probabilities, as in mmdetection, instead of logits; see
            :func:`paddle_focal.losses.sigmoid.binary_focal_loss`.
        name: a name for the layer, without effect.

    Raises:
        ValueError, TypeError: a value that is not accepted, with the argument's name.
    """

    _CHECKS: ClassVar[dict[str, Callable]] = {
        "use_sigmoid": _check_use_sigmoid,
        "alpha": check_alpha,
        **_FocalLoss._CHECKS,
        "normalizer": _check_normalizer,
        "activated": partial(_check_flag, "activated"),
    }

    def __init__(
        self,
        use_sigmoid: bool = True,
        alpha: float | Sequence[float] | None = 0.25,
        gamma: float = 2.0,
        loss_weight: float = 1.0,
        normalizer: str | None = None,
        ignore_index: int = -1,
        label_smoothing: float = 0.0,
        reduction: str | None = None,
        axis: int = -1,
        activated: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.use_sigmoid = use_sigmoid
        self.alpha = alpha
        self.gamma = gamma
        self.loss_weight = loss_weight
        self.normalizer = normalizer
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.reduction = reduction
        self.axis = axis
        self.activated = activated
        self.name = name

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "normalizer":
            self.foreground_normalizer = None if value is None else ForegroundNormalizer(NORMALIZERS[value])

    @property
    def _function(self) -> Callable[..., Tensor]:
        return functional.binary_focal_loss if self.activated else functional.sigmoid_focal_loss

    def _divisor(
        self, pred: Tensor, target: Tensor, avg_factor: float | Tensor | None, reduction: str, axis: int
    ) -> float | Tensor | None:
        if self.normalizer is None:
            return avg_factor
        if avg_factor is not None or reduction == "mean":
            other = "reduction='mean'" if avg_factor is None else "avg_factor"
            raise ValueError(
                f"normalizer={self.normalizer!r} and {other} would divide the loss twice: "
                "set normalizer to None, or call with reduction='sum' and without avg_factor"
            )
        return self.foreground_normalizer(self._foreground_count(pred, target, axis))

    def _foreground_count(self, pred: Tensor, target: Tensor, axis: int) -> Tensor:
        axis = check_logit(pred, axis)
        if check_label(pred, target, axis, self.ignore_index):
            return (target >= 0).logical_and(target < pred.shape[axis]).sum()
        return target.astype("float32").sum()


class SoftmaxFocalLoss(_FocalLoss):
    """:func:`paddle_focal.losses.sigmoid.softmax_focal_loss` with its hyper-parameters (arXiv:1708.02002, eq. 5).

    .. code-block:: python

        loss = SoftmaxFocalLoss(alpha=[0.2, 1.0, 0.7], gamma=2.0)(pred, target, reduction="mean")

    Every argument is an attribute of the same name that can be read and set at any time; a value that is not accepted
    is refused when it is set. The state dict is empty.

    Args:
        alpha: a number >= 0, one such number per class, or None for 1.
        gamma: focusing parameter, a number >= 0.
        loss_weight: a number >= 0 that multiplies the result.
        ignore_index: class index without loss and gradient; outside 0..C-1.
        label_smoothing: a number in [0, 1).
        reduction: 'none', 'mean' or 'sum' where the call does not say; None: 'mean' in a call with ``avg_factor``,
            'none' in one without.
        axis: the class axis of ``pred``.
        name: a name for the layer, without effect.

    Raises:
        ValueError, TypeError: a value that is not accepted, with the argument's name.
    """

    _CHECKS: ClassVar[dict[str, Callable]] = {"alpha": partial(check_alpha, highest=math.inf), **_FocalLoss._CHECKS}
    _function = staticmethod(functional.softmax_focal_loss)

    def __init__(
        self,
        alpha: float | Sequence[float] | None = None,
        gamma: float = 2.0,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
        label_smoothing: float = 0.0,
        reduction: str | None = None,
        axis: int = -1,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma
        self.loss_weight = loss_weight
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.reduction = reduction
        self.axis = axis
        self.name = name
