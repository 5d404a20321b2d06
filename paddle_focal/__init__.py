"""Focal loss for PaddlePaddle and PaddleDetection: a drop-in that is fast, lean and right everywhere."""

from paddle_focal import _paddle  # noqa: F401 - must come first, see that module
from paddle_focal.losses import (
    AsymmetricLoss,
    ForegroundNormalizer,
    GammaSchedule,
    GaussianFocalLoss,
    Poly1FocalLoss,
    QualityFocalLoss,
    SigmoidFocalLoss,
    SoftmaxFocalLoss,
    VarifocalLoss,
    asymmetric_loss,
    binary_asymmetric_loss,
    binary_focal_loss,
    binary_gaussian_focal_loss,
    binary_poly1_focal_loss,
    binary_quality_focal_loss,
    binary_varifocal_loss,
    gaussian_focal_loss,
    joint_logit,
    poly1_focal_loss,
    quality_focal_loss,
    sigmoid_focal_loss,
    softmax_focal_loss,
    varifocal_loss,
)
from paddle_focal.ops import backend_report

__version__ = "0.2.0"

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
    "backend_report",
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
