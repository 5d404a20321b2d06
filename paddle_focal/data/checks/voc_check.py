"""What is wrong with a data set in VOC's format, judged by what PaddleDetection does with it."""

from __future__ import annotations

import math
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from ppdet.data.source.voc import VOCDataSet, pascalvoc_label

from paddle_focal.data.annotations import image_folder
from paddle_focal.data.checks.boxes import TOLERANCE
from paddle_focal.data.checks.categories import check_categories
from paddle_focal.data.checks.coco_check import Contents, whole_sizes
from paddle_focal.data.checks.coco_file import repeated
from paddle_focal.data.checks.data_report import DataReport, some
from paddle_focal.data.checks.images import check_files

_SIDES = ("xmin", "ymin", "xmax", "ymax")


class _Object(NamedTuple):
    name: str
    box: np.ndarray
    is_difficult: bool


class _Image(NamedTuple):
    number: int | None
    file: str
    xml: str
    size: tuple[float, float]
    objects: list[_Object]


class _FaultError(ValueError):
    """What is wrong with an XML file."""


def check_voc(dataset: VOCDataSet, num_classes: int, report: DataReport, *, evaluated: bool = False) -> Contents | None:
    """Check one data set, and return what it holds, or None if it cannot be read.

    Args:
        dataset: not parsed yet; its list, its label list and its XML files are read.
        num_classes: the configuration's.
        report: receives what is found.
        evaluated: whether VOC's metric is to be computed on it.
    """
    lacking = [name for name in _fields(evaluated) if name not in dataset.data_fields]
    if lacking:
        report.error(f"data_fields lacks {', '.join(lacking)}: set data_fields: [{', '.join(_fields(evaluated))}]")
    classes = _classes(dataset, num_classes, report)
    listed = _listed(dataset, report)
    if classes is None or listed is None:
        return None
    images = list(_images(listed, report))
    folder = image_folder(dataset)
    check_files(folder, [_entry(image, folder) for image in images], report)
    _check_names(images, classes, report)
    numbers = [i if image.number is None else image.number for i, image in enumerate(images)]
    if twice := repeated(numbers):
        report.error(
            f"{len(twice):,} numbers belong to several images, <id> in the XML file or else the place in the list: "
            f"{some(twice)}"
        )
    boxes = _trained(images, report)
    used = [image for image in images if image.objects or dataset.allow_empty]
    if len(used) < len(images):
        empty = [image.file for image in images if not image.objects]
        report.warn(
            f"{len(empty):,} of {len(images):,} images have no objects: {some(empty)}; PaddleDetection leaves them "
            "out, allow_empty: true keeps them"
        )
    if not used:
        report.error(f"empty: of {len(listed):,} lines, no image is left")
    count = np.bincount([classes.index(name) for name in boxes if name in classes], minlength=len(classes))
    difficult = sum(one.is_difficult for image in images for one in image.objects)
    report.note(
        f"{len(images):,} images, {sum(not image.objects for image in images):,} of them without objects, "
        f"{len(boxes):,} boxes of {len(classes):,} classes, {difficult:,} of them difficult"
    )
    return Contents(
        images=len(used) * dataset.repeat,
        classes=classes,
        boxes=count,
        files={os.path.realpath(image.file) for image in images},
        sizes=whole_sizes(image.size for image in used),
    )


def _entry(image: _Image, folder: str) -> dict:
    """An image as a COCO file lists it."""
    width, height = (int(side) if side.is_integer() else side for side in image.size)
    return {"file_name": os.path.relpath(image.file, folder or "."), "width": width, "height": height}


def _fields(evaluated: bool) -> tuple[str, ...]:
    return ("image", "gt_bbox", "gt_class", *(["difficult"] if evaluated else []))


def _classes(dataset: VOCDataSet, num_classes: int, report: DataReport) -> list[str] | None:
    """The names of the label list, in its order."""
    if not dataset.label_list:
        names = list(pascalvoc_label())
    else:
        path = os.path.join(dataset.dataset_dir, dataset.label_list)
        try:
            with open(path) as file:
                names = [line.strip() for line in file]
        except (OSError, UnicodeDecodeError) as error:
            report.error(f"the label list {path} cannot be read: {error}")
            return None
        if "" in names:
            report.error(f"the label list {path} has an empty line, {names.index('') + 1}, which counts as a class")
        if twice := repeated(names):
            report.error(f"the label list {path} has names twice: {some(twice)}")
            return names
    check_categories([{"name": name} for name in names], num_classes, report)
    return names


