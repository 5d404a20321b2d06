"""The public names of the losses as functions."""

from paddle_focal.losses import (
    binary_focal_loss,
    binary_gaussian_focal_loss,
    binary_quality_focal_loss,
    binary_varifocal_loss,
    gaussian_focal_loss,
    joint_logit,
    quality_focal_loss,
    sigmoid_focal_loss,
    softmax_focal_loss,
    varifocal_loss,
)

__all__ = [
    "binary_focal_loss",
    "binary_gaussian_focal_loss",
    "binary_quality_focal_loss",
    "binary_varifocal_loss",
    "gaussian_focal_loss",
    "joint_logit",
    "quality_focal_loss",
    "sigmoid_focal_loss",
    "softmax_focal_loss",
    "varifocal_loss",
]
