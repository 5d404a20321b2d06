"""Focal loss for PaddlePaddle and PaddleDetection: a drop-in that is fast, lean and right everywhere."""

from paddle_focal import _paddle  # noqa: F401 - must come first, see that module
from paddle_focal.losses import (
    ForegroundNormalizer,
    GammaSchedule,
    SigmoidFocalLoss,
    SoftmaxFocalLoss,
    binary_focal_loss,
    sigmoid_focal_loss,
    softmax_focal_loss,
)
from paddle_focal.ops import backend_report

__version__ = "0.1.0"

__all__ = [
    "ForegroundNormalizer",
    "GammaSchedule",
    "SigmoidFocalLoss",
    "SoftmaxFocalLoss",
    "backend_report",
    "binary_focal_loss",
    "sigmoid_focal_loss",
    "softmax_focal_loss",
]
