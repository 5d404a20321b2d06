"""CLRNet, which detects lanes."""

from __future__ import annotations

import math
from typing import Any, ClassVar
from unittest.mock import patch

import paddle
from paddle import Tensor

from paddle_focal import losses
from paddle_focal.detection.replacement import Replacement, replaces


@replaces("CLRNetLoss")
class CLRNetLoss(Replacement):
    """The focal loss of a softmax over background and lane. Own keys: ``alpha``, ``gamma``."""

    OWN_KEYS: ClassVar[dict[str, Any]] = {"alpha": 0.25, "gamma": 2.0}
    HIGHEST_ALPHA = math.inf

    def configure(self, alpha, gamma) -> None:
        self.focal = losses.SoftmaxFocalLoss(alpha=alpha, gamma=gamma, reduction="none")

    def forward(self, *args, **kwargs) -> dict[str, Tensor]:
        minus = Tensor.__sub__

        def minus_integers(one: Tensor, other: Any) -> Tensor:
            """As Paddle 2 does: PaddleDetection subtracts integers from lengths of lanes, which Paddle 3 refuses."""
            return minus(one, other.astype(one.dtype) if paddle.is_tensor(other) else other)

        with self.names(FocalLoss=lambda **_: self.focal), patch.object(Tensor, "__sub__", minus_integers):
            return super().forward(*args, **kwargs)
