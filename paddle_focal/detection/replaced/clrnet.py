"""CLRNet, which detects lanes."""

from __future__ import annotations

import math
from typing import Any, ClassVar

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
        with self.names(FocalLoss=lambda **_: self.focal):
            return super().forward(*args, **kwargs)
