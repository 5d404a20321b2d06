"""What is wrong with a data set, judged by what PaddleDetection does with it."""

import paddle_focal.detection  # noqa: F401 - imports ppdet without its chatter, or says how to install it
