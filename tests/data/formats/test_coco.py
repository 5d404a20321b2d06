"""COCO's annotation files, and how images are split into training and validation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("ppdet")

from foreign_data import ForeignData

from paddle_focal.data.checks.data_report import DataReport
from paddle_focal.data.formats import coco
from paddle_focal.data.formats.boxes import Box
from paddle_focal.data.formats.layout import Sample
from paddle_focal.data.formats.reading import AnnotatedImage, class_order

SAMPLES = [Sample(Path(f"/data/images/{number:03}.jpg"), None) for number in range(100)]


def names(samples: list[Sample]) -> set[str]:
    return {sample.image.name for sample in samples}


class TestSplit:
    @pytest.mark.parametrize(("val", "count"), [(0.2, 20), (0.004, 1), (0.999, 99), (0.5, 50)])
    def test_sizes(self, val, count):
        splits = coco.split_by_seed(SAMPLES, val, 0)
        assert len(splits["val"]) == count
        assert sorted(splits["train"] + splits["val"]) == SAMPLES

    def test_no_validation(self):
        assert coco.split_by_seed(SAMPLES, 0, 0) == {"train": SAMPLES}

    def test_one_image(self):
        with pytest.raises(ValueError, match="1 images cannot be split into training and validation; --val 0 does not"):
            coco.split_by_seed(SAMPLES[:1], 0.2, 0)

    def test_it_stays_the_same(self):
        """On every machine, in every version, wherever the folder lies, and whatever order it is read in."""
        splits = coco.split_by_seed(SAMPLES, 0.05, 0)
        assert names(splits["val"]) == {"014.jpg", "020.jpg", "041.jpg", "042.jpg", "081.jpg"}
        moved = [Sample(Path("/elsewhere") / sample.image.name, None) for sample in reversed(SAMPLES)]
        assert names(coco.split_by_seed(moved, 0.05, 0)["val"]) == names(splits["val"])
        assert names(coco.split_by_seed(SAMPLES, 0.05, 1)["val"]) != names(splits["val"])

    def test_images_of_one_name_are_told_apart_by_their_folders(self):
        samples = [Sample(Path(f"/data/{number:03}/a.jpg"), None) for number in range(100)]
        for found in (samples, samples[::-1]):
            folders = {sample.image.parent.name for sample in coco.split_by_seed(found, 0.05, 0)["val"]}
            assert folders == {"001", "039", "043", "080", "083"}

    def test_most_images_stay_where_they_are_when_some_are_added(self):
        before, after = (names(coco.split_by_seed(samples, 0.2, 0)["val"]) for samples in (SAMPLES[:95], SAMPLES))
        assert len(before - after) <= 4


def test_order_of_classes():
    images = [AnnotatedImage(Path("a.jpg"), (9, 9), [Box(name, 1, 1, 2, 2) for name in "zb猫aZ1"])]
    assert class_order(images) == ["1", "Z", "a", "b", "z", "猫"]


def test_document():
    images = [
        AnnotatedImage(Path("/data/images/b/2.jpg"), (20, 10), [Box("dog", 1, 2, 4.5, 6, difficult=True)]),
        AnnotatedImage(Path("/data/images/a/3.jpg"), (30, 40), []),
        AnnotatedImage(Path("/data/images/a/1.jpg"), (50, 60), [Box("cat", 0, 0, 50, 60), Box("dog", 1, 1, 2, 2)]),
    ]
    trained, evaluated = (
        coco.document(images, Path("/data/images"), ["dog", "cow", "cat"], is_evaluated=flag) for flag in (False, True)
    )
    hard = {"difficult": 1}
    assert trained == {
        "images": [
            {"id": 1, "file_name": "a/1.jpg", "width": 50, "height": 60},
            {"id": 2, "file_name": "a/3.jpg", "width": 30, "height": 40},
            {"id": 3, "file_name": "b/2.jpg", "width": 20, "height": 10},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 60], "area": 3000, "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [1, 1, 1, 1], "area": 1, "iscrowd": 0},
            {"id": 3, "image_id": 3, "category_id": 1, "bbox": [1, 2, 3.5, 4], "area": 14, "iscrowd": 0, **hard},
        ],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cow"}, {"id": 3, "name": "cat"}],
    }  # fmt: skip
    assert [entry["iscrowd"] for entry in evaluated["annotations"]] == [0, 0, 1]


@pytest.mark.parametrize("name", ["TrainDataset", "EvalDataset", "test"])
def test_only_training_leaves_out_images_without_boxes(tmp_path, name):
    data = ForeignData(tmp_path)
    data.draw("a.jpg", "b.jpg")
    images = [AnnotatedImage(tmp_path / "a.jpg", (20, 10), [Box("cat", 1, 2, 9, 9)])]
    images += [AnnotatedImage(tmp_path / "b.jpg", (20, 10), [])]
    report = DataReport()
    coco.check(tmp_path, {name: (tmp_path, coco.document(images, tmp_path, ["cat"], is_evaluated=False))}, report)
    cure = "PaddleDetection leaves them out, allow_empty: true keeps them"
    warnings = [f"TrainDataset: 1 of 2 images have no boxes: b.jpg; {cure}"] if name == "TrainDataset" else []
    assert report.warnings == warnings


def test_files_are_ascii_and_whole(tmp_path, monkeypatch):
    path = tmp_path / "annotations/instances.json"
    coco.write(path, {"name": "血细胞"})
    assert path.read_bytes().isascii()
    assert json.loads(path.read_text()) == {"name": "血细胞"}
    monkeypatch.setattr("paddle_focal.files.flush", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        coco.write(path, {})
    assert [file.name for file in path.parent.iterdir()] == ["instances.json"]
    assert json.loads(path.read_text()) == {"name": "血细胞"}