def _listed(dataset: VOCDataSet, report: DataReport) -> list[tuple[str, str]] | None:
    """Paths of the image and the XML file of each line that has files."""
    folder = image_folder(dataset)
    path = os.path.join(dataset.dataset_dir, dataset.anno_path or "")
    try:
        with open(path) as file:
            lines = [line.split()[:2] for line in file]
    except (OSError, UnicodeDecodeError) as error:
        report.error(f"the list of images {path} cannot be read: {error}")
        return None
    if short := [number for number, parts in enumerate(lines, 1) if len(parts) < 2]:
        report.error(
            f"{path}: lines must be an image and its XML file, apart by a space, but not so line {some(short)}"
        )
    pairs = [(os.path.join(folder, parts[0]), os.path.join(folder, parts[1])) for parts in lines if len(parts) == 2]
    there = [pair for pair in pairs if all(map(os.path.isfile, pair))]
    if missing := [name for pair in pairs for name in pair if not os.path.isfile(name)]:
        report.warn(
            f"{len(pairs) - len(there):,} of {len(pairs):,} lines name files that are missing: {some(missing)}; "
            "PaddleDetection leaves these images out. A name with a space ends there"
        )
    if twice := repeated(image for image, _ in there):
        report.warn(f"{len(twice):,} images are listed more than once: {some(twice)}")
    return there


def _images(listed: list[tuple[str, str]], report: DataReport) -> Iterator[_Image]:
    faults = []
    for file, xml in listed:
        try:
            yield _image(file, xml)
        except _FaultError as fault:
            faults.append(f"{xml}: {fault}")
    if faults:
        report.error(f"{len(faults):,} of {len(listed):,} XML files cannot be read as VOC's: {some(faults)}")


def _image(file: str, xml: str) -> _Image:
    try:
        root = ElementTree.parse(xml).getroot()
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise _FaultError(error) from None
    number = root.findtext("id")
    if number is not None and not number.strip().lstrip("+-").isdecimal():
        raise _FaultError(f"id must be an integer, but is {number!r}")
    size = tuple(_number(root, f"size/{side}") for side in ("width", "height"))
    if not min(size) > 0:
        raise _FaultError(f"its size must be > 0, but is {size[0]:g} x {size[1]:g}")
    return _Image(
        None if number is None else int(number), file, xml, size, [_object(entry) for entry in root.findall("object")]
    )


def _object(entry: ElementTree.Element) -> _Object:
    difficult = entry.findtext("difficult", "0").strip()
    if difficult not in ("0", "1"):
        raise _FaultError(f"difficult must be 0 or 1, but is {difficult!r}")
    return _Object(
        entry.findtext("name") or "", np.array([_number(entry, f"bndbox/{side}") for side in _SIDES]), difficult == "1"
    )


def _number(entry: ElementTree.Element, path: str) -> float:
    text = entry.findtext(path)
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise _FaultError(f"{path} must be a finite number, but is {'missing' if text is None else repr(text)}")
    return value


def _check_names(images: list[_Image], classes: list[str], report: DataReport) -> None:
    unknown = {one.name: image.xml for image in images for one in image.objects if one.name not in classes}
    if unknown:
        examples = [f"{name!r} in {xml}" for name, xml in unknown.items()]
        report.error(f"{len(unknown)} classes are not in the label list: {some(examples)}; it has {some(classes, 10)}")


def _trained(images: list[_Image], report: DataReport) -> list[str]:
    """The classes of the boxes that ppdet keeps."""
    kept, flat, outside = [], [], []
    for image in images:
        end = np.tile(image.size, 2) - 1
        for one in image.objects:
            clipped = np.concatenate([one.box[:2].clip(0), np.minimum(one.box[2:], end[2:])])
            if not (clipped[2:] > clipped[:2]).all():
                flat.append(f"{image.xml} {one.box.tolist()}")
                continue
            kept.append(one.name)
            if (one.box[:2] < -TOLERANCE).any() or (one.box[2:] > end[2:] + 1 + TOLERANCE).any():
                outside.append(f"{image.xml} {one.box.tolist()}")
    total = len(kept) + len(flat)
    for found, text in (
        (flat, "have no area in their image, and are left out"),
        (outside, "reach out of their image by more than a pixel, and are clipped"),
    ):
        if found:
            report.warn(f"{len(found):,} of {total:,} boxes (xmin, ymin, xmax, ymax) {text}: {some(found)}")
    return kept
