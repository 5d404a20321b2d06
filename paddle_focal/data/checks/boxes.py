"""What is wrong with the boxes of a COCO file, and which of them ppdet trains on."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from paddle_focal.data.checks.coco_file import Coco
from paddle_focal.data.checks.data_report import DataReport, some
from paddle_focal.data.checks.segmentations import check_segmentations

_SMALLEST_SIDE = 1e-5  # ppdet keeps boxes whose sides are longer than this
TOLERANCE = 1.0  # pixels that a box may reach out of its image because of rounding, or of counting from 1
_LARGEST_AREA = 1e10  # of the objects that pycocotools looks for
_MOST_OBJECTS = 100  # of one class in one image that pycocotools looks for


def check_boxes(
    coco: Coco, report: DataReport, *, load_crowd: bool = False, allow_empty: bool = False, evaluated: bool = False
) -> list[dict]:
    """The annotations that ppdet trains on.

    Args:
        coco: the file's contents.
        report: receives what is found.
        load_crowd: the data set's.
        allow_empty: the data set's.
        evaluated: whether the file serves evaluation, too.
    """
    index = {image["id"]: i for i, image in enumerate(coco.images)}

    def named(annotation: dict) -> str:
        return coco.images[index[annotation["image_id"]]]["file_name"]

    def described(chosen: Iterable[dict]) -> str:
        return some([f"{named(annotation)} {annotation.get('bbox')}" for annotation in chosen])

    boxed = [annotation for annotation in coco.annotations if annotation.get("bbox", []) != []]
    if len(boxed) < len(coco.annotations):
        without = [annotation for annotation in coco.annotations if annotation.get("bbox", []) == []]
        consequence = "with which evaluation fails" if evaluated else "and have no effect"
        (report.error if evaluated else report.warn)(
            f"{len(without):,} of {len(coco.annotations):,} annotations have no bbox, {consequence}: "
            + described(without)
        )
    sound = [annotation for annotation in boxed if _is_box(annotation["bbox"])]
    if len(sound) < len(boxed):
        report.error(
            f"{len(boxed) - len(sound):,} of {len(boxed):,} boxes are not four finite numbers (x, y, width, height): "
            + described(annotation for annotation in boxed if not _is_box(annotation["bbox"]))
        )
    image = np.array([index[annotation["image_id"]] for annotation in sound], int)
    number = {category["id"]: i for i, category in enumerate(coco.categories)}
    pair = image * len(number) + np.array([number[annotation["category_id"]] for annotation in sound], int)
    boxes = np.array([annotation["bbox"] for annotation in sound], float).reshape(-1, 4)
    area = np.array([annotation["area"] for annotation in sound], float)
    is_crowd = np.array([annotation["iscrowd"] for annotation in sound], bool)
    ignored = np.array([bool(annotation.get("ignore")) for annotation in sound], bool)
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    sizes = np.array([(entry["width"], entry["height"]) for entry in coco.images], float).reshape(-1, 2)
    sizes[~(sizes > 0)] = math.inf  # an error of its own
    size = sizes[image]
    has_sides = (high - low > _SMALLEST_SIDE).all(axis=1)
    for i in np.flatnonzero((np.abs(boxes) >= 2**53).any(axis=1)):
        has_sides[i] = _has_sides(*sound[i]["bbox"])
    has_area = has_sides & (area > 0)
    kept = has_area & ~ignored & (~is_crowd | load_crowd)
    outside = has_area & ((high <= 0) | (low >= size)).any(axis=1)
    reaching = has_area & ~outside & ((low < -TOLERANCE) | (high > size + TOLERANCE)).any(axis=1)
    for chosen, text in (
        (~has_area, "have a width, height or area that is not > 0, and are left out"),
        (outside, "lie outside their image; a COCO box is x, y, width, height in pixels"),
        (reaching, "reach out of their image by more than a pixel; a COCO box is x, y, width, height in pixels"),
        (has_area & (boxes[:, 2:] < 1).any(axis=1), "are narrower or lower than a pixel; a COCO box is in pixels"),
        (ignored, "are marked ignore, and are left out"),
        (_again(kept, pair, boxes), "are there before, of the same class in the same image"),
        (evaluated & (area > _LARGEST_AREA), "have an area beyond 1e10, and are left out of evaluation"),
    ):
        if chosen.any():
            examples = described(sound[i] for i in np.flatnonzero(chosen))
            report.warn(f"{chosen.sum():,} of {len(sound):,} boxes {text}: {examples}")
    if evaluated:
        _check_numbers_of_objects(coco, pair[~is_crowd], report)
    if not allow_empty:
        asked = [sound[i] for i in np.flatnonzero(kept & ~is_crowd)]
        check_segmentations(asked, named, report)
    return [sound[i] for i in np.flatnonzero(kept)]


def _is_box(value) -> bool:
    try:
        x, y, width, height = value
        return all(map(math.isfinite, (x, y, x + width, y + height)))
    except (TypeError, ValueError, OverflowError):
        return False


def _has_sides(x: float, y: float, width: float, height: float) -> bool:
    """As ppdet asks, in Python's numbers; NumPy rounds large integers."""
    return x + width - x > _SMALLEST_SIDE and y + height - y > _SMALLEST_SIDE


def _again(kept: np.ndarray, pair: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Which of the boxes that are kept are there before, in the same pair of image and class."""
    again = np.zeros(len(kept), bool)
    _, inverse, counts = np.unique(pair, return_inverse=True, return_counts=True)
    candidates = np.flatnonzero(kept & (counts[inverse] > 1))
    rows = np.column_stack([pair, boxes])[candidates]
    order = np.lexsort(rows.T)
    again[candidates[order[1:]]] = (rows[order[1:]] == rows[order[:-1]]).all(axis=1)
    return again


def _check_numbers_of_objects(coco: Coco, pair: np.ndarray, report: DataReport) -> None:
    """Check how many objects of a class are in an image, given the pair of image and class of each object."""
    pairs, counts = np.unique(pair, return_counts=True)
    many = counts > _MOST_OBJECTS
    images, labels = np.divmod(pairs[many], len(coco.categories))
    if many.any():
        examples = [
            f"{coco.images[image]['file_name']} {count} x {coco.categories[label]['name']}"
            for image, label, count in zip(images, labels, counts[many])
        ]
        report.warn(
            f"{len(set(images)):,} of {len(coco.images):,} images have more than {_MOST_OBJECTS} objects of a class, "
            f"of which COCO's evaluation finds {_MOST_OBJECTS} at most: {some(examples)}"
        )
