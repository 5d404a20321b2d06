"""The labels and boxes that anchors are trained to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

import paddle
from paddle import Tensor


@dataclass(frozen=True)
class AnchorTargets:
    """The targets of N images with M anchors each.

    Attributes:
        label: integer ``[N, M]``: class index, the number of classes for background, or the index to ignore.
        is_foreground: bool ``[N, M]``.
        row: int64 ``[N, M]``, the row of ``boxes`` that belongs to each anchor.
        boxes: float32 ``[G + 1, 4]``, the boxes of all images as corners in pixels; the last row, any box, is for
            anchors that have none.
    """

    label: Tensor
    is_foreground: Tensor
    row: Tensor
    boxes: Tensor


@paddle.no_grad()
def assign(
    assigner: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    anchors: Tensor,
    gt_bbox: Sequence[Tensor],
    gt_class: Sequence[Tensor],
    num_classes: int,
    ignore_index: int,
) -> AnchorTargets:
    """Assigns the anchors to the boxes of each image.

    Args:
        assigner: ppdet's. From anchors and boxes it computes the index of each anchor's box, and 1 (the box is the
            anchor's), 0 (the anchor is background) or -1 (the anchor is to be ignored). MaxIoUAssigner does not wait
            for a GPU.
        anchors: ``[M, 4]``.
        gt_bbox: ``[G_i, 4]`` for each image; there may be none.
        gt_class: ``[G_i, 1]`` or ``[G_i]``.
        num_classes: also the label of background.
        ignore_index: the label of anchors that are to be ignored.
    """
    unmatched = sum(len(boxes) for boxes in gt_bbox)
    rows, labels, offset = [], [], 0
    for boxes in gt_bbox:
        match, match_label = assigner(anchors, boxes)
        rows.append(paddle.where(match_label == 1, match + offset, paddle.full_like(match, unmatched)))
        labels.append(match_label)
        offset += len(boxes)
    row, is_ignored = paddle.stack(rows), paddle.stack(labels) < 0
    dtype = gt_class[0].dtype
    classes = paddle.concat([*(one.flatten() for one in gt_class), paddle.full([1], num_classes, dtype)])
    label = classes[row]
    return AnchorTargets(
        label=paddle.where(is_ignored, paddle.full_like(label, ignore_index), label),
        is_foreground=row < unmatched,
        row=row,
        boxes=paddle.concat([*gt_bbox, anchors[:1]]),
    )
