"""RetinaNet."""

from __future__ import annotations

from typing import Any, ClassVar

from paddle_focal.detection.heads.retina_head import FocalRetinaHead
from paddle_focal.detection.replacement import replaces


@replaces("RetinaHead")
class RetinaHead(FocalRetinaHead):
    """:class:`paddle_focal.detection.FocalRetinaHead` under PaddleDetection's name, with its keys.

    Its ``loss_class`` must be FocalLoss, replaced, too, or SigmoidFocalLoss.
    """

    OWN_KEYS: ClassVar[dict[str, Any]] = {"normalizer": "local", "is_inference_output": False}
