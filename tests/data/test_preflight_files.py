"""The check of a data set: files, folders and sets that are missing, empty or of another kind."""

from __future__ import annotations

import pytest

pytest.importorskip("ppdet")

from faulty_data import ERRORS, Data
from ppdet.data.source.voc import VOCDataSet
from ppdet.utils import download

from paddle_focal.data.checks import preflight
from paddle_focal.data.checks.data_report import DataReport

pytestmark = pytest.mark.usefixtures("workspace_copy")


@pytest.fixture
def data(tmp_path):
    return Data(tmp_path)


def test_broken_json(data):
    data.write()
    path = data.folder / "annotations/instances_train.json"
    path.write_text(path.read_text()[:-1])
    (error,) = data.check().errors
    assert error.startswith(f"TrainDataset: {path} cannot be read as JSON: Expecting")


@pytest.mark.parametrize(
    ("document", "lacking"),
    [([], "images, categories, annotations"), ({"images": [], "annotations": {}}, "categories, annotations")],
)
def test_no_coco_file(data, document, lacking):
    data.train = document
    data.write()
    path = data.folder / "annotations/instances_train.json"
    assert data.check().errors == [f"TrainDataset: {path} is no COCO annotation file: it has no list of {lacking}"]


def test_entries_of_another_kind(data):
    data.train["annotations"].append(7)
    data.train["images"].append({"id": [1], "file_name": "1.png", "width": 20, "height": 10})
    data.write()
    errors = data.check().errors
    assert "TrainDataset: 1 of 4 images lack id, a whole number: images[3]" in errors
    assert "TrainDataset: 1 of 5 annotations lack id, a number or text: annotations[4]" in errors


def test_missing_files_and_folders(data):
    data.write()
    errors = data.check("TrainDataset.anno_path=no.json", "EvalDataset.image_dir=none").errors
    assert errors == [
        f"TrainDataset: no such annotation file: {data.folder}/no.json; set dataset_dir and anno_path",
        f"EvalDataset: no such image folder: {data.folder}/none; set dataset_dir and image_dir",
    ]
    errors = data.check("TrainDataset.anno_path=null", "EvalDataset.anno_path=no.txt", "EvalDataset.image_dir=val")
    assert errors.errors == [
        "TrainDataset: anno_path names no annotation file",
        f"EvalDataset: the annotation file must end in .json, but is {data.folder}/no.txt",
    ]


def test_a_file_in_the_place_of_the_images(data):
    data.write()
    (data.folder / "none").write_text("")
    (error,) = data.check("EvalDataset.image_dir=none").errors
    assert error.startswith(f"EvalDataset: no such image folder: {data.folder}/none;")


def test_the_metric_of_a_kind_of_voc(data):
    """A class of one's own that is derived from ppdet's."""
    report = DataReport()
    preflight._check_metric("VOC", type("OwnVOC", (VOCDataSet,), {}), report)
    assert report.errors == []
    preflight._check_metric("COCO", type("OwnVOC", (VOCDataSet,), {}), report)
    assert report.errors == ["metric is COCO, but a OwnVOC needs another one: set metric: VOC"]


def test_empty_sets(data):
    data.train["annotations"] = []
    data.val["images"], data.val["annotations"] = [], []
    data.write()
    report = data.check()
    assert report.errors == [
        "TrainDataset: empty: of 3 images, none is left",
        "EvalDataset: empty: of 0 images, none is left",
        "TrainDataset: no boxes to train on",
    ]
    assert data.check("TrainDataset.allow_empty=true").errors == report.errors[1:]


def test_fewer_images_than_a_batch(data, monkeypatch):
    data.write()
    monkeypatch.setattr(preflight.distributed, "get_world_size", lambda: 2)
    assert data.check("TrainReader.batch_size=2").errors == []  # two images, one of them twice, for each of two
    assert data.check("TrainReader.batch_size=3", "TrainReader.drop_last=false").errors == []
    assert data.check("TrainReader.batch_size=3").errors == [
        "TrainDataset: 2 images for each of 2 processes make no batch: TrainReader.batch_size is 3, and drop_last "
        "is true"
    ]


def test_a_repeated_set_makes_a_batch(data):
    data.write()
    said = "TrainDataset: 3 images make no batch: TrainReader.batch_size is 6, and drop_last is true"
    assert data.check("TrainReader.batch_size=6").errors == [said]
    assert data.check("TrainReader.batch_size=6", "TrainDataset.repeat=2").errors == []


def test_images_of_one_folder_by_two_names(data):
    """A link to the training images, with which the validation is."""
    (data.folder / "linked").symlink_to(data.folder / "train")
    data.val["images"][0]["file_name"] = "2.png"
    data.write()
    (warning,) = data.check("EvalDataset.image_dir=linked").warnings
    assert warning == f"TrainDataset and EvalDataset: 1 images are in both: {data.folder}/train/2.png"


def test_up_to_ten_classes_without_boxes_are_named(data):
    for split in (data.train, data.val):
        split["categories"] = [*split["categories"], *({"id": n, "name": f"class{n}"} for n in range(20, 31))]
    data.num_classes += 11
    data.write()
    named = ", ".join(f"class{n}" for n in range(20, 30))
    assert data.check().warnings == [f"TrainDataset: 11 classes have no boxes: {named}, ..."]


def test_what_ppdet_downloads(data, monkeypatch):
    data.write()
    home = data.folder.parent / "home"
    monkeypatch.setattr(download, "DATASET_HOME", str(home))
    elsewhere = f"TrainDataset.dataset_dir={data.folder / 'missing/COCO'}"
    report = data.check(elsewhere)
    assert report.errors == []
    assert report.warnings == [
        f"TrainDataset: not checked: {data.folder}/missing/COCO is incomplete or missing, and PaddleDetection will "
        f"download the data set that it knows by this name to {home}"
    ]
    home.mkdir()
    (home / "coco").symlink_to(data.folder)  # downloaded before
    data.train["annotations"][0]["category_id"] = 7
    data.write()
    assert "category_id 7; there are 1, 5, 9" in data.check(elsewhere).errors[0]


def test_another_kind_of_data_set(data):
    data.write()
    report = data.check("TrainDataset.name=WIDERFaceDataSet")
    assert report.errors == []
    said = "TrainDataset is not checked: only a COCODataSet or a VOCDataSet is, but this is WIDERFaceDataSet"
    assert report.warnings == [said]
    config = data.config()
    said = "TrainDataset is not checked: only a COCODataSet or a VOCDataSet is, but this is none"
    for name in ("Unheard", "coco"):  # the latter is a module
        config["TrainDataset"]["name"] = name
        assert preflight.check_data(config).warnings == [said]


def test_a_data_set_by_its_tag(data):
    ERRORS["category"][0](data)
    data.write()
    keys = f"dataset_dir: {data.folder}, image_dir: train, anno_path: annotations/instances_train.json"
    data.options.clear()
    report = data.check(f"TrainDataset=!COCODataSet {{{keys}}}", sections=["TrainDataset"])
    assert report.errors == [ERRORS["category"][1]]
