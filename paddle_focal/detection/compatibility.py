"""What PaddleDetection needs on today's Paddle, one cure at a time."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator

import paddle
from paddle import Tensor
from PIL import ImageDraw


def import_ppdet() -> None:
    """Import ppdet without its chatter, or say how to install it.

    ppdet prints five lines about packages for tracking, and Paddle's extension builder warns that ccache is missing.

    Raises:
        ImportError: ppdet or a package that it needs is not installed.
    """
    chatter = io.StringIO()
    try:
        with contextlib.redirect_stdout(chatter), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("ppdet")
    except ImportError as error:
        raise ImportError(
            f"paddle_focal.detection needs PaddleDetection (ppdet), which cannot be imported: {error}. Install it with "
            "`pip install --no-deps paddledet==2.6.0` and the packages it imports (requirements.txt lists them), or "
            "put a PaddleDetection source tree on PYTHONPATH. paddle_focal.SigmoidFocalLoss works without it."
        ) from error
    # ppdet's loggers took hold of standard output as it was during the import.
    for logger in logging.root.manager.loggerDict.values():
        for handler in getattr(logger, "handlers", ()):
            if getattr(handler, "stream", None) is chatter:
                handler.setStream(sys.stdout)


@contextlib.contextmanager
def exportable() -> Iterator[None]:
    """What ppdet up to 2.7 leaves out where it traces a model to export it.

    Paddle from 2.6 on traces functions piece by piece unless told otherwise, and then there is no program to export:
    "Can't call main_program when full_graph=False". From 3.0 on its graphs are PIR, for which ppdet has no call of
    non-maximum suppression: "The type of '%BBoxes' in operator multiclass_nms3 should be one of [str, bytes, ...".
    """
    from ppdet.modeling import ops

    to_static, multiclass_nms = paddle.jit.to_static, ops.multiclass_nms
    paddle.jit.to_static = functools.partial(to_static, full_graph=True)
    if hasattr(paddle, "pir_utils"):
        ops.multiclass_nms = _multiclass_nms
    try:
        yield
    finally:
        paddle.jit.to_static, ops.multiclass_nms = to_static, multiclass_nms


def _multiclass_nms(
    bboxes: Tensor,
    scores: Tensor,
    score_threshold: float,
    nms_top_k: int,
    keep_top_k: int,
    nms_threshold: float = 0.3,
    normalized: bool = True,
    nms_eta: float = 1.0,
    background_label: int = -1,
    return_index: bool = False,
    return_rois_num: bool = True,
    rois_num: Tensor | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """``ppdet.modeling.ops.multiclass_nms``, with its arguments and results, in a graph of PIR."""
    options = (nms_top_k, keep_top_k, nms_threshold, normalized, nms_eta, background_label)
    boxes, index, number = paddle._C_ops.multiclass_nms3(bboxes, scores, rois_num, score_threshold, *options)
    return boxes, number if return_rois_num else None, index if return_index else None


@contextlib.contextmanager
def drawable() -> Iterator[None]:
    """``ImageDraw.textsize``, with which ppdet up to 2.7 draws labels, and which Pillow 10 has removed."""
    if hasattr(ImageDraw.ImageDraw, "textsize"):
        yield
        return
    ImageDraw.ImageDraw.textsize = lambda draw, text: draw.textbbox((0, 0), text)[2:]
    try:
        yield
    finally:
        del ImageDraw.ImageDraw.textsize
