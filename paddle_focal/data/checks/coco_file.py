"""Reading a COCO annotation file, whatever may be wrong with it."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Callable, NamedTuple

import numpy as np

from paddle_focal.data.checks.data_report import DataReport, some


def _is_finite_or_nan(value: float) -> bool:
    return not abs(value) > sys.float_info.max


def _is_flag(value: float) -> bool:
    return value in (0, 1)


def _is_whole(value: float) -> bool:
    return -(2**63) <= value < 2**63 and value == int(value)


class _Key(NamedTuple):
    """What ppdet and pycocotools need of a key, without which they fail with a KeyError or worse."""

    accepted: str
    types: tuple[type, ...]
    is_accepted: Callable[[Any], bool] | None = None


_NUMBER = _Key("a number", (int, float, bool), _is_finite_or_nan)
_ID = _Key("a number or text", (int, float, str))
_TEXT = _Key("text", (str,))
#: By kind of entry, the keys that every entry must have.
_KEYS: dict[str, dict[str, _Key]] = {
    "images": {
        "id": _Key("a whole number", (int, float), _is_whole),
        "file_name": _TEXT,
        "width": _NUMBER,
        "height": _NUMBER,
    },
    "categories": {"id": _Key("an integer", (int,)), "name": _ID},
    "annotations": {
        "id": _ID,
        "image_id": _ID,
        "category_id": _ID,
        "area": _NUMBER._replace(accepted="a number: width x height, or that of the segmentation"),
        "iscrowd": _Key("0 or 1", (int, float, bool), _is_flag),
    },
}


class Coco(NamedTuple):
    """What an annotation file holds.

    Every number and text that ppdet reads is there, except ``bbox``; so are each annotation's image and category.

    Attributes:
        images: the entries that have all keys that are needed.
        categories: as images.
        annotations: as images.
    """

    images: list[dict]
    categories: list[dict]
    annotations: list[dict]


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Large documents take half the time if the garbage collector does not look through them again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_coco(path: str | os.PathLike, report: DataReport) -> Coco | None:
    """The contents of a file; None if it cannot be read.

    Args:
        path: the file.
        report: receives what is found.
    """
    document = _parse(path, report)
    if document is None:
        return None
    images, categories, annotations = (_sound(kind, document[kind], report) for kind in _KEYS)
    annotations = _with_categories(annotations, document["images"], categories, report)
    ids = {image["id"] for image in images}
    annotations = [annotation for annotation in annotations if annotation["image_id"] in ids]
    _check_track_ids(annotations, report)
    return Coco(images, categories, annotations)


def _parse(path: str | os.PathLike, report: DataReport) -> dict | None:
    try:
        with open(path) as file:
            document = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
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
    for key, (accepted, types, is_accepted) in _KEYS[kind].items():
        values = [entry.get(key) if isinstance(entry, dict) else None for entry in entries]
        wrong = [
            i for i, value in enumerate(values) if type(value) not in types or (is_accepted and not is_accepted(value))
        ]
        if wrong:
            places = some([f"{kind}[{i}]" for i in wrong])
            report.error(f"{len(wrong):,} of {len(entries):,} {kind} lack {key}, {accepted}: {places}")
            broken.update(wrong)
    sound = [entry for i, entry in enumerate(entries) if i not in broken] if broken else entries
    twice = repeated(entry["id"] for entry in sound)
    if twice:
        report.error(f"{len(twice):,} ids of {kind} occur more than once: {some(twice)}")
    return sound


def _with_categories(annotations: list[dict], images: list, categories: list[dict], report: DataReport) -> list[dict]:
    """The annotations whose categories exist. An annotation is not blamed for what its image lacks."""
    ids = [image.get("id") for image in images if isinstance(image, dict)]
    listed = {number for number in ids if type(number) in _ID.types}
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


def _check_track_ids(annotations: list[dict], report: DataReport) -> None:
    """They are read from every annotation that has one, whether a model tracks or not."""
    wrong = [repr(a["track_id"]) for a in annotations if "track_id" in a and not _is_int32(a["track_id"])]
    if wrong:
        report.error(
            f"{len(wrong):,} of {len(annotations):,} annotations have a track_id that is no 32-bit integer: "
            + some(wrong)
        )


def _is_int32(value: Any) -> bool:
    return type(value) in (int, float, bool) and np.iinfo(np.int32).min <= value <= np.iinfo(np.int32).max


def repeated(values: Iterable) -> list:
    """The values that occur more than once."""
    return [value for value, count in Counter(values).items() if count > 1]
