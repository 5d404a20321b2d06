"""The losses as layers, by name."""

from paddle_focal.losses.base import SigmoidFocalLoss, SoftmaxFocalLoss

__all__ = ["SigmoidFocalLoss", "SoftmaxFocalLoss"]
