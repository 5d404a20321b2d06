"""The labels and boxes that anchors are trained to predict."""

from __future__ import annotations

import itertools
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
            for a GPU. One that has a method ``of_images`` does so for the boxes of all images at once; one that has a
            method ``targets``, which may return None, makes label, ``is_foreground`` and row itself.
        anchors: ``[M, 4]``.
        gt_bbox: ``[G_i, 4]`` for each image; there may be none.
        gt_class: ``[G_i, 1]`` or ``[G_i]``.
        num_classes: also the label of background.
        ignore_index: the label of anchors that are to be ignored.
    """
    starts = [0, *itertools.accumulate(len(boxes) for boxes in gt_bbox)]
    boxes = paddle.concat([*gt_bbox, anchors[:1]])
    targets = getattr(assigner, "targets", None)
    made = targets(anchors, boxes, starts, gt_class, num_classes, ignore_index) if targets else None
    if made:
        return AnchorTargets(*made, boxes)
    together = getattr(assigner, "of_images", None)
    match, label = together(anchors, gt_bbox) if together else _one_by_one(assigner, anchors, gt_bbox)
    is_foreground = label == 1
    offsets = paddle.concat([paddle.full([1, 1], start, match.dtype) for start in starts[:-1]])
    row = paddle.where(is_foreground, match + offsets, paddle.full_like(match, starts[-1]))
    classes = paddle.concat([*(one.flatten() for one in gt_class), paddle.full([1], num_classes, gt_class[0].dtype)])
    wanted = classes[row]
    return AnchorTargets(
        label=paddle.where(label < 0, paddle.full_like(wanted, ignore_index), wanted),
        is_foreground=is_foreground,
        row=row,
        boxes=boxes,
    )


def _one_by_one(assigner: Callable, anchors: Tensor, gt_bbox: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    matches, labels = zip(*(assigner(anchors, boxes) for boxes in gt_bbox))
    return paddle.stack(matches), paddle.stack(labels)
