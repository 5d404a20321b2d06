"""Heads of rotated boxes: FCOSR and S2ANet."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any, Callable, ClassVar

import numpy as np
from paddle import Tensor

from paddle_focal import losses
from paddle_focal.detection.replaced.levels import sum_over_levels
from paddle_focal.detection.replacement import Replacement, outputs_of, replaces


@replaces("FCOSRHead")
class FCOSRHead(Replacement):
    """The classification loss is computed from logits. Own keys: ``alpha`` (None: no balance), ``gamma``."""

    OWN_KEYS: ClassVar[dict[str, Any]] = {"alpha": None, "gamma": 2.0}

    def configure(self, alpha, gamma) -> None:
        self.focal = losses.QualityFocalLoss(alpha=alpha, gamma=gamma)

    def forward_train(self, *args, **kwargs) -> dict[str, Tensor]:
        try:
            with outputs_of([self.pred_cls]) as self._logits, outputs_of([self.assigner]) as self._assigned:
                return super().forward_train(*args, **kwargs)
        finally:
            self._logits = self._assigned = None

    def _qfocal_loss(self, score: Tensor, target: Tensor, reduction: str) -> Tensor:
        """The sum over places and classes; ppdet divides it."""
        return sum_over_levels(self.focal, self._logits, self._assigned[-1][0], target.sum(-1))


@replaces("S2ANetHead")
class S2ANetHead(Replacement):
    """Images without boxes count as background, of which PaddleDetection's assigner finds no maximum.

    Own keys: ``alpha``, also one for each class, and ``gamma``.
    """

    OWN_KEYS: ClassVar[dict[str, Any]] = {"alpha": 0.25, "gamma": 2.0}

    def configure(self, alpha, gamma) -> None:
        self.focal = losses.SigmoidFocalLoss(alpha=alpha, gamma=gamma)
        self.anchor_assign = partial(_assign, self.anchor_assign)

    def get_loss(self, head_outs, inputs) -> dict[str, Tensor]:
        with self.names(F=SimpleNamespace(sigmoid_focal_loss=self._focal_loss)):
            return super().get_loss(head_outs, inputs)

    def _focal_loss(self, logit: Tensor, label: Tensor, normalizer: Tensor, reduction: str) -> Tensor:
        return self.focal(logit, label, reduction=reduction) / normalizer


def _assign(assigner: Callable, anchors: np.ndarray, boxes: np.ndarray, *rest: np.ndarray) -> tuple:
    """The labels of anchors, their weights, boxes, boxes' weights, and which are positive and negative."""
    if len(boxes):
        return assigner(anchors, boxes, *rest)
    label, zeros = np.zeros(len(anchors), "int32"), np.zeros_like(anchors)
    return label, np.ones_like(label, "float32"), zeros, zeros, zeros, [], np.arange(len(anchors))
