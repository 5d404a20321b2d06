"""What is wrong with a data set in COCO format, judged by what PaddleDetection does with it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from ppdet.data.source.coco import COCODataSet
from ppdet.utils import download

from paddle_focal.data.annotations import evenly_spaced
from paddle_focal.data.checks.coco_file import read_coco, repeated
from paddle_focal.data.checks.data_report import DataReport, some

#: The largest number of a data set's images that are opened.
SAMPLE = 32
_SMALLEST_SIDE = 1e-5  # ppdet keeps boxes whose sides are longer than this
_TOLERANCE = 1.0  # pixels that a box may reach out of its image because of rounding, or of counting from 1


@dataclass(frozen=True)
class Contents:
    """What a data set holds.

    Attributes:
        images: the number of images in an epoch.
        classes: names, in the order of the class indices.
        boxes: int ``[C]``, the number of boxes of each class that training uses.
        files: the paths of the images.
        sizes: their widths and heights.
    """

    images: int
    classes: list[str]
    boxes: np.ndarray
    files: set[str]
    sizes: set[tuple[int, int]]


def check_coco(dataset: COCODataSet, num_classes: int, report: DataReport) -> Contents | None:
    """Check one data set, and return what it holds, or None if it cannot be read.

    Args:
        dataset: not parsed yet; its file is read, and its image folders are listed.
        num_classes: the configuration's.
        report: receives what is found.
    """
    folder = _folder(dataset)
    if folder is None:
        report.warn(
            f"not checked: {dataset.dataset_dir} is incomplete or missing, and PaddleDetection will download the data "
            f"set that it knows by this name to {download.DATASET_HOME}"
        )
        return None
    image_folder = os.path.join(folder, dataset.image_dir)
    has_images = os.path.isdir(image_folder)
    if not has_images:
        report.error(f"no such image folder: {image_folder}; set dataset_dir and image_dir")
    entries = read_coco(folder, dataset.anno_path, report)
    if entries is None:
        return None
    images, categories, annotations = entries
    _check_categories(categories, num_classes, report)
    _check_images(images, report)
    trained = _trained(annotations, images, dataset, report)
    present = _present(image_folder, images, report) if has_images else images
    with_boxes = {annotation["image_id"] for annotation in trained}
    empty = [image["file_name"] for image in present if image["id"] not in with_boxes]
    if empty and not dataset.allow_empty:
        report.warn(
            f"{len(empty):,} of {len(images):,} images have no boxes: {some(empty)}; PaddleDetection leaves them out, "
            "allow_empty: true keeps them"
        )
    used = len(present) - (0 if dataset.allow_empty else len(empty))
    if not used:
        report.error(f"empty: of {len(images):,} images, none is left")
    crowds = sum(bool(annotation["iscrowd"]) for annotation in annotations)
    report.note(
        f"{len(images):,} images, {len(empty):,} of them without boxes, {len(trained):,} boxes of {len(categories):,} "
        f"classes, {crowds:,} crowds{' (left out)' if crowds and not dataset.load_crowd else ''}"
    )
    index = {category["id"]: i for i, category in enumerate(categories)}
    place = os.path.realpath(image_folder)
    return Contents(
        images=used * dataset.repeat,
        classes=[str(category["name"]) for category in categories],
        boxes=np.bincount([index[a["category_id"]] for a in trained], minlength=len(categories)),
        files={os.path.normpath(os.path.join(place, image["file_name"])) for image in images},
        sizes={(int(image["width"]), int(image["height"])) for image in present},
    )


def _folder(dataset: COCODataSet) -> str | None:
    """The folder from which ppdet takes the data set; None if ppdet has to download the data set first."""
    name = os.path.basename(dataset.dataset_dir.strip().lower())
    cached = os.path.join(download.DATASET_HOME, name)
    if _is_complete(dataset, dataset.dataset_dir) or name not in download.DATASETS:
        return dataset.dataset_dir
    return cached if _is_complete(dataset, cached) else None


def _is_complete(dataset: COCODataSet, folder: str) -> bool:
    annotations, images = (os.path.join(folder, part or "") for part in (dataset.anno_path, dataset.image_dir))
    return os.path.exists(annotations) and os.path.isdir(images)


def _check_categories(categories: list[dict], num_classes: int, report: DataReport) -> None:
    names = [str(category["name"]) for category in categories]
    if len(categories) != num_classes:
        report.error(
            f"num_classes is {num_classes}, but there are {len(names)} categories ({some(names)}): set "
            f"num_classes: {len(names)}; the background is not counted"
        )
    twice = repeated(names)
    if twice:
        report.warn(f"{len(twice)} names belong to several categories, which are several classes: {some(twice)}")


def _check_images(images: list[dict], report: DataReport) -> None:
    flat = [image["file_name"] for image in images if not (image["width"] > 0 and image["height"] > 0)]
    if flat:
        report.error(f"{len(flat):,} of {len(images):,} images have a width or height that is not > 0: {some(flat)}")
    twice = repeated(image["file_name"] for image in images)
    if twice:
        report.warn(
            f"{len(twice):,} image files are listed more than once, each time with its own boxes: {some(twice)}"
        )


def _trained(annotations: list[dict], images: list[dict], dataset: COCODataSet, report: DataReport) -> list[dict]:
    """The annotations that ppdet trains on."""
    index = {image["id"]: i for i, image in enumerate(images)}
    boxed = [annotation for annotation in annotations if annotation.get("bbox", []) != []]
    sound = [annotation for annotation in boxed if _is_box(annotation["bbox"])]

    def described(chosen: Iterable[dict]) -> str:
        return some([f"{images[index[a['image_id']]]['file_name']} {a.get('bbox')}" for a in chosen])

    if len(boxed) < len(annotations):
        report.warn(
            f"{len(annotations) - len(boxed):,} of {len(annotations):,} annotations have no bbox, and have no effect: "
            + described(annotation for annotation in annotations if annotation.get("bbox", []) == [])
        )
    if len(sound) < len(boxed):
        report.error(
            f"{len(boxed) - len(sound):,} of {len(boxed):,} boxes are not four finite numbers (x, y, width, height): "
            + described(annotation for annotation in boxed if not _is_box(annotation["bbox"]))
        )
    boxes = np.array([annotation["bbox"] for annotation in sound], float).reshape(-1, 4)
    sizes = np.array([(image["width"], image["height"]) for image in images], float).reshape(-1, 2)
    sizes[~(sizes > 0)] = math.inf  # already reported as an error
    size = sizes[[index[annotation["image_id"]] for annotation in sound]]
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    has_area = (boxes[:, 2:] > _SMALLEST_SIDE).all(axis=1) & (
        np.array([annotation["area"] for annotation in sound], float) > 0
    )
    outside = has_area & ((high <= 0) | (low >= size)).any(axis=1)
    reaching = has_area & ~outside & ((low < -_TOLERANCE) | (high > size + _TOLERANCE)).any(axis=1)
    thin = has_area & (boxes[:, 2:] < 1).any(axis=1)
    ignored = np.array([bool(annotation.get("ignore")) for annotation in sound], bool)
    is_crowd = np.array([bool(annotation["iscrowd"]) for annotation in sound], bool)
    for chosen, text in (
        (~has_area, "have a width, height or area that is not > 0, and are left out"),
        (outside, "lie outside their image; a COCO box is x, y, width, height in pixels"),
        (reaching, "reach out of their image by more than a pixel; a COCO box is x, y, width, height in pixels"),
        (thin, "are narrower or lower than a pixel; a COCO box is in pixels"),
        (ignored, "are marked ignore, and are left out"),
    ):
        if chosen.any():
            examples = described(sound[i] for i in np.flatnonzero(chosen))
            report.warn(f"{chosen.sum():,} of {len(sound):,} boxes {text}: {examples}")
    kept = has_area & ~ignored & (~is_crowd | dataset.load_crowd)
    return [sound[i] for i in np.flatnonzero(kept)]


def _is_box(value) -> bool:
    try:
        return len(value) == 4 and all(map(math.isfinite, value))
    except (TypeError, OverflowError):
        return False


def _present(folder: str, images: Sequence[dict], report: DataReport) -> list[dict]:
    """The images whose files exist; a sample of them is opened."""
    missing = _missing(folder, [image["file_name"] for image in images])
    if missing:
        report.warn(
            f"{len(missing):,} of {len(images):,} image files are missing in {folder}: {some(sorted(missing))}; "
            "PaddleDetection leaves these images out; in evaluation their objects count as not found"
        )
    present = [image for image in images if image["file_name"] not in missing]
    _check_pictures(folder, present, report)
    return present


def _missing(folder: str, names: Sequence[str]) -> set[str]:
    """The names of files that do not exist, found by listing each folder once instead of looking up each file."""
    listed: dict[str, set[str]] = {}
    missing = set()
    for name in names:
        parent, file = os.path.split(os.path.join(folder, name))
        if parent not in listed:
            listed[parent] = _files(parent)
        if file not in listed[parent]:
            missing.add(name)
    return missing


def _files(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if not entry.is_symlink() or os.path.exists(entry.path)}
    except OSError:
        return set()


def _check_pictures(folder: str, images: Sequence[dict], report: DataReport) -> None:
    sample = [images[i] for i in evenly_spaced(len(images), SAMPLE)]
    unreadable, different = [], []
    for image in sample:
        picture = cv2.imread(os.path.join(folder, image["file_name"]))  # rotated according to EXIF, as in ppdet
        if picture is None:
            unreadable.append(image["file_name"])
        elif picture.shape[:2] != (image["height"], image["width"]):
            height, width = picture.shape[:2]
            different.append(f"{image['file_name']} {width}x{height} instead of {image['width']}x{image['height']}")
    if unreadable:
        report.error(f"{len(unreadable)} of {len(sample)} images that were opened are no images: {some(unreadable)}")
    if different:
        report.warn(
            f"{len(different)} of {len(sample)} images that were opened have another size than annotated, where their "
            f"boxes may be wrong: {some(different)}"
        )
