"""What RetinaNet's anchors have to predict, in the order in which the convolutions write their outputs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

import paddle
from paddle import Tensor


@dataclass(frozen=True)
class Level:
    """The part of one level of the pyramid.

    Attributes:
        anchors: which of the M anchors of an image are this level's.
        places: H * W.
    """

    anchors: slice
    places: int


class Anchors:
    """The anchors of feature maps of given sizes, computed once for each and kept.

    ppdet's generator orders the anchors of a level by place, then by kind. A convolution's output ``[N, A * C, H, W]``
    has all places of one kind together, and so do these: kind, then place.

    Args:
        generator: ppdet's anchor generator. It waits for a GPU, so a new size does.
        kept: sizes that are kept, the latest.
    """

    def __init__(self, generator: Callable[[list[Tensor]], list[Tensor]], kept: int = 32) -> None:
        self._generator = generator
        self._kept = kept
        self._by_size: OrderedDict[tuple, tuple[Tensor, list[Level]]] = OrderedDict()

    def __call__(self, outputs: Sequence[Tensor]) -> tuple[Tensor, list[Level]]:
        """The anchors ``[M, 4]`` of all levels as corners in pixels, and where the levels are among them."""
        size = (paddle.device.get_device(), *(tuple(output.shape[-2:]) for output in outputs))
        if size not in self._by_size:
            self._by_size[size] = self._compute(outputs)
        self._by_size.move_to_end(size)
        if len(self._by_size) > self._kept:
            self._by_size.popitem(last=False)
        return self._by_size[size]

    @paddle.no_grad()
    def _compute(self, outputs: Sequence[Tensor]) -> tuple[Tensor, list[Level]]:
        anchors, levels, start = [], [], 0
        # The generator reads the sizes, on the CPU of Paddle 2.6 not those of half precision.
        maps = [paddle.empty([1, 1, *output.shape[-2:]], "float32") for output in outputs]
        for output, level_anchors in zip(outputs, self._generator(maps)):
            places = output.shape[-2] * output.shape[-1]
            anchors.append(level_anchors.reshape([places, -1, 4]).transpose([1, 0, 2]).reshape([-1, 4]))
            levels.append(Level(slice(start, start + len(level_anchors)), places))
            start += len(level_anchors)
        return paddle.concat(anchors), levels


@dataclass(frozen=True)
class AnchorTargets:
    """The targets of N images with M anchors each.

    Attributes:
        label: integer ``[N, M]``: class index, the number of classes for background, or the index to ignore.
        is_foreground: bool ``[N, M]``.
        row: int64 ``[N, M]``, which row of ``boxes`` is the anchor's.
        boxes: float32 ``[G + 1, 4]``, the boxes of all images as corners in pixels; the last row belongs to anchors
            without one.
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
        assigner: ppdet's: for anchors and boxes, the box of each anchor, and 1 (it is the anchor's), 0 (the anchor
            is background) or -1 (it is to be ignored). MaxIoUAssigner does not wait for a GPU.
        anchors: ``[M, 4]``.
        gt_bbox: ``[G_i, 4]`` for each image; there may be none.
        gt_class: ``[G_i, 1]`` or ``[G_i]``.
        num_classes: label of background.
        ignore_index: label of what is to be ignored.
    """
    nobody = sum(len(boxes) for boxes in gt_bbox)
    rows, labels, offset = [], [], 0
    for boxes in gt_bbox:
        match, match_label = assigner(anchors, boxes)
        rows.append(paddle.where(match_label == 1, match + offset, paddle.full_like(match, nobody)))
        labels.append(match_label)
        offset += len(boxes)
    row, is_ignored = paddle.stack(rows), paddle.stack(labels) < 0
    dtype = gt_class[0].dtype
    classes = paddle.concat([*(one.flatten() for one in gt_class), paddle.full([1], num_classes, dtype)])
    label = classes[row]
    return AnchorTargets(
        label=paddle.where(is_ignored, paddle.full_like(label, ignore_index), label),
        is_foreground=row < nobody,
        row=row,
        boxes=paddle.concat([*gt_bbox, paddle.zeros([1, 4], gt_bbox[0].dtype)]),
    )
