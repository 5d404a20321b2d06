"""What PaddleDetection needs on today's Paddle, one cure at a time."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import sys
import warnings


def import_ppdet() -> None:
    """Import ppdet without its chatter, or say how to install it.

    ppdet prints five lines about packages for tracking, and Paddle's extension builder warns that ccache is missing.

    Raises:
        ImportError: ppdet or a package that it needs is not installed.
    """
    chatter = io.StringIO()
    try:
        with contextlib.redirect_stdout(chatter), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("ppdet")
    except ImportError as error:
        raise ImportError(
            f"paddle_focal.detection needs PaddleDetection (ppdet), which cannot be imported: {error}. Install it with "
            "`pip install --no-deps paddledet==2.6.0` and the packages it imports (requirements.txt lists them), or "
            "put a PaddleDetection source tree on PYTHONPATH. paddle_focal.SigmoidFocalLoss works without it."
        ) from error
    # ppdet's loggers took hold of standard output as it was during the import.
    for logger in logging.root.manager.loggerDict.values():
        for handler in getattr(logger, "handlers", ()):
            if getattr(handler, "stream", None) is chatter:
                handler.setStream(sys.stdout)
