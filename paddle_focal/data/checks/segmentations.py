"""What ppdet makes of segmentations when it looks for boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

from paddle_focal.data.checks.data_report import DataReport, some


def check_segmentations(annotations: Sequence[dict], name: Callable[[dict], str], report: DataReport) -> None:
    """Check the segmentations of the annotations that ppdet trains on, if it leaves out images without boxes.

    A list of lists that hold nothing makes ppdet delete an entry of the list of boxes that it walks through: it skips
    the next box, moves the others and leaves the last ones zero, in class 0, or leaves the image out. No segmentation,
    an empty list, ``null``, an RLE and polygons, however few or many numbers they have, leave the boxes as they are.

    Args:
        annotations: without crowds, which ppdet asks for no segmentation.
        name: gives the name of an annotation's image.
        report: receives what is found.
    """
    hollow = [annotation for annotation in annotations if _is_hollow_list(annotation.get("segmentation"))]
    if hollow:
        examples = some([f"{name(annotation)} {annotation['segmentation']}" for annotation in hollow])
        report.error(
            f"{len(hollow):,} of {len(annotations):,} boxes have a segmentation of empty lists, for which "
            "PaddleDetection drops other boxes of the image and gives some the class 0: take it out, or write []: "
            + examples
        )


def _is_hollow_list(value) -> bool:
    return bool(value) and _is_hollow(value)


def _is_hollow(value) -> bool:
    return isinstance(value, list) and all(map(_is_hollow, value))
