"""Focal loss for PaddlePaddle and PaddleDetection: a drop-in that is fast, lean and accurate.

Paddle is imported with the first of the names below, so that a command shows its help at once.
"""

import importlib
import zlib  # noqa: F401 - before Paddle is imported; _paddle.py says why
from typing import TYPE_CHECKING

from paddle_focal import _interrupt  # noqa: F401 - before anything that takes seconds, see that module

if TYPE_CHECKING:
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

_MODULES = ("class_balance", "functional", "layers", "losses", "ops")


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(f"paddle_focal.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'paddle_focal' has no attribute {name!r}")
    room = importlib.import_module("paddle_focal.ops" if name == "backend_report" else "paddle_focal.losses")
    globals()[name] = getattr(room, name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
