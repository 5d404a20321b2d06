"""What is said of data in VOC's format, and what ppdet does with it."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("ppdet")

from faulty_data import CONFIG
from ppdet.data.source.voc import VOCDataSet
from voc_data import xml

from paddle_focal.cli import class_alpha
from paddle_focal.cli.arguments import ArgumentParser
from paddle_focal.data.annotations import ground_truth
from paddle_focal.data.checks import preflight
from paddle_focal.data.checks.data_report import DataReport
from paddle_focal.data.checks.voc_check import check_voc
from paddle_focal.engine import runtime

SIZE = (20, 10)


class Data:
    """Three training images with an object each, one validation image; names, lists and XML files can be changed."""

    def __init__(self, folder) -> None:
        self.folder, self.num_classes = folder, 3
        self.labels = "cat\ndog\ncow\n"
        self.xml = {f"train/{i}": xml(SIZE, [(name, (2, 2, 6, 6))]) for i, name in enumerate(("cat", "dog", "cow"))}
        self.xml["val/7"] = xml(SIZE, [("cat", (2, 2, 6, 6)), ("dog", (1, 1, 3, 3), 1)])
        self.lines = {split: [] for split in ("train", "val")}
        for name in self.xml:
            self.lines[name.split("/")[0]].append(f"{name}.png {name}.xml")
            self.draw(name)
        self.settings: list[str] = []

    def draw(self, name: str, size=SIZE) -> None:
        (self.folder / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(self.folder / f"{name}.png"), np.zeros((size[1], size[0], 3), "uint8"))

    def add(self, name: str, text: str) -> None:
        """A training image."""
        self.draw(f"train/{name}")
        self.xml[f"train/{name}"] = text
        self.lines["train"].append(f"train/{name}.png train/{name}.xml")

    def add_object(self, *entry) -> None:
        self.xml["train/0"] = xml(SIZE, [("cat", (2, 2, 6, 6)), entry])

    def write(self) -> None:
        for name, text in self.xml.items():
            (self.folder / f"{name}.xml").write_text(text)
        for split, lines in self.lines.items():
            (self.folder / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines))
        (self.folder / "labels.txt").write_text(self.labels)

    def options(self) -> list[str]:
        where = f"name: VOCDataSet, dataset_dir: {self.folder}, image_dir: '', label_list: labels.txt"
        fields = "[image, gt_bbox, gt_class, difficult]"
        sections = [
            f"{section}Dataset={{{where}, anno_path: {split}.txt, data_fields: {fields}}}"
            for section, split in (("Train", "train"), ("Eval", "val"))
        ]
        save = f"save_dir={self.folder}/output"
        return [*sections, "metric=VOC", f"num_classes={self.num_classes}", save, "TrainReader.batch_size=1"]

    def check(self, *options: str) -> DataReport:
        self.write()
        flags = ArgumentParser("").parse_args(["-c", str(CONFIG), "-o", *self.options(), *options])
        return preflight.check_data(runtime.load_config(flags))

    def train_set(self, **options) -> VOCDataSet:
        fields = ["image", "gt_bbox", "gt_class", "difficult"]
        return VOCDataSet(str(self.folder), "", "train.txt", fields, label_list="labels.txt", **options)


@pytest.fixture
def data(tmp_path, workspace_copy):
    return Data(tmp_path)


def test_no_fault(data):
    report = data.check()
    assert (report.errors, report.warnings) == ([], [])
    assert report.notes == [
        "TrainDataset: 3 images, 0 of them without objects, 3 boxes of 3 classes, 0 of them difficult",
        "EvalDataset: 1 images, 0 of them without objects, 2 boxes of 3 classes, 1 of them difficult",
    ]


def unknown_class(data):
    data.add_object("cat ", (1, 1, 3, 3))


def no_size(data):
    data.xml["train/1"] = "<annotation><object/></annotation>"


def flat_size(data):
    data.xml["train/1"] = xml((0, 10))


def no_corner(data):
    data.xml["train/1"] = xml(SIZE, [("dog", (1, 1, 3, 3))]).replace("<xmax>3</xmax>", "")


def text_corner(data):
    data.add_object("dog", (1, 1, "three", 3))


def not_finite(data):
    data.add_object("dog", (1, 1, "nan", 3))


def no_xml(data):
    data.xml["train/1"] = "<annotation>"


def bad_number(data):
    data.xml["train/1"] = xml(SIZE, [("dog", (1, 1, 3, 3))], extra="<id>a1</id>")


def same_number(data):
    data.xml["train/1"] = xml(SIZE, [("dog", (1, 1, 3, 3))], extra="<id>2</id>")


def bad_difficult(data):
    data.xml["train/1"] = xml(SIZE, [("dog", (1, 1, 3, 3), "yes")])


def one_column(data):
    data.lines["train"].append("train/0.png")


def empty_label(data):
    data.labels, data.num_classes = "cat\ndog\ncow\n\n", 4


def repeated_label(data):
    data.labels, data.num_classes = "cat\ndog\ncow\ndog\n", 4


def wrong_count(data):
    data.num_classes = 4


UNREADABLE = "1 of 3 XML files cannot be read as VOC's: {}/train/"
#: What is done; with what the only error begins, {} for the folder.
ERRORS = {
    "class": (unknown_class, "1 classes are not in the label list: 'cat ' in {}/train/0.xml; it has cat, dog, cow"),
    "size": (no_size, UNREADABLE + "1.xml: size/width must be a finite number, but"),
    "flat": (flat_size, UNREADABLE + "1.xml: its size must be > 0, but is 0 x 10"),
    "corner": (no_corner, UNREADABLE + "1.xml: bndbox/xmax must be a finite number,"),
    "text": (text_corner, UNREADABLE + "0.xml: bndbox/xmax must be a finite number,"),
    "nan": (not_finite, UNREADABLE + "0.xml: bndbox/xmax must be a finite number,"),
    "xml": (no_xml, UNREADABLE + "1.xml: no element found"),
    "id": (bad_number, UNREADABLE + "1.xml: id must be an integer, but is 'a1'"),
    "id twice": (same_number, "1 numbers belong to several images, <id> in the XML file or else the place in the"),
    "difficult": (bad_difficult, UNREADABLE + "1.xml: difficult must be 0 or 1,"),
    "column": (one_column, "{}/train.txt: lines must be an image and its XML file, apart by a space, but not so"),
    "empty label": (empty_label, "the label list {}/labels.txt has an empty line, 4, which counts as a class"),
    "label twice": (repeated_label, "the label list {}/labels.txt has names twice: dog"),
    "count": (wrong_count, "num_classes is 4, but there are 3 categories (cat, dog, cow): set num_classes: 3; the"),
}  # fmt: skip


@pytest.mark.parametrize("fault", ERRORS)
def test_an_error(data, fault):
    change, said = ERRORS[fault]
    change(data)
    (error, *others) = [error for error in data.check().errors if error.startswith("TrainDataset: ")]
    assert error.startswith(f"TrainDataset: {said.replace('{}', str(data.folder))}")
    assert not others


def missing_image(data):
    (data.folder / "train/1.png").unlink()


def name_with_a_space(data):
    data.add("a b", xml(SIZE, [("dog", (1, 1, 3, 3))]))


def no_area(data):
    data.add_object("dog", (5, 1, 5, 3))


def beyond(data):
    data.add_object("dog", (30, 1, 40, 3))


def reaching_out(data):
    data.add_object("dog", (10, 1, 25, 3))


def no_objects(data):
    data.add("empty", xml(SIZE))


def listed_twice(data):
    data.lines["train"].append(data.lines["train"][0])


def another_size(data):
    data.draw("train/1", (30, 10))


#: What is done; what is said of it; how many boxes are left of those that there are, by ppdet's own reading.
WARNINGS = {
    "missing": (missing_image, "1 of 3 lines name files that are missing: {}/train/1.png; PaddleDetection leaves", 2),
    "space": (name_with_a_space, "1 of 4 lines name files that are missing: {}/train/a, {}/b.png; PaddleDetection", 3),
    "flat": (no_area, "1 of 4 boxes (xmin, ymin, xmax, ymax) have no area in their image, and are left out: {}/", 3),
    "beyond": (beyond, "1 of 4 boxes (xmin, ymin, xmax, ymax) have no area in their image, and are left out: {}/", 3),
    "out": (reaching_out, "1 of 4 boxes (xmin, ymin, xmax, ymax) reach out of their image by more than a pixel", 4),
    "empty": (no_objects, "1 of 4 images have no objects: {}/train/empty.png; PaddleDetection leaves them out", 3),
    "size": (another_size, "1 of 3 images have another size than annotated, where their boxes may be", 3),
    "twice": (listed_twice, "1 images are listed more than once: {}/train/0.png", 4),
}  # fmt: skip


@pytest.mark.parametrize("fault", WARNINGS)
def test_a_warning(data, fault):
    change, said, left = WARNINGS[fault]
    change(data)
    report = data.check()
    assert not report.errors
    warnings = [warning for warning in report.warnings if "classes have no boxes" not in warning]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"TrainDataset: {said.replace('{}', str(data.folder))}")
    dataset = data.train_set()
    dataset.parse_dataset()
    assert sum(len(record["gt_bbox"]) for record in dataset.roidbs) == left
    assert f" {left} boxes of 3 classes" in report.notes[0]


def test_an_image_without_objects_is_kept_if_it_is_wanted(data):
    no_objects(data)
    data.write()
    report = DataReport()
    contents = check_voc(data.train_set(allow_empty=True), 3, report, evaluated=False)
    assert (report.errors, report.warnings, contents.images) == ([], [], 4)


def test_images_in_a_folder_of_their_own(data):
    """To which the names of the list belong, and those that are said of the images."""
    data.lines["train"] = [f"{i}.png {i}.xml" for i in range(3)]
    another_size(data)
    (data.folder / "train/2.png").unlink()
    data.write()
    dataset, report = data.train_set(), DataReport()
    dataset.image_dir = "train"
    contents = check_voc(dataset, 3, report)
    assert contents.files == {str(data.folder / "train" / name) for name in ("0.png", "1.png")}
    assert report.errors == []
    assert report.warnings == [
        f"1 of 3 lines name files that are missing: {data.folder}/train/2.png; PaddleDetection leaves these images "
        "out. A name with a space ends there",
        "1 of 2 images have another size than annotated, where their boxes may be wrong: 1.png 30x10 instead of 20x10",
    ]


@pytest.mark.parametrize("name", ["train.txt", "labels.txt"])
def test_a_file_that_is_missing(data, name):
    data.write()
    (data.folder / name).unlink()
    report = DataReport()
    assert check_voc(data.train_set(), 3, report, evaluated=False) is None
    (error,) = report.errors
    assert f"{data.folder}/{name} cannot be read: " in error


def test_no_line_at_all(data):
    data.lines["train"] = []
    assert "TrainDataset: empty: of 0 lines, no image is left" in data.check().errors


def test_the_fields_that_are_needed(data):
    data.write()
    for evaluated, lacking in ((False, "gt_bbox, gt_class"), (True, "gt_bbox, gt_class, difficult")):
        report, dataset = DataReport(), data.train_set()
        dataset.data_fields = ["image"]
        check_voc(dataset, 3, report, evaluated=evaluated)
        assert report.errors == [f"data_fields lacks {lacking}: set data_fields: [image, {lacking}]"]


def test_the_metric_of_another_format(data):
    (error,) = data.check("metric=COCO").errors
    assert error == "EvalDataset: metric is COCO, but a VOCDataSet needs another one: set metric: VOC"


def test_classes_of_voc_itself(data):
    data.write()
    dataset = data.train_set()
    dataset.label_list = None
    report = DataReport()
    contents = check_voc(dataset, 20, report, evaluated=False)
    assert not report.errors
    assert contents.classes[7] == "cat"
    assert contents.boxes[[7, 9, 11]].tolist() == [1, 1, 1]


def test_images_of_both_sets(data):
    data.lines["val"].append(data.lines["train"][0])
    report = data.check()
    assert report.warnings[-1].startswith("TrainDataset and EvalDataset: 1 images are in both: ")


corner = st.one_of(st.integers(-3, 25), st.floats(-3, 25).map(lambda value: round(value, 1)))
entry = st.tuples(st.sampled_from(["cat", "dog", "cow", "cat ", ""]), st.tuples(*[corner] * 4), st.integers(0, 1))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(entry, max_size=3), min_size=1, max_size=4))
def test_as_ppdet_reads_it(tmp_path, files):
    """Without an error ppdet keeps as many boxes of each class as are counted, and all where nothing is said."""
    logging.getLogger("ppdet.data.source.voc").disabled = True
    data = Data(tmp_path)
    data.xml = {f"train/{i}": xml(SIZE, objects) for i, objects in enumerate(files)}
    data.lines["train"] = [f"{name}.png {name}.xml" for name in data.xml]
    for name in data.xml:
        data.draw(name)
    data.write()
    report, dataset = DataReport(), data.train_set()
    contents = check_voc(dataset, 3, report, evaluated=True)
    names = {name for objects in files for name, *_ in objects}
    kept_names = {"cat", "dog", "cow"}
    if not report.errors:
        dataset.parse_dataset()
        labels = [label for record in dataset.roidbs for label in record["gt_class"].flatten().tolist()]
        assert np.bincount(labels, minlength=3).tolist() == contents.boxes.tolist()
        assert len(dataset.roidbs) == contents.images
        if not report.warnings:
            assert len(labels) == sum(map(len, files))
            truth = ground_truth(dataset)
            expected = [box for objects in files for _, box, _ in objects]
            for found, (x1, y1, x2, y2) in zip(truth.dataset["annotations"], expected):
                corners = np.clip([x1, y1, x2, y2], 0, [20, 10, 19, 9])
                x, y, width, height = found["bbox"]
                np.testing.assert_allclose([x, y, x + width, y + height], corners, atol=1e-5)
    elif names <= kept_names:
        assert report.errors == [f"empty: of {len(files)} lines, no image is left"]


def test_class_alpha_counts_what_is_trained_on(data, tmp_path, capsys):
    no_area(data)
    data.write()
    class_alpha.main(["-c", str(CONFIG), "-o", *data.options(), "--output", str(tmp_path / "alpha.png")])
    said = capsys.readouterr().out
    assert [line.split()[:2] for line in said.splitlines()[1:4]] == [["cat", "1"], ["dog", "1"], ["cow", "1"]]
    assert (tmp_path / "alpha.png").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "one of the arguments -c/--config --annotations is required"),
        (["-c", "a.yml", "--annotations", "b.json"], "not allowed with argument"),
        (["--annotations", __file__, "-o", "a=1"], "-o goes with -c"),
    ],
)
def test_what_class_alpha_counts(arguments, said, capsys):
    with pytest.raises(SystemExit):
        class_alpha.parse_arguments(arguments)
    assert said in capsys.readouterr().err
