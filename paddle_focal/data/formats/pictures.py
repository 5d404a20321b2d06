"""Sizes of images, as PaddleDetection decodes them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image

from paddle_focal.data.formats.findings import FormatError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_ORIENTATION = next(tag for tag, name in ExifTags.TAGS.items() if name == "Orientation")

Size = tuple[int, int]


class Picture(NamedTuple):
    """Width and height of an image.

    Attributes:
        size: as ppdet's Decode gives it, turned according to EXIF.
        stored: as the file has it.
        is_turned: EXIF says that the image is rotated or mirrored.
    """

    size: Size
    stored: Size
    is_turned: bool


def look_at(path: Path) -> Picture:
    """The sizes of an image, from its header unless it is turned.

    Raises:
        FormatError: the file is no image.
    """
    try:
        with Image.open(path) as image:
            stored, orientation = image.size, _orientation(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FormatError(f"cannot be read as an image: {error}") from None
    if orientation == 1:
        return Picture(stored, stored, False)
    decoded = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)  # ppdet's Decode does the same
    if decoded is None:
        raise FormatError("cannot be decoded by OpenCV, and so by PaddleDetection")
    height, width = decoded.shape[:2]
    return Picture((width, height), stored, orientation in range(2, 9))


def _orientation(image: Image.Image) -> int | None:
    try:
        # PngImageFile's own getexif decodes the whole image.
        return Image.Image.getexif(image).get(_ORIENTATION, 1)
    except Exception:  # whatever broken EXIF raises; OpenCV makes of it what it can
        return None


def check_stated(stated: Size, picture: Picture) -> None:
    """Compare the size that an annotation states with its image's.

    Raises:
        FormatError: they differ, so that the boxes may be wrong.
    """
    if stated == picture.size:
        return
    said = f"states an image of {stated[0]}x{stated[1]}, but it is {picture.size[0]}x{picture.size[1]}"
    if stated == picture.stored:
        raise FormatError(
            f"{said} once it is turned as its EXIF data say, which PaddleDetection does: annotate the turned image, or "
            "take the EXIF orientation out of the file"
        )
    raise FormatError(f"{said}: its boxes may be wrong")
