"""What PaddleDetection needs on today's Paddle, one cure at a time."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings


def import_ppdet() -> None:
    """Import ppdet without its chatter, or say how to install it.

    ppdet prints five lines about packages for tracking, and Paddle's extension builder warns that ccache is missing.

    Raises:
        ImportError: ppdet or a package that it needs is not installed.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("ppdet")
    except ImportError as error:
        raise ImportError(
            f"paddle_focal.detection needs PaddleDetection (ppdet), which cannot be imported: {error}. Install it with "
            "`pip install --no-deps paddledet==2.6.0` and the packages it imports (requirements.txt lists them), or "
            "put a PaddleDetection source tree on PYTHONPATH. paddle_focal.SigmoidFocalLoss works without it."
        ) from error
