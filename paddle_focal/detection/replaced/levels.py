"""What heads of a feature pyramid share."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import Tensor

from paddle_focal.losses.base import FocalLoss


def sum_over_levels(loss: FocalLoss, logits: Sequence[Tensor], label: Tensor, score: Tensor) -> Tensor:
    """The sum of a loss over the levels of a pyramid, whose logits are read where they lie.

    Args:
        loss: of class indices with scores.
        logits: ``[N, C, H, W]`` of each level.
        label: class indices ``[N, L]``, those of one level after those of another.
        score: the targets of the labels' own classes, ``[N, L]``. IoUs of rotated boxes may be rounded up beyond 1.
    """
    places = [logit.shape[2] * logit.shape[3] for logit in logits]
    targets = zip(label.split(places, axis=1), score.clip(max=1).split(places, axis=1))
    return paddle.add_n(
        [loss(logit.flatten(2), target, reduction="sum", axis=1) for logit, target in zip(logits, targets)]
    )


def zero_of(*predictions: Tensor) -> Tensor:
    """0, with a gradient of zeros for predictions that no loss reads, so that all ranks have the same gradients."""
    return paddle.add_n([prediction.flatten()[:1].sum().astype("float32") * 0 for prediction in predictions])


def for_any_release(targets: dict) -> dict:
    """Targets that older releases, too, assign to places.

    Classes are int64: they are added to int64 indices, which Paddle 3 refuses. A batch without any boxes gets a row of
    padding: without one the assigners of 2.6.0 give one result less than the heads expect.
    """
    targets = {name: _with_a_row(value) if paddle.is_tensor(value) else value for name, value in targets.items()}
    classes = targets["gt_class"]
    return {**targets, "gt_class": classes.astype("int64") if paddle.is_tensor(classes) else classes}


def _with_a_row(padded: Tensor) -> Tensor:
    """``[N, boxes, ...]``; with one box of zeros for each image if there is none."""
    images, *sides = padded.shape
    return paddle.zeros([images, 1, *sides[1:]], padded.dtype) if sides and sides[0] == 0 else padded
