"""The assignment by the greatest IoU from a matrix of all boxes and anchors, for many images at once."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import Tensor
from ppdet.modeling.assigners import MaxIoUAssigner

#: Pairs of a box and an anchor in a matrix of several images: 64 MiB of IoUs, and with the operands seven times that.
MOST_PAIRS = 1 << 24


def assign_by_matrix(configured: MaxIoUAssigner, anchors: Tensor, boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The same assignment as ppdet's MaxIoUAssigner, in as many operators for all images as that takes for one.

    Args:
        configured: ppdet's assigner with its thresholds.
        anchors: float32 ``[M, 4]``, corners in pixels.
        boxes: float32 ``[G_i, 4]`` for each of N images.

    Returns:
        Int64 ``[N, M]``, the index of each anchor's box, the first of equal ones; and int32 ``[N, M]``: 1 (foreground),
        0 (background) or -1 (to be ignored).
    """
    rows = max(1, *(len(one) for one in boxes))
    step = max(1, MOST_PAIRS // (rows * len(anchors)))
    padded = [_padded(one, rows) for one in boxes]
    parts = [
        _assign(configured, anchors, paddle.stack(padded[start : start + step])) for start in range(0, len(boxes), step)
    ]
    matches, labels = zip(*parts)
    return (matches[0], labels[0]) if len(parts) == 1 else (paddle.concat(matches), paddle.concat(labels))


def _padded(boxes: Tensor, rows: int) -> Tensor:
    """Boxes followed by some without area, which no anchor overlaps with."""
    missing = rows - len(boxes)
    return paddle.concat([boxes, paddle.zeros([missing, 4], boxes.dtype)]) if missing else boxes


def _assign(configured: MaxIoUAssigner, anchors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    iou = _iou(boxes, anchors)
    highest, match = iou.max(axis=1), iou.argmax(axis=1)
    is_foreground = highest >= configured.positive_overlap
    if configured.allow_low_quality:
        is_best = (iou == iou.max(axis=2, keepdim=True)).logical_and(iou > 0)
        is_foreground = is_foreground.logical_or(is_best.any(axis=1))
    is_between = (highest >= configured.negative_overlap).logical_and(is_foreground.logical_not())
    return match, is_foreground.astype("int32") - is_between.astype("int32")


def _iou(boxes: Tensor, anchors: Tensor) -> Tensor:
    """``[N, G, M]``, in the arithmetic of ppdet's ``bbox_overlaps``."""
    low, high = boxes.unsqueeze(2).split(2, axis=3)
    anchor_low, anchor_high = anchors.split(2, axis=1)
    extent = (paddle.minimum(high, anchor_high) - paddle.maximum(low, anchor_low)).clip(min=0)
    intersection = extent.prod(axis=3)
    union = (high - low).prod(axis=3) + (anchor_high - anchor_low).prod(axis=1) - intersection
    return paddle.where(intersection > 0, intersection / union, paddle.zeros_like(intersection))
