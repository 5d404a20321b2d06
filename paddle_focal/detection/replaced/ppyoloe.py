"""PP-YOLOE's heads: boxes, contrast, instances and rotated boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar
from unittest.mock import patch

import paddle
from paddle import Tensor

from paddle_focal.detection.replaced.levels import for_any_release, sum_over_levels, zero_of
from paddle_focal.detection.replacement import Replacement, outputs_of, replaces
from paddle_focal.losses import QualityFocalLoss, VarifocalLoss


@replaces("PPYOLOEHead", "PPYOLOEContrastHead", "PPYOLOERHead")
class PPYOLOEHead(Replacement):
    """The classification loss is computed from the logits of each level, where the convolutions left them.

    Own keys: ``alpha`` (None: 0.75 for the varifocal loss; else 0.25 while the static assigner is used, and no
    balance later), ``gamma``, ``detach_weight``.
    """

    OWN_KEYS: ClassVar[dict[str, Any]] = {"alpha": None, "gamma": 2.0, "detach_weight": False}
    HIGHEST_ALPHA = math.inf

    def configure(self, alpha, gamma, detach_weight) -> None:
        self._has_own_alpha = alpha is not None
        if self.use_varifocal_loss:
            alpha = alpha if self._has_own_alpha else 0.75
            self.loss_class = VarifocalLoss(alpha=alpha, gamma=gamma, detach_weight=detach_weight, reduction="sum")
        else:
            self.loss_class = QualityFocalLoss(alpha=alpha, gamma=gamma, reduction="sum")
        self.use_varifocal_loss = False  # ppdet then calls _focal_loss for both, and makes no one-hot labels
        self._logits = self._scores = self._assigned = None

    def forward_train(self, *args, **kwargs):
        try:
            with outputs_of(self.pred_cls) as self._logits:
                return super().forward_train(*args, **kwargs)
        finally:
            self._logits = self._scores = self._assigned = None

    def get_loss(self, head_outs, gt_meta, *args, **kwargs):
        self._scores = head_outs[0]
        assigners = [one for one in (getattr(self, "static_assigner", None), self.assigner) if one is not None]
        with outputs_of(assigners) as self._assigned:
            return super().get_loss(head_outs, for_any_release(gt_meta), *args, **kwargs)

    def _focal_loss(self, prob: Tensor, target: Tensor, alpha: float = -1, alpha_l: float = -1) -> Tensor:
        """The classification loss of probabilities and targets ``[N, L, C]``; ppdet divides it."""
        loss = self.loss_class
        if isinstance(loss, QualityFocalLoss) and not self._has_own_alpha:
            alpha = max(alpha, alpha_l)
            loss.alpha = alpha if alpha > 0 else None
        label = self._assigned[-1][0] if self._assigned else self.assigned_labels  # kept for distillation
        target = label, target.sum(-1)
        if self._logits and prob is self._scores:
            return sum_over_levels(loss, self._logits, *target)
        return loss(prob, target, activated=True)


@replaces("PPYOLOEInsHead")
class PPYOLOEInsHead(PPYOLOEHead):
    __doc__ = PPYOLOEHead.__doc__

    def get_loss(self, head_outs, gt_meta, *args, **kwargs) -> dict[str, Tensor]:
        gt_meta = _with_masks(gt_meta, head_outs[3].shape[-2:])
        losses = super().get_loss(head_outs, gt_meta, *args, **kwargs)
        losses["loss"] = losses["loss"] + zero_of(*head_outs[1:4])  # without boxes no loss reads boxes and masks
        return losses


def _with_masks(targets: dict, sides: Sequence[int]) -> dict:
    """Targets with masks also for images without boxes, whose masks PaddleDetection's reader leaves without sides.

    Where there are no boxes at all, there is a row of padding, which PaddleDetection needs.
    """
    masks = targets["gt_segm"]
    sides = next((mask.shape[1:] for mask in masks if mask.ndim == 3), sides)
    masks = [mask if mask.ndim == 3 else paddle.zeros([len(mask), *sides], mask.dtype) for mask in masks]
    rows = {**{name: targets[name] for name in ("gt_bbox", "gt_class", "pad_gt_mask")}, "gt_segm": masks}
    if not len(masks[0]):
        rows = {name: [paddle.zeros([1, *one.shape[1:]], one.dtype) for one in rows[name]] for name in rows}
    return {**targets, **rows}


@replaces("SupContrast")
class SupContrast(Replacement):
    """PaddleDetection's loss; 0 where no score is above ``thresh``, where PaddleDetection takes the mean of nothing."""

    def forward(self, features: Tensor, labels: Tensor, scores: Tensor) -> Tensor:
        if not (scores > self.thresh).any():
            return zero_of(features)
        equal = paddle.equal  # by whose result PaddleDetection multiplies, which Paddle 3 refuses
        with patch.object(paddle, "equal", lambda *pair: equal(*pair).astype(features.dtype)):
            return super().forward(features, labels, scores)
