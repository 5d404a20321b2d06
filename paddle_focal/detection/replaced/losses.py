"""The losses that a head gets by their names."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from paddle import Tensor

from paddle_focal import losses
from paddle_focal.detection.losses import SigmoidFocalLoss
from paddle_focal.detection.replacement import Replacement, replaces

_OF_FOCAL_LOSS = {"normalizer": None, "ignore_index": -1, "label_smoothing": 0.0}


@replaces("FocalLoss")
class FocalLoss(SigmoidFocalLoss):
    """Takes class indices; no one-hot labels are made. Own keys: those of :class:`paddle_focal.SigmoidFocalLoss`."""

    OWN_KEYS: ClassVar[dict[str, Any]] = _OF_FOCAL_LOSS

    def forward(self, pred: Tensor, target: Tensor, reduction: str = "none", axis: int | None = None) -> Tensor:
        return super().forward(pred, target, reduction=reduction, axis=axis)


@replaces("Weighted_FocalLoss")
class WeightedFocalLoss(SigmoidFocalLoss):
    """As FocalLoss, with a weight for each sample or each logit."""

    OWN_KEYS: ClassVar[dict[str, Any]] = _OF_FOCAL_LOSS

    def __init__(self, reduction: str = "mean", **config: Any) -> None:
        super().__init__(reduction=reduction, **config)

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        reduction = reduction_override or self.reduction
        if weight is not None and weight.shape != pred.shape and weight.shape[0] != pred.shape[0]:
            weight = weight.reshape(pred.shape)
        if reduction == "none":
            return super().forward(pred, target, weight, reduction="none")
        return super().forward(pred, target, weight, None if avg_factor is None else avg_factor + 1e-10, reduction)


def _loss_of_rows(
    loss: losses.base.FocalLoss, reduction: str, pred: Tensor, target: Any, weight, avg_factor, activated: bool
) -> Tensor:
    """A loss that PaddleDetection adds up over the classes before it reduces it."""
    if reduction == "none":
        return loss(pred, target, weight, reduction="none", activated=activated).sum(1)
    if avg_factor is None and reduction == "mean":
        avg_factor = pred.shape[0]
    return loss(pred, target, weight, avg_factor, reduction, activated=activated)


@replaces("QualityFocalLoss")
class QualityFocalLoss(Replacement):
    """Own keys: ``alpha`` (None: no balance), ``gamma`` (None: ``beta``)."""

    OWN_KEYS: ClassVar[dict[str, Any]] = {"alpha": None, "gamma": None}

    def configure(self, alpha, gamma) -> None:
        gamma = self.beta if gamma is None else gamma
        self.focal = losses.QualityFocalLoss(alpha=alpha, gamma=gamma, loss_weight=self.loss_weight)

    def forward(self, pred: Tensor, target: tuple[Tensor, Tensor], weight=None, avg_factor=None) -> Tensor:
        return _loss_of_rows(self.focal, self.reduction, pred, target, weight, avg_factor, not self.use_sigmoid)


@replaces("VarifocalLoss")
class VarifocalLoss(Replacement):
    """Own keys: ``alpha``, also one for each class, and ``detach_weight``.

    With ``iou_weighted: false`` PaddleDetection's own loss is computed.
    """

    OWN_KEYS: ClassVar[dict[str, Any]] = {"alpha": 0.75, "detach_weight": False}
    HIGHEST_ALPHA = math.inf

    def configure(self, alpha, detach_weight) -> None:
        self.alpha = alpha
        options = {"gamma": self.gamma, "loss_weight": self.loss_weight}
        self.focal = losses.VarifocalLoss(alpha=alpha, detach_weight=detach_weight, **options)

    def forward(self, pred: Tensor, target: Tensor, weight=None, avg_factor=None) -> Tensor:
        if not self.iou_weighted:
            return super().forward(pred, target, weight, avg_factor)
        if self.use_sigmoid:
            avg_factor = None if self.reduction == "none" else avg_factor
            return self.focal(pred, target, weight, avg_factor, self.reduction)
        return _loss_of_rows(self.focal, self.reduction, pred, target, weight, avg_factor, activated=True)
