"""The losses as layers, by name."""

from paddle_focal.losses import SigmoidFocalLoss, SoftmaxFocalLoss

__all__ = ["SigmoidFocalLoss", "SoftmaxFocalLoss"]
