"""The public names of the losses as layers."""

from paddle_focal.losses import GaussianFocalLoss, QualityFocalLoss, SigmoidFocalLoss, SoftmaxFocalLoss, VarifocalLoss

__all__ = ["GaussianFocalLoss", "QualityFocalLoss", "SigmoidFocalLoss", "SoftmaxFocalLoss", "VarifocalLoss"]
