"""What PaddleDetection needs on today's Paddle, one fix at a time."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Callable
from unittest.mock import patch

import paddle
from paddle import Tensor
from PIL import ImageDraw, ImageFont

from paddle_focal import _interrupt, fonts

#: Modules that ppdet imports, with the packages of other names that have them. paddledet 2.6.0's own requirements
#: cannot be installed together: the empty package sklearn, NumPy below 1.24, an OpenCV that needs libGL. NumPy 2 and
#: these packages work instead.
DISTRIBUTIONS = {"cv2": "opencv-python-headless", "sklearn": "scikit-learn", "yaml": "PyYAML"}
_FONT_SIZE = 12  # pixels, about that of Pillow's own font


def import_ppdet() -> None:
    """Import ppdet without its chatter, or say how to install it.

    ppdet prints five lines about packages for tracking.

    Raises:
        ImportError: ppdet or a package that it needs is not installed.
    """
    chatter = io.StringIO()
    try:
        with _interrupt.at_once(), contextlib.redirect_stdout(chatter):
            importlib.import_module("ppdet")
    except ImportError as error:
        raise ImportError(
            f"paddle_focal.detection needs PaddleDetection (ppdet), which cannot be imported: {error}. "
            f"{_remedy(error)} paddle_focal.SigmoidFocalLoss works without it."
        ) from error
    # ppdet's loggers have kept the standard output that they found during the import.
    for logger in logging.root.manager.loggerDict.values():
        for handler in getattr(logger, "handlers", ()):
            if getattr(handler, "stream", None) is chatter:
                handler.setStream(sys.stdout)


def _remedy(error: ImportError) -> str:
    package = error.name or "ppdet"
    if isinstance(error, ModuleNotFoundError) and package != "ppdet" and "." not in package:
        return f"`pip install {DISTRIBUTIONS.get(package, package)}` brings it."
    return (
        "Install it with `pip install --no-deps paddledet==2.6.0` and the packages it imports (requirements.txt lists "
        "them), or put a PaddleDetection source tree on PYTHONPATH."
    )


def save_in(trainer, folder: Path) -> None:
    """Make ppdet write its checkpoints into a folder, where its develop branch would write into ``save_dir`` itself."""
    from ppdet.engine.callbacks import Checkpointer

    for callback in trainer._callbacks:
        if isinstance(callback, Checkpointer):
            callback.save_dir = str(folder)


@contextlib.contextmanager
def exportable() -> Iterator[None]:
    """Supplies what ppdet up to 2.7 lacks when it traces a model for export.

    Paddle from 2.6 on traces functions piece by piece unless told otherwise, and then there is no program to export:
    "Can't call main_program when full_graph=False". From 3.0 on its graphs are PIR, for which ppdet has no call of
    non-maximum suppression: "The type of '%BBoxes' in operator multiclass_nms3 should be one of [str, bytes, ...".
    """
    from ppdet.modeling import ops

    with contextlib.ExitStack() as cures:
        whole = functools.partial(paddle.jit.to_static, full_graph=True)
        cures.enter_context(patch.object(paddle.jit, "to_static", whole))
        if paddle.base.framework.use_pir_api():
            cures.enter_context(patch.object(ops, "multiclass_nms", _multiclass_nms))
        yield


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
    """``ppdet.modeling.ops.multiclass_nms``, with the same arguments and results, for PIR graphs."""
    options = (nms_top_k, keep_top_k, nms_threshold, normalized, nms_eta, background_label)
    boxes, index, number = paddle._C_ops.multiclass_nms3(bboxes, scores, rois_num, score_threshold, *options)
    return boxes, number if return_rois_num else None, index if return_index else None


@contextlib.contextmanager
def drawable(names: Mapping[int, str] = MappingProxyType({})) -> Iterator[None]:
    """Supplies what ppdet lacks when it draws labels.

    ppdet up to 2.7 calls ``ImageDraw.textsize``, which Pillow 10 has removed, and draws with Pillow's own font, which
    has Latin letters only. Its develop branch downloads a font, into a folder named ``~`` of the working directory,
    because it does not expand that name.

    Args:
        names: of the categories, by id.
    """
    from ppdet.utils import visualizer

    with contextlib.ExitStack() as cures:
        if not hasattr(ImageDraw.ImageDraw, "textsize"):
            cures.enter_context(patch.object(ImageDraw.ImageDraw, "textsize", _textsize, create=True))
        if hasattr(visualizer, "get_path"):
            into_home = functools.partial(_download_into_home, visualizer.get_path)
            cures.enter_context(patch.object(visualizer, "get_path", into_home))
        else:
            shown, font = fonts.for_pillow(names)
            cures.enter_context(patch.object(visualizer, "draw_bbox", _with_names(visualizer.draw_bbox, shown)))
            if font:
                cures.enter_context(patch.object(ImageDraw.ImageDraw, "font", ImageFont.truetype(font, _FONT_SIZE)))
        yield


def _with_names(draw_bbox: Callable, names: Mapping[int, str]) -> Callable:
    def draw(image, im_id, catid2name, *rest):
        return draw_bbox(image, im_id, {**catid2name, **names}, *rest)

    return draw


@contextlib.contextmanager
def any_ending() -> Iterator[None]:
    """Makes ppdet predict on images whatever their names end in; it passes over all but .jpg, .jpeg, .png and .bmp."""
    from ppdet.data.source import dataset

    with patch.object(dataset, "_is_valid_file", os.path.isfile):
        yield


def _textsize(draw: ImageDraw.ImageDraw, text: str) -> tuple[int, int]:
    return draw.textbbox((0, 0), text)[2:]


def _download_into_home(get_path: Callable[[str, str], tuple[str, bool]], url: str, folder: str) -> tuple[str, bool]:
    return get_path(url, os.path.expanduser(folder))
