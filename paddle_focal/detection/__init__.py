"""What a configuration of PaddleDetection (ppdet) can name, and what ppdet needs on today's Paddle.

Imports ``losses`` and ``ops``, and ppdet without its chatter.
"""

from paddle_focal import _paddle  # noqa: F401 - must come first, see that module

# isort: split
from paddle_focal.detection import compatibility

compatibility.import_ppdet()

from paddle_focal.detection.heads.retina_head import FocalRetinaHead  # noqa: E402
from paddle_focal.detection.losses import GaussianFocalLoss, SigmoidFocalLoss, SoftmaxFocalLoss  # noqa: E402
from paddle_focal.detection.registration import register, replace  # noqa: E402

__all__ = ["FocalRetinaHead", "GaussianFocalLoss", "SigmoidFocalLoss", "SoftmaxFocalLoss", "register", "replace"]
