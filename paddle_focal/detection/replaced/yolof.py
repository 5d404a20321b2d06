"""YOLOF, whose loss is a FocalLoss."""

from __future__ import annotations

import paddle
from paddle import Tensor

from paddle_focal.detection.replacement import Replacement, replaces


@replaces("UniformAssigner")
class UniformAssigner(Replacement):
    """Images without boxes are background, where PaddleDetection looks for a maximum of nothing."""

    def forward(self, bbox_pred: Tensor, anchor: Tensor, gt_bboxes: Tensor, *args, **kwargs) -> tuple:
        if len(gt_bboxes):
            return super().forward(bbox_pred, anchor, gt_bboxes, *args, **kwargs)
        return paddle.full([len(bbox_pred)], -1, "int32"), None, None
