"""The losses as functions, by name."""

from paddle_focal.losses import binary_focal_loss, sigmoid_focal_loss, softmax_focal_loss

__all__ = ["binary_focal_loss", "sigmoid_focal_loss", "softmax_focal_loss"]
