"""Assigning anchors to boxes by their greatest intersection over union, without a matrix of all pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Callable

import numpy as np
import paddle
from paddle import Tensor
from ppdet.modeling.assigners import MaxIoUAssigner

from paddle_focal.detection.assigners.iou_matrix import assign_by_matrix
from paddle_focal.ops.devices import kind

BLOCK = 4096  # anchors: their temporaries stay in the second-level cache

Assigner = Callable[[Tensor, Tensor], "tuple[Tensor, Tensor]"]


def assigner_for(configured: Assigner) -> Assigner:
    """The configured assigner, or :class:`BlockMaxIoUAssigner` for ppdet's MaxIoUAssigner if both do the same."""
    return BlockMaxIoUAssigner(configured) if type(configured) is MaxIoUAssigner and _compares_exactly() else configured


@cache
def _compares_exactly() -> bool:
    """False up to Paddle 3.0: it takes numbers 1e-8 apart as equal, so more anchors share a box's greatest IoU."""
    return not bool(paddle.to_tensor(1e-9, "float32", place=paddle.CPUPlace()) == 0.0)


@dataclass(frozen=True)
class _Block:
    """Consecutive anchors: the corners x0, y0, x1 and y1, each ``[n]``, the areas, and where the block starts."""

    corners: np.ndarray
    area: np.ndarray
    start: int


class BlockMaxIoUAssigner:
    """The same assignment as ppdet's MaxIoUAssigner, on the CPU in a tenth of its time.

    ppdet computes a matrix of all boxes and anchors in a dozen operators. Here each block of anchors is compared only
    with the boxes that it can touch, in the same float32 arithmetic. On a GPU the matrix is faster, for all images at
    once.

    Args:
        configured: ppdet's assigner with its thresholds.
    """

    def __init__(self, configured: MaxIoUAssigner) -> None:
        self._configured = configured
        self._anchors: Tensor | None = None

    def __call__(self, anchors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """The box of each anchor, and whether the anchor is foreground, background or ignored.

        Args:
            anchors: float32 ``[M, 4]``, corners in pixels; not changed between calls.
            boxes: float32 ``[G, 4]``.

        Returns:
            Int64 ``[M]``, the index of the box with the greatest IoU, the first of equal ones; and int32 ``[M]``: 1
            (foreground), 0 (background) or -1 (to be ignored).
        """
        match, label = self.of_images(anchors, [boxes])
        return match[0], label[0]

    def of_images(self, anchors: Tensor, boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The same of N images, ``[N, M]``."""
        if kind(anchors) != "cpu":
            return assign_by_matrix(self._configured, anchors, boxes)
        matches, labels = zip(*(self._of_image(anchors, one) for one in boxes))
        return paddle.to_tensor(np.stack(matches)), paddle.to_tensor(np.stack(labels))

    def _of_image(self, anchors: Tensor, boxes: Tensor) -> tuple[np.ndarray, np.ndarray]:
        if anchors is not self._anchors:
            self._anchors = anchors
            self._prepare(anchors.numpy())
        iou, match, highest = self._match(boxes.numpy())
        label = np.full(len(iou), -1, "int32")
        label[iou < np.float32(self._configured.negative_overlap)] = 0
        label[iou >= np.float32(self._configured.positive_overlap)] = 1
        if self._configured.allow_low_quality:
            label[highest] = 1
        return match, label

    def _prepare(self, anchors: np.ndarray) -> None:
        blocks = []
        for start in range(0, len(anchors), BLOCK):
            corners = np.ascontiguousarray(anchors[start : start + BLOCK].T)
            x0, y0, x1, y1 = corners
            blocks.append(_Block(corners, (x1 - x0) * (y1 - y0), start))
        self._blocks = blocks
        self._low = np.array([block.corners[:2].min(axis=1) for block in blocks])
        self._high = np.array([block.corners[2:].max(axis=1) for block in blocks])

    def _match(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """The greatest IoU of each anchor, the box that gives it, and the anchors that match some box best."""
        anchors = sum(len(block.area) for block in self._blocks)
        iou, match = np.zeros(anchors, "float32"), np.zeros(anchors, "int64")
        best = [_Best() for _ in boxes]
        low, high = self._low[:, None], self._high[:, None]
        touching = ((low < boxes[:, 2:]) & (high > boxes[:, :2])).all(axis=2)
        for block, touched in zip(self._blocks, touching):
            part = slice(block.start, block.start + len(block.area))
            for g in np.flatnonzero(touched):
                overlap = _iou(block, boxes[g])
                best[g].add(overlap, block.start)
                np.copyto(match[part], g, where=overlap > iou[part])
                np.maximum(iou[part], overlap, out=iou[part])
        return iou, match, [anchor for one in best for anchor in one.anchors]


class _Best:
    """The anchors that share the greatest IoU above 0 with a box."""

    def __init__(self) -> None:
        self.anchors: list[int] = []
        self._iou = np.float32(0)

    def add(self, iou: np.ndarray, start: int) -> None:
        highest = iou.max()
        if highest > self._iou:
            self.anchors, self._iou = [], highest
        if highest == self._iou > 0:
            self.anchors += (np.flatnonzero(iou == highest) + start).tolist()


def _iou(block: _Block, box: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = block.corners
    width = np.maximum(np.minimum(x1, box[2]) - np.maximum(x0, box[0]), 0)
    height = np.maximum(np.minimum(y1, box[3]) - np.maximum(y0, box[1]), 0)
    intersection = width * height
    union = (box[2] - box[0]) * (box[3] - box[1]) + block.area - intersection
    return intersection / union
