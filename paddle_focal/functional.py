"""The public names of the losses as functions."""

from paddle_focal.losses import binary_focal_loss, sigmoid_focal_loss, softmax_focal_loss

__all__ = ["binary_focal_loss", "sigmoid_focal_loss", "softmax_focal_loss"]
