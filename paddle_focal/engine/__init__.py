"""The machinery of the tools, as in PaddleDetection: training, evaluation, prediction, export, checkpoints and hooks.

Imports ``data``, ``detection`` and ``losses``; knows no command line.
"""

import paddle_focal.detection  # noqa: F401 - imports ppdet without its chatter, or says how to install it
