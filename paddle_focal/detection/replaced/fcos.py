"""FCOS, and ARSL, which trains it half supervised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import paddle
from paddle import Tensor

from paddle_focal import losses
from paddle_focal.detection.replaced.levels import zero_of
from paddle_focal.detection.replacement import Replacement, replaces
from paddle_focal.losses import joint_logit
from paddle_focal.losses.arguments import check_alpha


@replaces("FCOSLoss")
class FCOSLoss(Replacement):
    """``loss_alpha``, also one for each class, and ``loss_gamma`` count, and every loss is finite without positives.

    The logits of the classes are read where the convolutions left them. PaddleDetection's losses of boxes and quality
    get the positives alone.
    """

    def configure(self) -> None:
        self.focal = losses.SigmoidFocalLoss(alpha=self.loss_alpha, gamma=self.loss_gamma, reduction="sum", axis=1)

    def forward(self, cls_logits, bboxes_reg, centerness, tag_labels, tag_bboxes, tag_center) -> dict[str, Tensor]:
        """Of levels ``[N, C, H, W]`` and targets ``[N, H, W, ...]``, whose label 0 is the background."""
        background = cls_logits[0].shape[1]
        labels = [(label.squeeze(-1) - 1) % (background + 1) for label in tag_labels]
        loss_cls = paddle.add_n([self.focal(logit, label) for logit, label in zip(cls_logits, labels)])
        place = _rows(tag_labels).flatten().nonzero().flatten()
        if not len(place):
            return {
                "loss_cls": loss_cls,
                **dict.fromkeys(("loss_box", "loss_quality"), zero_of(*bboxes_reg, *centerness)),
            }
        box, quality = (
            paddle.gather(_rows(levels, class_axis=1), place).unsqueeze([2, 3]) for levels in (bboxes_reg, centerness)
        )
        box_target, quality_target = (
            paddle.gather(_rows(levels), place).unsqueeze([1, 2]) for levels in (tag_bboxes, tag_center)
        )
        is_object = paddle.ones(quality_target.shape, "int64")
        any_logit = quality_target  # of PaddleDetection's loss of classes, which is not used
        found = super().forward([any_logit], [box], [quality], [is_object], [box_target], [quality_target])
        return {**found, "loss_cls": loss_cls / len(place)}


@replaces("FCOSLossCR")
class FCOSLossCR(Replacement):
    """The loss of products of two probabilities is computed from logits.

    Own keys: ``alpha``, the weight of the targets 0, also one for each class, and ``gamma``.
    """

    OWN_KEYS: ClassVar[dict[str, Any]] = {"alpha": 0.75, "gamma": 2.0}
    HIGHEST_ALPHA = math.inf

    def configure(self, alpha, gamma) -> None:
        self.alpha = 1.0 if alpha is None else check_alpha(alpha, math.inf)
        self.focal = losses.QualityFocalLoss(gamma=gamma, reduction="sum")

    def quality_focal_loss(self, logit: Tensor, target: Tensor, quality: Tensor, avg_factor: float, **_) -> Tensor:
        """Of ``[places, C]``, and the qualities' logits ``[places, 1]``."""
        alpha = paddle.to_tensor(self.alpha, target.dtype)
        weight = alpha + (1 - alpha) * (target > 0).astype(target.dtype)
        return self.focal(joint_logit(logit, quality), target, weight) / avg_factor


@replaces("FCOSLossMILC")
class FCOSLossMILC(FCOSLossCR):
    """As FCOSLossCR, and every loss is finite without positives. ``loss_alpha`` and ``loss_gamma`` are not used."""

    def forward(self, cls_logits, bboxes_reg, centerness, tag_labels, *targets) -> dict[str, Tensor]:
        self._quality = _rows(centerness, class_axis=1)
        if _rows(tag_labels).any():
            return super().forward(cls_logits, bboxes_reg, centerness, tag_labels, *targets)
        logit = _rows(cls_logits, class_axis=1)
        loss_cls = self.quality_focal_loss(logit, paddle.zeros_like(logit), self._quality, 1.0)
        return {"loss_cls": loss_cls, **dict.fromkeys(("loss_box", "loss_iou"), zero_of(*bboxes_reg))}

    def iou_based_soft_label_loss(self, logit: Tensor, target: Tensor, avg_factor: Tensor, **_) -> Tensor:
        return self.quality_focal_loss(logit, target, self._quality, avg_factor)


def _rows(levels: Sequence[Tensor], class_axis: int = 3) -> Tensor:
    """The values at all places of four-dimensional levels, ``[places, values]``, in float32 if they are predictions."""
    if class_axis == 1:
        levels = [level.transpose([0, 2, 3, 1]).astype("float32") for level in levels]
    return paddle.concat([level.flatten(0, 2) for level in levels])
