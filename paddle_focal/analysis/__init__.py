"""What a loss does to a trained model and its data. Imports ``engine``, and the rooms that ``engine`` imports."""

import paddle_focal.detection  # noqa: F401 - imports ppdet without its chatter, or says how to install it
