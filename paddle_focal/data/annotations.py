"""The ground truth of data sets that are known to be sound, and choosing some of their images."""

from __future__ import annotations

import contextlib
import copy
import io
import os
from collections import Counter

import numpy as np
from ppdet.core import workspace
from ppdet.data.source.voc import VOCDataSet
from pycocotools.coco import COCO

from paddle_focal.data.class_balance import count_objects


def evenly_spaced(total: int, count: int) -> list[int]:
    """At most ``count`` of the indices 0 to ``total - 1``, the first and the last among them."""
    return np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()


def read_annotations(path: str) -> COCO:
    """A COCO annotation file, without pycocotools' messages."""
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(path)


def image_folder(dataset) -> str:
    """The folder that the file names of :func:`ground_truth` are relative to."""
    return os.path.join(dataset.dataset_dir or "", dataset.image_dir or "")


def image_files(dataset) -> dict[int, str]:
    """The files of a data set of ppdet's by their images' ids, as far as its records have both."""
    records = getattr(dataset, "roidbs", None) or ()
    return {int(record["im_id"][0]): record["im_file"] for record in records if {"im_id", "im_file"} <= record.keys()}


def ground_truth(dataset) -> COCO:
    """The images, boxes and classes of a data set of ppdet's, in COCO's terms.

    Args:
        dataset: a COCODataSet; or a VOCDataSet, whose boxes are those that ppdet reads, with the class indices for
            category ids and ``difficult`` beside them.
    """
    return _of_voc(dataset) if isinstance(dataset, VOCDataSet) else read_annotations(dataset.get_anno())


def training_counts() -> dict[str, int]:
    """Objects of each class that training uses, by the configuration that is loaded, in the order of the classes.

    Raises:
        ValueError: as :func:`paddle_focal.data.class_balance.count_objects`.
    """
    dataset = workspace.create("TrainDataset")()
    if not isinstance(dataset, VOCDataSet):
        return count_objects(dataset.get_anno())
    truth = ground_truth(dataset)
    counts = Counter(annotation["category_id"] for annotation in truth.dataset["annotations"])
    return {category["name"]: counts[category["id"]] for category in truth.dataset["categories"]}


def _of_voc(dataset: VOCDataSet) -> COCO:
    dataset = copy.copy(dataset)
    dataset.data_fields = ["image", "gt_bbox", "gt_class", "difficult"]
    dataset.parse_dataset()
    folder, images, annotations = image_folder(dataset), [], []
    for record in dataset.roidbs:
        name, size = os.path.relpath(record["im_file"], folder or "."), {"width": record["w"], "height": record["h"]}
        images.append({"id": int(record["im_id"][0]), "file_name": name, **size})
        rows = zip(record["gt_bbox"].tolist(), record["gt_class"].tolist(), record["difficult"].tolist())
        for (left, top, right, bottom), (label,), (difficult,) in rows:
            width, height = right - left, bottom - top
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": images[-1]["id"],
                    "category_id": label,
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "difficult": difficult,
                }
            )
    truth = COCO()
    categories = [{"id": label, "name": name} for name, label in dataset.cname2cid.items()]
    truth.dataset = {"images": images, "annotations": annotations, "categories": categories}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth
