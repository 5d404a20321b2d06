"""PicoDet's head."""

from __future__ import annotations

from unittest.mock import patch

import paddle
from paddle import Tensor
from ppdet.modeling.losses.varifocal_loss import VarifocalLoss

from paddle_focal import losses
from paddle_focal.detection.replaced.levels import for_any_release, sum_over_levels, zero_of
from paddle_focal.detection.replacement import Replacement, outputs_of, replaces
from paddle_focal.losses import joint_logit


@replaces("PicoHeadV2")
class PicoHeadV2(Replacement):
    """The classification loss is computed from logits, and every loss is finite without boxes.

    PaddleDetection's scores are square roots of a product of two probabilities; the loss takes the logits of these. It
    has the hyper-parameters of the head's VarifocalLoss; with another loss the head is PaddleDetection's.
    """

    def configure(self) -> None:
        loss = self.loss_vfl
        self._is_served = isinstance(loss, VarifocalLoss) and loss.iou_weighted
        if self._is_served and not hasattr(loss, "focal"):  # it is not replaced
            loss.focal = losses.VarifocalLoss(alpha=loss.alpha, gamma=loss.gamma, loss_weight=loss.loss_weight)

    def forward_train(self, *args, **kwargs):
        with outputs_of(self.head_cls_list) as logits, outputs_of(self.cls_align) as alignments:
            results = super().forward_train(*args, **kwargs)
        self._logits = [joint_logit(*pair, power=0.5) for pair in zip(logits, alignments)] if alignments else logits
        return results

    def get_loss(self, head_outs, gt_meta) -> dict[str, Tensor]:
        if not self._is_served:
            return super().get_loss(head_outs, gt_meta)
        divisors, logits = [], self._logits
        self._logits = None

        def loss_of_logits(_, target: Tensor, avg_factor: Tensor) -> Tensor:
            divisors.append(avg_factor)
            label = assigned[-1][0]
            total = sum_over_levels(self.loss_vfl.focal, logits, label, target.sum(-1).reshape(label.shape))
            return total / (avg_factor + (avg_factor == 0).astype(avg_factor.dtype))

        forward = patch.object(self.loss_vfl, "forward", loss_of_logits)
        with outputs_of([self.static_assigner, self.assigner]) as assigned, forward:
            found = super().get_loss(head_outs, for_any_release(gt_meta))
        zero = zero_of(head_outs[1])
        # PaddleDetection divides 0 by 0 where nothing is assigned.
        return {
            name: paddle.where(divisors[0] == 0, zero, loss + zero) if name != "loss_vfl" else loss
            for name, loss in found.items()
        }
