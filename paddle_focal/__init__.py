"""Focal loss for PaddlePaddle and PaddleDetection: a drop-in that is fast, lean and right everywhere."""

from paddle_focal.functional import sigmoid_focal_loss
from paddle_focal.layers import SigmoidFocalLoss

__version__ = "0.1.0"

__all__ = ["SigmoidFocalLoss", "sigmoid_focal_loss"]
