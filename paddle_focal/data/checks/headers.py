"""What the first and the last bytes of an image file tell of how PaddleDetection decodes it."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import Image

_ORIENTATION = 0x0112  # the tag of EXIF
#: Formats of which Pillow and OpenCV hold the same view, with their last bytes.
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}


class Header(NamedTuple):
    """What is known of an image.

    Attributes:
        width: of the image as PaddleDetection decodes it, turned as EXIF says.
        height: likewise.
        orientation: EXIF's, from 1, as the image lies in the file, to 8; from 5 on, width and height are exchanged.
        is_deep: more than 8 bits per channel.
    """

    width: int
    height: int
    orientation: int
    is_deep: bool


def read_header(path: str) -> Header | None:
    """The header of a file, None if PaddleDetection cannot decode it as an image.

    A file that has no end, or of a format that is not known here, is decoded as a whole. Damage in the midst of a file
    remains unseen.
    """
    try:
        with open(path, "rb") as file, Image.open(file) as picture:
            header = _header(picture)
            is_whole = _is_whole(picture.format, file)
    except Exception:  # Pillow raises all kinds
        header, is_whole = None, False
    return header if is_whole else _decoded_header(path, header)


def decode(path: str, flags: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """The picture in a file as PaddleDetection decodes it, None if it cannot. cv2.imread is content with less."""
    try:
        return cv2.imdecode(np.fromfile(path, np.uint8), flags)
    except (OSError, cv2.error):
        return None


@contextlib.contextmanager
def quiet_pillow() -> Iterator[None]:
    """Without Pillow's warnings, and without its limit for the size of an image, which OpenCV does not have."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _header(picture: Image.Image) -> Header:
    width, height = picture.size
    orientation = _orientation(picture)
    if orientation >= 5 and picture.format != "TIFF":  # which Pillow turns by itself
        width, height = height, width
    return Header(width, height, orientation, any(";16" in str(tile[3]) for tile in picture.tile))


def _decoded_header(path: str, header: Header | None) -> Header | None:
    """The header of a file that is decoded, of which Pillow may have read something."""
    picture = decode(path)
    if picture is None:
        return None
    height, width = picture.shape[:2]
    deep = decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    return Header(width, height, header.orientation if header else 1, deep is not None and deep.dtype != np.uint8)


def _orientation(picture: Image.Image) -> int:
    # Not getexif(), which decodes a PNG and believes XMP, as OpenCV does not.
    exif = Image.Exif()
    if picture.format == "TIFF":
        exif = picture.tag_v2
    elif "exif" in picture.info:
        exif.load(picture.info["exif"])
    orientation = exif.get(_ORIENTATION, 1)
    return orientation if orientation in range(1, 9) else 1


def _is_whole(picture_format: str, file: BinaryIO) -> bool:
    end = _ENDS.get(picture_format)
    if end is None:
        return False
    file.seek(-len(end), os.SEEK_END)
    return file.read() == end
