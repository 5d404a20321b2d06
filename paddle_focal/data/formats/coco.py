"""Splitting images into training and validation, and COCO's annotation files."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ppdet.data.source.coco import COCODataSet

from paddle_focal.data.checks.data_report import DataReport
from paddle_focal.data.checks.preflight import check_datasets
from paddle_focal.data.formats.layout import Sample
from paddle_focal.data.formats.reading import AnnotatedImage
from paddle_focal.files import write_whole


def split_by_seed(samples: Sequence[Sample], val: float, seed: int) -> dict[str, list[Sample]]:
    """Images for training and for validation: a share ``val`` for the latter, and at least one for each.

    An image's place depends on the seed and its path in the folder of all images only, so that other machines and
    versions draw the same ones, and few move when images are added.

    Raises:
        ValueError: ``val`` is positive, and there is but one image.
    """
    if not val:
        return {"train": [*samples]}
    if len(samples) < 2:
        raise ValueError(f"{len(samples)} images cannot be split into training and validation; --val 0 does not")
    root = image_folder(samples)

    def rank(sample: Sample) -> str:
        return hashlib.sha256(os.fsencode(f"{seed}:{relative(sample.image, root)}")).hexdigest()

    ranked = sorted(samples, key=rank)
    count = min(max(round(len(ranked) * val), 1), len(ranked) - 1)
    return {"train": ranked[count:], "val": ranked[:count]}


def image_folder(samples: Sequence[Sample]) -> Path:
    """The innermost folder that all the images are in."""
    return Path(os.path.commonpath([sample.image.parent.absolute() for sample in samples]))


def relative(path: Path, folder: Path) -> str:
    """A path from a folder on, with ``/`` on every system."""
    return Path(os.path.relpath(path, folder)).as_posix()


def document(images: Sequence[AnnotatedImage], folder: Path, categories: Sequence[str], is_evaluated: bool) -> dict:
    """The content of an annotation file, with ids from 1 on, and images in the order of their file names.

    Args:
        images: with boxes of these categories.
        folder: from which on files are named.
        categories: names, in the order of the classes.
        is_evaluated: difficult objects become crowds, which COCO's evaluation neither asks for nor counts as false; in
            training they are objects like others. PaddleDetection's VOCMetric and VOCDataSet do the same.
    """
    ids = {name: number for number, name in enumerate(categories, 1)}
    ordered = sorted((relative(image.path, folder), image) for image in images)
    entries = [
        {"id": number, "file_name": name, "width": image.size[0], "height": image.size[1]}
        for number, (name, image) in enumerate(ordered, 1)
    ]
    annotations = []
    for image_id, (_, image) in enumerate(ordered, 1):
        for box in image.boxes:
            width, height = round(box.x2 - box.x1, 3), round(box.y2 - box.y1, 3)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": ids[box.category],
                    "bbox": [box.x1, box.y1, width, height],
                    "area": width * height,
                    "iscrowd": int(box.difficult and is_evaluated),
                    **({"difficult": 1} if box.difficult else {}),
                }
            )
    return {
        "images": entries,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
    }


def check(folder: Path, documents: Mapping[str, tuple[Path, dict]], report: DataReport) -> None:
    """Check annotation files as ``check-data`` does, before they are where they belong.

    Args:
        folder: that of the data set.
        documents: the folder of the images and the content of each file, by 'TrainDataset', 'EvalDataset' or a name.
        report: receives what is found.
    """
    datasets = {}
    with tempfile.TemporaryDirectory() as place:
        for name, (images, content) in documents.items():
            path = Path(place, f"{name}.json")
            write(path, content)
            # As in the configurations, images without boxes are left out of training and kept for evaluation.
            datasets[name] = COCODataSet(
                str(folder), relative(images, folder), str(path), allow_empty=name != "TrainDataset"
            )
        check_datasets(datasets, len(content["categories"]), report)


def write(path: Path, content: dict) -> None:
    """Write an annotation file whole. It is ASCII, which every system reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda partial: partial.write_text(json.dumps(content), encoding="ascii"))
