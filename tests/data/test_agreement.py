"""The check of a data set, ppdet's reading, pycocotools' evaluation and class_alpha on the same drawn files.

A file about which the check is silent is trained on as it stands, perfect detections get an AP of 1, and its objects
are counted right. Without an error nothing fails, and what is left out is known. PADDLE_FOCAL_FUZZ=2000 draws that
many.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ppdet")

from drawn_coco import documents, draw_pictures
from faulty_data import CONFIG
from fuzzing import EXAMPLES, fuzz
from hypothesis import given, settings
from ppdet.core import workspace
from ppdet.data.transform.operators import Decode
from ppdet.metrics import COCOMetric

from paddle_focal.cli.arguments import ArgumentParser
from paddle_focal.data.checks import preflight
from paddle_focal.data.class_balance import count_objects
from paddle_focal.engine import runtime

pytestmark = pytest.mark.usefixtures("workspace_copy")


class Files:
    """One file that serves training and evaluation."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "coco.json"
        draw_pictures(folder)
        places = ("dataset_dir", folder), ("image_dir", "."), ("anno_path", self.path.name)
        options = [f"{section}.{key}={value}" for section in preflight.SECTIONS for key, value in places]
        settings = [f"save_dir={folder}", "TrainReader.batch_size=1", *options]
        self.config = runtime.load_config(ArgumentParser("").parse_args(["-c", str(CONFIG), "-o", *settings]))

    def write(self, document: dict) -> None:
        self.path.write_text(json.dumps(document))
        self.config["num_classes"] = len(document["categories"])

    def dataset(self, section: str):
        """As ppdet reads it."""
        dataset = workspace.create(section)()
        dataset.parse_dataset()
        return dataset

    def trained_on(self) -> Counter:
        """File, class, and box as two corners, of the boxes that ppdet trains on. Its pictures are decoded, too."""
        boxes = Counter()
        for record in self.dataset("TrainDataset").roidbs:
            sample = Decode()(dict(record))
            assert (sample["h"], sample["w"]) == sample["image"].shape[:2]
            name = Path(record["im_file"]).name
            for label, box in zip(record["gt_class"].ravel(), record["gt_bbox"]):
                boxes[(name, int(label), *np.round(box.astype(float), 3).tolist())] += 1
        return boxes

    def average_precision(self, document: dict) -> float | None:
        """The AP of detections that are just the annotations; None where there are none."""
        dataset = self.dataset("EvalDataset")
        metric = COCOMetric(
            str(self.path),
            clsid2catid={index: number for number, index in dataset.catid2clsid.items()},
            output_eval=str(self.folder),
        )
        for record in dataset.roidbs:
            found = [
                [dataset.catid2clsid[a["category_id"]], 0.9, x, y, x + width, y + height]
                for a in document["annotations"]
                if a["image_id"] == record["im_id"][0] and not a["iscrowd"]
                for x, y, width, height in [a["bbox"]]
            ]
            if found:
                outputs = {"bbox": np.array(found, float), "bbox_num": np.array([len(found)])}
                metric.update({"im_id": record["im_id"][None]}, outputs)
        metric.accumulate()
        return float(metric.get_results()["bbox"][0]) if metric.get_results() else None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("coco")


@pytest.fixture
def files(folder):
    return Files(folder)


def attempt(function, *arguments):
    """What a function returns or raises."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
            return function(*arguments)
    except Exception as error:
        return error


def annotated(document: dict) -> Counter:
    """What is written in a sound file, as Files.trained_on gives it."""
    names = {image["id"]: Path(image["file_name"]).name for image in document["images"]}
    labels = {category["id"]: i for i, category in enumerate(document["categories"])}
    boxes = Counter()
    for annotation in document["annotations"]:
        if not annotation["iscrowd"]:
            x, y, width, height = annotation["bbox"]
            corners = np.round([x, y, x + width, y + height], 3).tolist()
            boxes[(names[annotation["image_id"]], labels[annotation["category_id"]], *corners)] += 1
    return boxes


def by_class(document: dict, boxes: Counter) -> list[int]:
    counts = Counter()
    for (_, label, *_), count in boxes.items():
        counts[label] += count
    return [counts[label] for label in range(len(document["categories"]))]


def about(section: str, lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(f"{section}: ")]


@settings(fuzz, max_examples=EXAMPLES or 25)  # a third of a second each
@given(document=documents())
def test_agreement(files, document):
    files.write(document)
    report = preflight.check_data(files.config)
    warnings = about("TrainDataset", report.warnings)
    trained, counted = attempt(files.trained_on), attempt(count_objects, files.path)
    if not about("TrainDataset", report.errors):
        assert isinstance(trained, Counter), trained
        assert f"{sum(trained.values()):,} boxes of " in report.notes[0]
        if not any("files are missing in" in line or "names belong to several" in line for line in warnings):
            assert isinstance(counted, dict), counted
            assert list(counted.values()) == by_class(document, trained)
        if not warnings:
            assert trained == annotated(document)
    else:
        assert isinstance(counted, (dict, ValueError)), counted
    precision = attempt(files.average_precision, document)
    if not about("EvalDataset", report.errors):
        assert not isinstance(precision, Exception), precision
        if not about("EvalDataset", report.warnings):
            assert precision == (pytest.approx(1) if annotated(document) else None)
