"""Reading a COCO annotation file, whatever may be wrong with it."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable

from paddle_focal.data.checks.data_report import DataReport, some

_NUMBER = ({int, float, bool}, "a number")
_ID = ({int, float, str}, "a number or text")
_AREA = (_NUMBER[0], "a number: width x height, or that of the segmentation")
_FLAG = (_NUMBER[0], "0 or 1")
_TEXT = ({str}, "text")
#: The keys that ppdet or pycocotools read from every entry; without one, they fail with a KeyError or worse.
_KEYS = {
    "images": {"id": _NUMBER, "file_name": _TEXT, "width": _NUMBER, "height": _NUMBER},
    "categories": {"id": _ID, "name": _ID},
    "annotations": {"id": _ID, "image_id": _ID, "category_id": _ID, "area": _AREA, "iscrowd": _FLAG},
}


def read_coco(
    folder: str, anno_path: str | None, report: DataReport
) -> tuple[list[dict], list[dict], list[dict]] | None:
    """The images, categories and annotations of a file that have all keys that are needed; None if it cannot be read.

    Every number and text that ppdet reads is then present, except ``bbox``, and so is each annotation's category.

    Args:
        folder: the data set's.
        anno_path: the file, relative to the folder.
        report: receives what is found.
    """
    document = _parse(folder, anno_path, report)
    if document is None:
        return None
    images, categories, annotations = (_sound(kind, document[kind], report) for kind in _KEYS)
    annotations = _with_references(annotations, document["images"], categories, report)
    ids = {image["id"] for image in images}
    return images, categories, [annotation for annotation in annotations if annotation["image_id"] in ids]


def _parse(folder: str, anno_path: str | None, report: DataReport) -> dict | None:
    if not anno_path:
        report.error("anno_path names no annotation file")
        return None
    path = os.path.join(folder, anno_path)
    if not path.endswith(".json"):
        report.error(f"the annotation file must end in .json, but is {path}")
        return None
    if not os.path.isfile(path):
        report.error(f"no such annotation file: {path}; set dataset_dir and anno_path")
        return None
    try:
        with open(path) as file:
            document = json.load(file)
    except (OSError, ValueError) as error:
        report.error(f"{path} cannot be read as JSON: {error}")
        return None
    lists = {key for key in _KEYS if isinstance(document, dict) and isinstance(document.get(key), list)}
    if lists < set(_KEYS):
        lacking = ", ".join(key for key in _KEYS if key not in lists)
        report.error(f"{path} is no COCO annotation file: it has no list of {lacking}")
        return None
    return document


def _sound(kind: str, entries: list, report: DataReport) -> list[dict]:
    """The entries that have all keys that are needed."""
    broken: set[int] = set()
    for key, (types, accepted) in _KEYS[kind].items():
        values = [entry.get(key) if isinstance(entry, dict) else None for entry in entries]
        wrong = [i for i, value in enumerate(values) if type(value) not in types]
        if wrong:
            places = some([f"{kind}[{i}]" for i in wrong])
            report.error(f"{len(wrong):,} of {len(entries):,} {kind} lack {key}, {accepted}: {places}")
            broken.update(wrong)
    sound = [entry for i, entry in enumerate(entries) if i not in broken]
    twice = repeated(entry["id"] for entry in sound)
    if twice:
        report.error(f"{len(twice):,} ids of {kind} occur more than once: {some(twice)}")
    return sound


def _with_references(annotations: list[dict], images: list, categories: list[dict], report: DataReport) -> list[dict]:
    """The annotations whose categories exist. An annotation is not blamed for what its image lacks."""
    listed = {image["id"] for image in images if isinstance(image, dict) and type(image.get("id")) in _NUMBER[0]}
    lost = [annotation["image_id"] for annotation in annotations if annotation["image_id"] not in listed]
    if lost:
        report.warn(
            f"{len(lost):,} of {len(annotations):,} annotations are of images that there are not, and have no effect: "
            f"image_id {some(lost)}"
        )
    known = dict.fromkeys(category["id"] for category in categories)
    foreign = [annotation["category_id"] for annotation in annotations if annotation["category_id"] not in known]
    if foreign:
        report.error(
            f"{len(foreign):,} of {len(annotations):,} annotations are of categories that there are not: "
            f"category_id {some(list(dict.fromkeys(foreign)))}; there are {some(list(known))}"
        )
    return [annotation for annotation in annotations if annotation["category_id"] in known]


def repeated(values: Iterable) -> list:
    """The values that occur more than once."""
    return [value for value, count in Counter(values).items() if count > 1]
