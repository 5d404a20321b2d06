"""The losses, one file each with its function and its layer, and what divides and schedules them.

Functions check, normalise and reduce; layers hold hyper-parameters. Imports ``ops``, and no PaddleDetection.
"""

from paddle_focal import _paddle  # noqa: F401 - must come first, see that module

# isort: split
from paddle_focal.losses.asymmetric import AsymmetricLoss, asymmetric_loss, binary_asymmetric_loss
from paddle_focal.losses.gamma_schedule import GammaSchedule
from paddle_focal.losses.gaussian import GaussianFocalLoss, binary_gaussian_focal_loss, gaussian_focal_loss
from paddle_focal.losses.joint import joint_logit
from paddle_focal.losses.normalizer import ForegroundNormalizer
from paddle_focal.losses.poly1 import Poly1FocalLoss, binary_poly1_focal_loss, poly1_focal_loss
from paddle_focal.losses.quality import QualityFocalLoss, binary_quality_focal_loss, quality_focal_loss
from paddle_focal.losses.sigmoid import SigmoidFocalLoss, binary_focal_loss, sigmoid_focal_loss
from paddle_focal.losses.softmax import SoftmaxFocalLoss, softmax_focal_loss
from paddle_focal.losses.varifocal import VarifocalLoss, binary_varifocal_loss, varifocal_loss

__all__ = [
    "AsymmetricLoss",
    "ForegroundNormalizer",
    "GammaSchedule",
    "GaussianFocalLoss",
    "Poly1FocalLoss",
    "QualityFocalLoss",
    "SigmoidFocalLoss",
    "SoftmaxFocalLoss",
    "VarifocalLoss",
    "asymmetric_loss",
    "binary_asymmetric_loss",
    "binary_focal_loss",
    "binary_gaussian_focal_loss",
    "binary_poly1_focal_loss",
    "binary_quality_focal_loss",
    "binary_varifocal_loss",
    "gaussian_focal_loss",
    "joint_logit",
    "poly1_focal_loss",
    "quality_focal_loss",
    "sigmoid_focal_loss",
    "softmax_focal_loss",
    "varifocal_loss",
]
