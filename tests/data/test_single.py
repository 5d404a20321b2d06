"""Annotation files without a configuration."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("ppdet")

from paddle_focal.data.checks import single
from paddle_focal.data.checks.data_report import DataReport


def write(annotations: Path, images: Path, names: list[str]) -> None:
    """An annotation file and its images, with a box in each."""
    for path in (annotations.parent, images):
        path.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(images / name), np.zeros((16, 16, 3), np.uint8))
    box = {"bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0}
    content = {
        "images": [{"id": i, "file_name": name, "width": 16, "height": 16} for i, name in enumerate(names, 1)],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, **box} for i, _ in enumerate(names, 1)],
        "categories": [{"id": i, "name": f"c{i}"} for i in (1, 2)],
    }
    annotations.write_text(json.dumps(content))


def check(path: Path, image_dir: str | None = None) -> DataReport:
    report = DataReport()
    single.check_files([path] if path.is_file() else single.annotation_files(path), image_dir, report)
    return report


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("annotations/instances_{}.json", "{}"),
        ("annotations/instances_{}2017.json", "{}2017"),
        ("annotations/instances_{}.json", "images/{}"),
        ("{}/_annotations.coco.json", "{}"),
    ],
)
def test_a_folder_whose_splits_have_images_of_the_same_names(tmp_path, annotations, images):
    """Each split's are found, by their folder's name: none are in both."""
    for split, names in (("train", ["a.png", "b.png"]), ("val", ["a.png"])):
        write(tmp_path / annotations.format(split), tmp_path / images.format(split), names)
    report = check(tmp_path)
    assert (report.errors, report.notes) == (
        [],
        [
            f"{section}Dataset: {images} images, 0 of them without boxes, {images} boxes of 2 classes, 0 crowds"
            for section, images in (("Train", 2), ("Eval", 1))
        ],
    )
    assert report.warnings == ["TrainDataset: 1 classes have no boxes: c2"]


@pytest.mark.parametrize("images", [".", "pictures", "../images"])
def test_one_file(tmp_path, images):
    path = tmp_path / "marks/all.json"
    write(path, tmp_path / "marks" / images, ["a.png"])
    report = check(path)
    assert (report.errors, report.warnings) == ([], [])
    assert report.notes == ["all.json: 1 images, 0 of them without boxes, 1 boxes of 2 classes, 0 crowds"]


def test_images_elsewhere(tmp_path):
    write(tmp_path / "marks/all.json", tmp_path / "far/away", ["a.png"])
    assert check(tmp_path / "marks/all.json").errors == ["all.json: empty: of 1 images, none is left"]
    assert check(tmp_path / "marks/all.json", str(tmp_path / "far/away")).errors == []


@pytest.mark.parametrize("text", ["[1", "[]", '{"images": 3}', '{"images": [{"file_name": 3}], "categories": []}'])
def test_files_that_are_none(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    assert check(tmp_path / "a.json").errors


def test_other_folders(tmp_path):
    (tmp_path / "a.json").touch()
    assert single.annotation_files(tmp_path) == []
