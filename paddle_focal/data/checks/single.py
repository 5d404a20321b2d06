"""Checking annotation files of COCO's format that no configuration names."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import paddle_focal.detection  # noqa: F401 - imports ppdet without its chatter, or says how to install it

# isort: split
from ppdet.data.source.coco import COCODataSet

from paddle_focal.data.checks.data_report import DataReport
from paddle_focal.data.checks.preflight import check_datasets

#: By the end of a file's name, or its folder's, the section of a configuration that would name it.
_SECTIONS = {"train": "TrainDataset", "val": "EvalDataset", "valid": "EvalDataset"}


def annotation_files(folder: Path) -> list[Path]:
    """Those of a data set in COCO's format, under the usual names; none if there are none."""
    return sorted([*folder.glob("annotations/instances_*.json"), *folder.glob("*/_annotations.coco.json")])


def check_files(paths: Sequence[Path], image_dir: str | None, report: DataReport) -> None:
    """Check annotation files, each on its own and one beside the other.

    Args:
        paths: the files.
        image_dir: the folder of their images; None looks for it beside them.
        report: receives what is found.
    """
    datasets, classes = {}, 0
    for path in paths:
        names, categories = _glance(path)
        folder = image_dir or str(_image_folder(path, names))
        classes = max(classes, categories)
        datasets[_section(path, datasets)] = COCODataSet(
            "", os.path.abspath(folder), str(path.absolute()), allow_empty=True
        )
    check_datasets(datasets, classes, report)


def _glance(path: Path) -> tuple[list[str], int]:
    """Names of some images of a file, and the number of its categories; what is wrong with it is said later."""
    try:
        content = json.loads(path.read_bytes())
        names = [image["file_name"] for image in content["images"][:10]]
        return [name for name in names if isinstance(name, str)], len(content["categories"])
    except (ValueError, TypeError, KeyError, LookupError):
        return [], 0


def _image_folder(path: Path, names: Sequence[str]) -> Path:
    """The folder near an annotation file that has its images; of several, the one that is called like its split."""
    around = [path.absolute().parent, path.absolute().parent.parent]
    below = [folder for place in around for folder in sorted(place.iterdir()) if folder.is_dir()]
    places = [*around, *below, *(folder / _split(path) for folder in below)]
    there = {place: sum((place / name).is_file() for name in names) for place in places if place.is_dir()}
    return max(there, key=lambda place: (there[place] > 0, place.name == _split(path), there[place]))


def _split(path: Path) -> str:
    return path.stem.rpartition("_")[2]


def _section(path: Path, taken: dict) -> str:
    name = _SECTIONS.get(_split(path).rstrip("0123456789")) or _SECTIONS.get(path.parent.name) or path.name
    return name if name not in taken else str(path)
