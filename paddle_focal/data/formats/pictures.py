"""Sizes of images, as PaddleDetection decodes them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from PIL import Image

from paddle_focal.data.checks.headers import quiet_pillow, read_header
from paddle_focal.data.formats.findings import FormatError

#: What names of images end in: the formats that OpenCV, with which ppdet reads, and Pillow, with which it draws, share.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".jp2", ".gif", ".avif"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)

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
    """The sizes of an image, from its header where that tells them.

    Raises:
        FormatError: the file is no image, or a damaged one.
    """
    with quiet_pillow():
        header = read_header(str(path))
    if header is None:
        raise FormatError(_fault_of(path))
    size = (header.width, header.height)
    return Picture(size, size[::-1] if header.orientation >= 5 else size, header.orientation > 1)


def _fault_of(path: Path) -> str:
    """What is wrong with a file that is no image; Pillow says more than OpenCV."""
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # decoders raise errors of many types
        return f"cannot be read as an image: {str(error) or type(error).__name__}"
    return "cannot be decoded by OpenCV, and so by PaddleDetection"


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
