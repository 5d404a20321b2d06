"""What is wrong with the images of a COCO file: their entries, and the files that these name."""

from __future__ import annotations

import os
from collections.abc import Sequence

from paddle_focal.data.annotations import evenly_spaced
from paddle_focal.data.checks.coco_file import repeated
from paddle_focal.data.checks.data_report import DataReport, some
from paddle_focal.data.checks.header_cache import read_headers
from paddle_focal.data.checks.headers import Header, decode

#: The largest number of a data set's images that are decoded; of the others, the header is read.
SAMPLE = 32


def check_entries(images: Sequence[dict], report: DataReport) -> None:
    """Check what the annotation file says of its images.

    Args:
        images: the file's entries.
        report: receives what is found.
    """
    flat = [image["file_name"] for image in images if not (image["width"] > 0 and image["height"] > 0)]
    if flat:
        report.error(f"{len(flat):,} of {len(images):,} images have a width or height that is not > 0: {some(flat)}")
    twice = repeated(os.path.normpath(image["file_name"]) for image in images)
    if twice:
        report.warn(
            f"{len(twice):,} image files are listed more than once, each time with its own boxes: {some(twice)}"
        )


def check_files(folder: str, images: Sequence[dict], report: DataReport) -> list[dict]:
    """The images whose files exist.

    Args:
        folder: the images'.
        images: the annotation file's entries.
        report: receives what is found.
    """
    missing = _missing(folder, [image["file_name"] for image in images])
    if missing:
        report.warn(
            f"{len(missing):,} of {len(images):,} image files are missing in {folder}: {some(sorted(missing))}; "
            "PaddleDetection leaves these images out; in evaluation their objects count as not found"
        )
    present = [image for image in images if image["file_name"] not in missing]
    names = [image["file_name"] for image in present]
    headers = read_headers(folder, names)
    for i in evenly_spaced(len(names), SAMPLE):
        if headers[i] and decode(os.path.join(folder, names[i])) is None:
            headers[i] = None
    _check_headers(headers, present, report)
    return present


def _missing(folder: str, names: Sequence[str]) -> set[str]:
    """The names of files that do not exist, found by listing each folder once instead of looking up each file."""
    listed: dict[str, set[str]] = {}
    missing = set()
    for name in names:
        parent, file = os.path.split(os.path.join(folder, name))
        if parent not in listed:
            listed[parent] = _files(parent)
        if file not in listed[parent] and not (file in ("", ".", "..") and os.path.exists(os.path.join(parent, file))):
            missing.add(name)
    return missing


def _files(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if not entry.is_symlink() or os.path.exists(entry.path)}
    except (OSError, ValueError):
        return set()


def _check_headers(headers: Sequence[Header | None], images: Sequence[dict], report: DataReport) -> None:
    unreadable, deep, unturned, turned, different = [], [], [], [], []
    for header, image in zip(headers, images):
        name, width, height = image["file_name"], image["width"], image["height"]
        if header is None:
            unreadable.append(name)
            continue
        if header.is_deep:
            deep.append(name)
        size, exchanged = (header.width, header.height), (header.height, header.width)
        sizes = f"{name} {header.width}x{header.height} instead of {width}x{height}"
        if size != (width, height):
            (unturned if header.orientation >= 5 and exchanged == (width, height) else different).append(sizes)
        elif header.orientation > 1 and (header.orientation < 5 or width == height):
            turned.append(name)
    if unreadable:
        report.error(
            f"{len(unreadable):,} of {len(images):,} image files are no images, or damaged: {some(unreadable)}"
        )
    for found, text in (
        (different, "have another size than annotated, where their boxes may be wrong"),
        (
            unturned,
            "are turned by their EXIF orientation when they are read, but annotated as they lie in the file, so that "
            "their boxes are wrong; take the orientation out of the files (exiftool -Orientation= FILES)",
        ),
        (
            turned,
            "are turned or mirrored by their EXIF orientation when they are read, and their size does not tell "
            "whether their boxes are, too; if not, take it out of the files (exiftool -Orientation= FILES)",
        ),
        (
            deep,
            "have more than 8 bits per channel, of which PaddleDetection keeps the upper 8 (4095 of 16 bits becomes "
            "15); convert them to 8 bits yourself",
        ),
    ):
        if found:
            report.warn(f"{len(found):,} of {len(images):,} images {text}: {some(found)}")
