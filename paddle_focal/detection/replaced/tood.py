"""TOOD."""

from __future__ import annotations

from typing import Any, ClassVar

from paddle import Tensor

from paddle_focal import losses
from paddle_focal.detection.replaced.levels import sum_over_levels, zero_of
from paddle_focal.detection.replacement import Replacement, outputs_of, replaces
from paddle_focal.losses import joint_logit


@replaces("TOODHead")
class TOODHead(Replacement):
    """The classification loss is computed from logits, and every parameter gets a gradient, also without boxes.

    PaddleDetection's scores are square roots of a product of two probabilities; the loss takes the logits of these.
    Own keys: ``alpha`` (None: 0.25 while the static assigner is used, and no balance later), ``gamma``.
    """

    OWN_KEYS: ClassVar[dict[str, Any]] = {"alpha": None, "gamma": 2.0}

    def configure(self, alpha, gamma) -> None:
        self._has_own_alpha = alpha is not None
        self.focal = losses.QualityFocalLoss(alpha=alpha, gamma=gamma)

    def __call__(self, feats) -> tuple:  # for an export Paddle rewrites forward(), which then finds no super()
        if not self.training:
            return super().__call__(feats)
        alignment = [self.cls_prob_conv2] if self.use_align_head else []
        with outputs_of([self.tood_cls]) as logits, outputs_of(alignment) as alignments:
            outs = super().__call__(feats)
        self._logits = [joint_logit(*pair, power=0.5) for pair in zip(logits, alignments)] or logits
        return outs

    def get_loss(self, head_outs, gt_meta) -> dict[str, Tensor]:
        try:
            with outputs_of([self.static_assigner, self.assigner]) as self._assigned:
                found = super().get_loss(head_outs, gt_meta)
        finally:
            self._logits = self._assigned = None
        return {**found, "loss": found["loss"] + zero_of(head_outs[1])}

    def _focal_loss(self, score: Tensor, target: Tensor, alpha: float) -> Tensor:
        """The sum over places and classes; ppdet divides it."""
        if not self._has_own_alpha:
            self.focal.alpha = alpha if alpha > 0 else None
        return sum_over_levels(self.focal, self._logits, self._assigned[-1][0], target.sum(-1))
