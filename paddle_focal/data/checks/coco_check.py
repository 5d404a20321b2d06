"""What is wrong with a data set in COCO format, judged by what PaddleDetection does with it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import paddle_focal.detection  # noqa: F401 - imports ppdet without its chatter, or says how to install it

# isort: split
import numpy as np
from ppdet.data.source.coco import COCODataSet
from ppdet.utils import download

from paddle_focal.data.checks.boxes import check_boxes
from paddle_focal.data.checks.categories import check_categories, check_classwise
from paddle_focal.data.checks.coco_file import Coco, no_garbage_collection, read_coco
from paddle_focal.data.checks.data_report import DataReport, some
from paddle_focal.data.checks.ids import check_ids
from paddle_focal.data.checks.images import check_entries, check_files


@dataclass(frozen=True)
class Contents:
    """What a data set holds.

    Attributes:
        images: the number of images in an epoch.
        classes: names, in the order of the class indices.
        boxes: int ``[C]``, the number of boxes of each class that training uses.
        files: the paths of the images.
        sizes: their widths and heights in pixels, where the annotations give them.
    """

    images: int
    classes: list[str]
    boxes: np.ndarray
    files: set[str]
    sizes: set[tuple[int, int]]


def whole_sizes(sizes: Iterable[tuple[float, float]]) -> set[tuple[int, int]]:
    """Widths and heights that an image can have, each pair once."""
    return {(int(width), int(height)) for width, height in sizes if min(width, height) >= 1 and width * height < 2**28}


@no_garbage_collection()
def check_coco(
    dataset: COCODataSet, num_classes: int, report: DataReport, *, evaluated: bool = False
) -> Contents | None:
    """Check one data set, and return what it holds, or None if it cannot be read.

    Args:
        dataset: not parsed yet; its file is read, and its images' headers.
        num_classes: the configuration's.
        report: receives what is found.
        evaluated: whether pycocotools reads the file, too.
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
    coco = _read(dataset, folder, report)
    if coco is None:
        return None
    images, categories, annotations = coco
    check_categories(categories, num_classes, report)
    check_entries(images, report)
    if evaluated:
        check_classwise(categories, report)
        check_ids(coco, report)
    trained = check_boxes(
        coco, report, load_crowd=dataset.load_crowd, allow_empty=dataset.allow_empty, evaluated=evaluated
    )
    present = check_files(image_folder, images, report) if has_images else images
    if len(present) < len(images):
        there = {image["id"] for image in present}
        trained = [annotation for annotation in trained if annotation["image_id"] in there]
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
        sizes=whole_sizes((image["width"], image["height"]) for image in present),
    )


def _read(dataset: COCODataSet, folder: str, report: DataReport) -> Coco | None:
    if not dataset.anno_path:
        report.error("anno_path names no annotation file")
        return None
    path = os.path.join(folder, dataset.anno_path)
    if not path.endswith(".json"):
        report.error(f"the annotation file must end in .json, but is {path}")
        return None
    if not os.path.isfile(path):
        report.error(f"no such annotation file: {path}; set dataset_dir and anno_path")
        return None
    return read_coco(path, report)


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
