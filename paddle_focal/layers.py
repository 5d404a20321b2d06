"""The public names of the losses as layers."""

from paddle_focal.losses import (
    AsymmetricLoss,
    GaussianFocalLoss,
    Poly1FocalLoss,
    QualityFocalLoss,
    SigmoidFocalLoss,
    SoftmaxFocalLoss,
    VarifocalLoss,
)

__all__ = [
    "AsymmetricLoss",
    "GaussianFocalLoss",
    "Poly1FocalLoss",
    "QualityFocalLoss",
    "SigmoidFocalLoss",
    "SoftmaxFocalLoss",
    "VarifocalLoss",
]
