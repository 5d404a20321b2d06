"""Everything that touches PaddleDetection (ppdet): the registered components and the tools' machinery."""

try:
    import ppdet  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"paddle_focal.detection needs PaddleDetection (ppdet), which cannot be imported: {error}. Install it with "
        "`pip install --no-deps paddledet==2.6.0` and the packages it imports (requirements.txt lists them), or put a "
        "PaddleDetection source tree on PYTHONPATH. paddle_focal.SigmoidFocalLoss works without it."
    ) from error

from paddle_focal.detection.losses import SigmoidFocalLoss
from paddle_focal.detection.registration import register

__all__ = ["SigmoidFocalLoss", "register"]
