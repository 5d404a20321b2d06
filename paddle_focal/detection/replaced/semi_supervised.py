"""The losses of a student that learns a teacher's scores, in semi-supervised training (DenseTeacher)."""

from __future__ import annotations

from typing import Any, ClassVar

from paddle import Tensor

from paddle_focal import losses
from paddle_focal.detection.replacement import Replacement, replaces


@replaces("SSODFCOSLoss", "SSODPPYOLOELoss")
class SSODLoss(Replacement):
    """Places that the teacher is sure of learn its scores, the others 0. Own keys: ``alpha`` (None), ``gamma``."""

    OWN_KEYS: ClassVar[dict[str, Any]] = {"alpha": None, "gamma": 2.0}

    def configure(self, alpha, gamma) -> None:
        self.focal = losses.QualityFocalLoss(alpha=alpha, gamma=gamma, activated=True)

    def forward(self, *args, **kwargs) -> dict[str, Tensor]:
        with self.names(QFLv2=self._focal_loss):
            return super().forward(*args, **kwargs)

    def _focal_loss(self, prob: Tensor, teacher: Tensor, weight: Tensor, reduction: str) -> Tensor:
        is_sure = (weight > 0).astype(teacher.dtype).unsqueeze(1)
        return self.focal(prob, teacher * is_sure, reduction=reduction)
