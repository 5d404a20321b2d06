"""Focal loss for PaddlePaddle and PaddleDetection: a drop-in that is fast, lean and right everywhere."""

# First of all, because Paddle 2.6 exports the functions of a zlib of its own: where Python's zlib is a shared library
# and is loaded later, it calls those and crashes.
import zlib  # noqa: F401

from paddle_focal.functional import binary_focal_loss, sigmoid_focal_loss, softmax_focal_loss
from paddle_focal.layers import SigmoidFocalLoss, SoftmaxFocalLoss
from paddle_focal.normalizer import ForegroundNormalizer
from paddle_focal.ops import backend_report
from paddle_focal.schedule import GammaSchedule

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
