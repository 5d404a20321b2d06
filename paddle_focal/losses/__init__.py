"""The losses, one file each with its function and its layer, and what divides and schedules them.

Functions check, normalise and reduce; layers hold hyper-parameters. Imports ``ops``, and no PaddleDetection.
"""

from paddle_focal.losses.gamma_schedule import GammaSchedule
from paddle_focal.losses.normalizer import ForegroundNormalizer
from paddle_focal.losses.sigmoid import SigmoidFocalLoss, binary_focal_loss, sigmoid_focal_loss
from paddle_focal.losses.softmax import SoftmaxFocalLoss, softmax_focal_loss

__all__ = [
    "ForegroundNormalizer",
    "GammaSchedule",
    "SigmoidFocalLoss",
    "SoftmaxFocalLoss",
    "binary_focal_loss",
    "sigmoid_focal_loss",
    "softmax_focal_loss",
]
