"""Boxes in pixels, inside their image."""

from __future__ import annotations

import math
from typing import NamedTuple

from paddle_focal.data.checks.boxes import TOLERANCE
from paddle_focal.data.formats.findings import FormatError

_DECIMALS = 3  # as many as ppdet keeps


class Box(NamedTuple):
    """An object. ``difficult`` is VOC's: hard to recognise, trained on but not counted in evaluation."""

    category: str
    x1: float
    y1: float
    x2: float
    y2: float
    difficult: bool = False


class Clipped(NamedTuple):
    """Corners inside an image; whether they lay out of it by more than rounding explains."""

    corners: tuple[float, float, float, float]
    reached_out: bool


def clip(x1: float, y1: float, x2: float, y2: float, width: float, height: float) -> Clipped:
    """The part of a box that is in its image, from 0 to ``width`` and ``height``, rounded to what ppdet keeps.

    Raises:
        FormatError: the box has no area, or none in the image.
    """
    if not (x1 < x2 and y1 < y2):
        raise FormatError(f"no area: x from {x1:g} to {x2:g}, y from {y1:g} to {y2:g}")
    left, top = (round(max(low, 0.0), _DECIMALS) for low in (x1, y1))
    right, bottom = (round(min(high, float(end)), _DECIMALS) for high, end in ((x2, width), (y2, height)))
    if not (left < right and top < bottom):
        raise FormatError(
            f"no area in the image: x from {x1:g} to {x2:g}, y from {y1:g} to {y2:g}, of 0 to {width:g} and {height:g}"
        )
    reached_out = min(x1, y1) < -TOLERANCE or x2 > width + TOLERANCE or y2 > height + TOLERANCE
    return Clipped((left, top, right, bottom), reached_out)


def number(name: str, value: object) -> float:
    """A finite number, of text or as JSON has it.

    Raises:
        FormatError: it is none.
    """
    try:
        result = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if not math.isfinite(result):
        raise FormatError(f"{name} must be a finite number, but is {value!r}")
    return result
