"""The public names of the losses as functions."""

from paddle_focal.losses import (
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

__all__ = [
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
