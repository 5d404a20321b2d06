"""Detectors that learn heatmaps of centres: CenterNet, FairMOT, TTFNet, PETR."""

from __future__ import annotations

from typing import Any, ClassVar
from unittest.mock import patch

from paddle import Tensor
from ppdet.modeling.losses.ctfocal_loss import CTFocalLoss

from paddle_focal import losses
from paddle_focal.detection.replacement import Replacement, outputs_of, replaces


def _heatmap_loss(gamma: float = 2.0, loss_weight: float = 1.0, activated: bool = False) -> losses.GaussianFocalLoss:
    options = {"normalizer": "peaks", "reduction": "sum", "activated": activated}
    return losses.GaussianFocalLoss(gamma=gamma, loss_weight=loss_weight, **options)


@replaces("CTFocalLoss")
class CTFocal(Replacement):
    """The loss of a heatmap of probabilities."""

    def configure(self) -> None:
        self.focal = _heatmap_loss(self.gamma, self.loss_weight, activated=True)

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.focal(pred, target)


@replaces("TTFHead")
class TTFHead(Replacement):
    """The heatmap's loss is computed from its logits, which PaddleDetection clips: no gradient beyond 9.21.

    It has the hyper-parameters of the head's CTFocalLoss; with another loss the head is PaddleDetection's.
    """

    def configure(self) -> None:
        loss = self.hm_loss
        self.focal = _heatmap_loss(loss.gamma, loss.loss_weight) if isinstance(loss, CTFocalLoss) else None

    def get_loss(self, pred_hm: Tensor, *args, **kwargs):
        if self.focal is None:
            return super().get_loss(pred_hm, *args, **kwargs)
        with patch.object(self, "hm_loss", lambda _, heatmap: self.focal(pred_hm, heatmap)):
            return super().get_loss(pred_hm, *args, **kwargs)


@replaces("CenterNetHead")
class CenterNetHead(Replacement):
    """The heatmap's loss is computed from its logits, which PaddleDetection clips: no gradient beyond 9.21.

    Own key: ``gamma``.
    """

    OWN_KEYS: ClassVar[dict[str, Any]] = {"gamma": 2.0}

    def configure(self, gamma) -> None:
        self.focal = _heatmap_loss(gamma)

    def __call__(self, *args, **kwargs):  # for an export Paddle rewrites forward(), which then finds no super()
        if not self.training:
            return super().__call__(*args, **kwargs)
        with outputs_of([self.heatmap]) as logits:

            def loss_of_logits(_, heatmap: Tensor) -> Tensor:
                return self.focal(logits[-1], heatmap)

            with self.names(CTFocalLoss=lambda: loss_of_logits):
                return super().__call__(*args, **kwargs)


@replaces("CenterFocalLoss")
class CenterFocal(Replacement):
    """The loss of a heatmap of probabilities; where ``mask`` is not 0, only peaks count."""

    def configure(self) -> None:
        self.focal = _heatmap_loss(loss_weight=self.loss_weight, activated=True)

    def forward(self, pred: Tensor, target: Tensor, weight=None, mask=None, avg_factor=None, reduction_override=None):
        if weight is not None or avg_factor is not None:
            return super().forward(pred, target, weight, mask, avg_factor, reduction_override)
        if mask is not None:
            weight = (mask == 0).logical_or(target == 1).astype(pred.dtype)
        return self.focal(pred, target, weight) * target.any().astype(pred.dtype)
