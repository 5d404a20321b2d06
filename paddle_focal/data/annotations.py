"""Reading annotation files that are known to be sound, and choosing some of their images."""

from __future__ import annotations

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO


def evenly_spaced(total: int, count: int) -> list[int]:
    """At most ``count`` of the indices 0 to ``total - 1``, the first and the last among them."""
    return np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()


def read_annotations(path: str) -> COCO:
    """A COCO annotation file, without pycocotools' messages."""
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(path)
