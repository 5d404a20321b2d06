"""Which anchor is trained to find which box, by the native library; on a GPU nothing here waits but the probe."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import paddle
from paddle import Tensor, _C_ops
from paddle.base import core

from paddle_focal.ops import devices
from paddle_focal.ops.native import gpu
from paddle_focal.ops.native.interface import ASSIGNED, ASSIGNMENT, OK, UnavailableError
from paddle_focal.ops.native.library import library
from paddle_focal.ops.native.params import FORMATS


class Rule(NamedTuple):
    """What is foreground.

    Attributes:
        positive: the IoU from which an anchor is foreground.
        negative: the IoU below which it is background, if it is not foreground.
        keeps_best: whether the anchors with a box's greatest IoU are foreground, whatever it is.
        tolerance: by how much an IoU may be less than the greatest one and count as equal.
    """

    positive: float
    negative: float
    keeps_best: bool
    tolerance: float = 0.0


def assign(
    rule: Rule,
    anchors: Tensor,
    boxes: Tensor,
    classes: Tensor | None,
    starts: Sequence[int],
    background: int,
    ignore_index: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Labels, whether each anchor is foreground, and the row of its box, or G; ``[N, M]`` each.

    Args:
        rule: what is foreground.
        anchors: float32 ``[M, 4]``, corners in pixels; like all tensors here, contiguous.
        boxes: float32 ``[G, 4]`` of all images, one image after the other; there may be more rows.
        classes: int32 or int64, of each box; None if there is no box.
        starts: the first box of each image, and G.
        background: the label of anchors whose IoUs are low.
        ignore_index: the label of those between.
    """
    shape, dtype = [len(starts) - 1, len(anchors)], paddle.int32 if classes is None else classes.dtype
    label, row, is_foreground = (_C_ops.empty(shape, one, anchors.place) for one in (dtype, paddle.int64, paddle.bool))
    best = paddle.zeros([max(starts[-1], 1)], "int32")
    firsts = (ctypes.c_int64 * len(starts))(*starts)
    given = ASSIGNMENT.pack(
        anchors.data_ptr(), boxes.data_ptr(), 0 if classes is None else classes.data_ptr(), FORMATS[dtype],
        ctypes.addressof(firsts), shape[1], shape[0], rule.positive, rule.negative, rule.tolerance, rule.keeps_best,
        background, ignore_index,
    )  # fmt: skip
    _run(anchors, given, ASSIGNED.pack(*(one.data_ptr() for one in (best, label, row, is_foreground))))
    return label, is_foreground, row


def _run(anchors: Tensor, given: bytes, assigned: bytes) -> None:
    if devices.kind(anchors) == "gpu":
        number = gpu.device_number(anchors)
        kernels = gpu.kernels_on(number)
        arguments = kernels.packed, given, assigned, gpu.current_stream(number)
        status = kernels.run(library().focal_gpu_assign, *arguments)
    else:
        status = library().focal_assign(given, assigned)
    if status != OK:
        raise RuntimeError(f"assignment of anchors: {library().focal_error().decode()}")


def reason_against(anchors: Tensor) -> str | None:
    """Why the library cannot serve on the device of the anchors; None if it can."""
    kind = devices.kind(anchors)
    return _reason_against(kind, gpu.device_number(anchors) if kind == "gpu" else 0)


@cache
def _reason_against(kind: str, number: int) -> str | None:
    if kind not in ("cpu", "gpu"):
        return f"the native library does not assign anchors on {kind}"
    try:
        library()
    except UnavailableError as error:
        return str(error)
    return gpu.why_not(number, _is_right) if kind == "gpu" else None


def _is_right(place: core.Place) -> bool:
    """By hand: IoUs of 1 and 1/3, 1/4 as a box's best, and none; and an image without boxes."""
    anchors = [[0, 0, 10, 10], [5, 0, 15, 10], [100, 0, 110, 10], [50, 50, 60, 60]]
    boxes = [[0, 0, 10, 10], [100, 0, 105, 5]]
    anchors, boxes = (paddle.to_tensor(rows, dtype="float32", place=place) for rows in (anchors, boxes))
    classes = paddle.to_tensor([7, 8], dtype="int32", place=place)
    with devices.at_home(anchors):
        results = assign(Rule(0.5, 0.3, True), anchors, boxes, classes, [0, 2, 2], 9, -1)
    none = [[9] * 4, [False] * 4, [2] * 4]
    first = [[7, -1, 8, 9], [True, False, True, False], [0, 2, 1, 2]]
    return all(result.tolist() == [one, other] for result, one, other in zip(results, first, none))
