"""The loss of boxes, in few operators."""

from __future__ import annotations

import paddle.nn.functional as F
from paddle import Tensor, nn
from ppdet.modeling.losses import SmoothL1Loss


def sum_of(loss: nn.Layer, prediction: Tensor, expected: Tensor) -> Tensor:
    """The sum of a box loss over all coordinates.

    ppdet's SmoothL1Loss, without its two dozen operators, is Huber's loss divided by beta.
    """
    if type(loss) is not SmoothL1Loss or loss.beta < 1e-5:  # below which it is the absolute value
        return loss(prediction, expected, reduction="none").sum()
    total = F.smooth_l1_loss(prediction, expected, reduction="sum", delta=loss.beta)
    return total * (loss.loss_weight / loss.beta)
