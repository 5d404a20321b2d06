"""Assigning anchors to boxes by their greatest intersection over union, for all images of a batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Callable

import paddle
from paddle import Tensor
from ppdet.modeling.assigners import MaxIoUAssigner

from paddle_focal.detection.assigners.iou_matrix import assign_by_matrix
from paddle_focal.ops import ladder
from paddle_focal.ops.native import assignment

Assigner = Callable[[Tensor, Tensor], "tuple[Tensor, Tensor]"]


def assigner_for(configured: Assigner) -> Assigner:
    """The configured assigner, or :class:`BatchMaxIoUAssigner` for ppdet's MaxIoUAssigner."""
    return BatchMaxIoUAssigner(configured) if type(configured) is MaxIoUAssigner else configured


@cache
def _tolerance() -> float:
    """Up to 3.0, Paddle takes numbers less than 1e-8 apart as equal, so more anchors share a box's greatest IoU."""
    return 1e-8 if bool(paddle.to_tensor(1e-9, "float32", place=paddle.CPUPlace()) == 0.0) else 0.0


class BatchMaxIoUAssigner:
    """The same assignment as ppdet's MaxIoUAssigner, for many images.

    The native library compares boxes and anchors without a matrix of all pairs, in the same float32 arithmetic. Where
    it does not serve, Paddle's operators compute that matrix.

    Args:
        configured: ppdet's assigner with its thresholds.
    """

    def __init__(self, configured: MaxIoUAssigner) -> None:
        self._configured = configured

    def targets(
        self,
        anchors: Tensor,
        boxes: Tensor,
        starts: Sequence[int],
        classes: Sequence[Tensor],
        background: int,
        ignore_index: int,
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """Label, whether it is foreground, and row of each anchor; None where the native library does not serve.

        See :func:`paddle_focal.ops.native.assignment.assign`; here ``classes`` has those of each image.
        """
        is_usual = boxes.dtype == paddle.float32 and classes[0].dtype in (paddle.int32, paddle.int64)
        if not is_usual or not ladder.assigns(anchors):
            return None
        given = self._configured
        rule = assignment.Rule(
            given.positive_overlap, given.negative_overlap, bool(given.allow_low_quality), _tolerance()
        )
        found = paddle.concat(list(classes)) if starts[-1] else None
        return assignment.assign(rule, anchors, boxes, found, starts, background, ignore_index)

    def of_images(self, anchors: Tensor, boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """See :func:`paddle_focal.detection.assigners.iou_matrix.assign_by_matrix`."""
        return assign_by_matrix(self._configured, anchors, boxes)
