"""The command convert, from a folder to annotation files and the lines for a configuration."""

from __future__ import annotations

import json
import logging
import os

import pytest
import yaml

pytest.importorskip("ppdet")

from faulty_data import CONFIG
from foreign_data import ForeignData, labelme, shape, voc, voc_object
from ppdet.core import workspace

from paddle_focal.cli import convert
from paddle_focal.cli.arguments import ArgumentParser
from paddle_focal.data.checks.preflight import check_data
from paddle_focal.data.formats import coco
from paddle_focal.data.formats.layout import SPLITS
from paddle_focal.engine import runtime

BOXES = voc_object("cat", 1, 2, 5, 8), voc_object("dog", 3, 3, 9, 9, difficult=1)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Ten images in VOC's format, and one without annotations."""
    monkeypatch.chdir(tmp_path)
    data = ForeignData(tmp_path / "set")
    for number in range(10):
        data.draw(f"images/{number}.jpg")
        data.write({f"annotations/{number}.xml": voc(*BOXES)})
    data.draw("images/empty.jpg")
    return data


@pytest.fixture
def log(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("paddle_focal"), "propagate", True)
    caplog.set_level(logging.INFO)
    return caplog


def read(data, split: str, folder: str = "annotations") -> dict:
    return json.loads((data.folder / folder / f"instances_{split}.json").read_text())


def refused(log, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        convert.main([*arguments])
    assert stopped.value.code == 1
    return log.messages[-1]


@pytest.mark.usefixtures("workspace_copy")
def test_files_and_configuration(data, capsys, log):
    (data.folder / "images/empty.jpg").unlink()
    convert.main(["set"])
    train, val = read(data, "train"), read(data, "val")
    assert [len(document["images"]) for document in (train, val)] == [8, 2]
    names = {image["file_name"] for document in (train, val) for image in document["images"]}
    assert names == {f"{number}.jpg" for number in range(10)}
    for document in (train, val):
        assert document["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert "voc: 10 images, 0 of them without an annotation file, as background" in log.messages
    assert "split at random, as --val 0.2 --seed 0 does: train 8, val 2 images" in log.messages
    assert "10 difficult objects: trained on like others, left out of evaluation as crowds" in log.messages
    assert "categories: 1 cat, 2 dog" in log.messages
    files, configuration = capsys.readouterr().out.split("\n\n", 1)
    assert files.splitlines()[-2:] == ["set/annotations/instances_train.json", "set/annotations/instances_val.json"]
    sections = yaml.safe_load(configuration)
    assert sections == {
        "num_classes": 2,
        "TrainDataset": {
            "dataset_dir": "set",
            "image_dir": "images",
            "anno_path": "annotations/instances_train.json",
        },
        "EvalDataset": {"dataset_dir": "set", "image_dir": "images", "anno_path": "annotations/instances_val.json"},
        "TestDataset": {"dataset_dir": "set", "anno_path": "annotations/instances_val.json"},
    }
    # With these lines, check-data finds the same, and ppdet reads the difficult objects for training.
    path = data.folder.parent / "set.yml"
    path.write_text(f"_BASE_: [{CONFIG}]\n{configuration}")
    flags = ArgumentParser("").parse_args(["-c", str(path)])
    report = check_data(runtime.load_config(flags))
    assert (report.errors, report.warnings) == ([], [])
    assert set(report.notes) <= set(log.messages)
    assert [box["iscrowd"] for box in val["annotations"]] == [0, 1, 0, 1]
    for section, count in (("TrainDataset", 8), ("EvalDataset", 2)):
        dataset = workspace.create(section)()
        dataset.parse_dataset()
        assert len(dataset.roidbs) == count
        for record in dataset.roidbs if section == "TrainDataset" else []:
            assert record["gt_bbox"].tolist() == [[1, 2, 5, 8], [3, 3, 9, 9]]


def test_share_and_seed(data):
    results = []
    for flags in (["--val", "0.5"], ["--val_proportion", "0.5", "--seed", "0"], ["--val", "0.5", "--seed", "1"]):
        convert.main(["set", "--overwrite", *flags])
        results.append([image["file_name"] for image in read(data, "val")["images"]])
    assert len(results[0]) == 6  # of 11
    assert results[0] == results[1] != results[2]


def test_training_only(data, capsys):
    convert.main(["set", "--val", "0"])
    assert len(read(data, "train")["images"]) == 11
    assert not (data.folder / "annotations/instances_val.json").exists()
    sections = yaml.safe_load(capsys.readouterr().out.split("\n\n", 1)[1])
    assert [*sections] == ["num_classes", "TrainDataset", "TestDataset"]


def test_existing_files_are_kept(data, log):
    data.write({"annotations/instances_val.json": "mine"})
    message = refused(log, "set")
    assert message == (
        "there already: set/annotations/instances_val.json; remove them, choose another --output_dir, or pass "
        "--overwrite"
    )
    assert (data.folder / "annotations/instances_val.json").read_text() == "mine"
    assert not (data.folder / "annotations/instances_train.json").exists()
    convert.main(["set", "--overwrite"])
    assert len(read(data, "val")["images"]) == 2


def test_nothing_is_written_where_something_is_wrong(data, log):
    data.write({"annotations/3.xml": "<", "annotations/11.xml": voc(*BOXES), "annotations/4.xml": voc(size=(1, 1))})
    message = refused(log, "set")
    first, *lines = message.splitlines()
    assert first == "3 errors in the data:"
    assert [line.split(": ")[0] for line in lines] == [f"- set/annotations/{name}.xml" for name in ("11", "3", "4")]
    assert not list(data.folder.rglob("*.json*"))


def test_only_faults_of_the_source_are_said_where_there_are_some(data, log):
    for number in range(10):
        data.write({f"annotations/{number}.xml": "<"})
    assert refused(log, "set").startswith("10 errors in the data:")


def test_file_names_that_are_not_utf_8(data, log):
    name = "甲".encode("gbk").decode("utf-8", "surrogateescape")
    for old, new in (("images/3.jpg", f"images/{name}.jpg"), ("annotations/4.xml", f"annotations/{name}x.xml")):
        (data.folder / old).rename(data.folder / new)
    message = refused(log, "set")
    assert "- set/images/\\udcbc\\udcd7.jpg: the file name is not UTF-8: rename it" in message
    assert "- set/annotations/\\udcbc\\udcd7x.xml: no image named \\udcbc\\udcd7x{" in message


def test_images_of_several_folders(data, capsys):
    """Both parts name their images from the same folder on, whatever folders those of one part are from."""
    data.draw("images/more/20.jpg")
    convert.main(["set", "--val", "0.01"])
    sections = yaml.safe_load(capsys.readouterr().out.split("\n\n", 1)[1])
    assert sections["TrainDataset"]["image_dir"] == sections["EvalDataset"]["image_dir"] == "images"
    (image,) = read(data, "val")["images"]
    seeds = iter(range(100))
    while "/" not in image["file_name"]:
        convert.main(["set", "--val", "0.01", "--overwrite", "--seed", str(next(seeds))])
        (image,) = read(data, "val")["images"]
    assert image["file_name"] == "more/20.jpg"


def test_the_result_is_checked(data, log):
    for number in range(10):
        data.write({f"annotations/{number}.xml": voc()})
    data.write({"label_list.txt": "cat\ndog\n"})
    message = refused(log, "set")
    assert "TrainDataset: empty: of 9 images, none is left" in message
    assert "TrainDataset: no boxes to train on" in message
    assert not list(data.folder.rglob("*.json*"))


def test_warnings_of_the_check(data, log):
    data.write({"annotations/0.xml": voc(*BOXES, BOXES[0])})
    convert.main(["set", "--val", "0.1"])
    assert "voc: 11 images, 1 of them without an annotation file, as background" in log.messages
    assert "1 boxes occur more than once in their image: set/annotations/0.xml cat" in log.messages
    assert any("images have no boxes: empty.jpg; PaddleDetection leaves them out" in text for text in log.messages)


def test_a_split_is_kept(data, log, capsys):
    data.write(
        {
            "train.txt": "".join(f"images/{number}.jpg annotations/{number}.xml\n" for number in range(6)),
            "val.txt": "images/6.jpg annotations/6.xml",
            "test.txt": "images/7.jpg annotations/7.xml",
        }
    )
    for flag in (["--val", "0.2"], ["--seed", "0"]):
        message = refused(log, "set", *flag)
        assert message == "set is already split (train 6, val 1, test 1 images): leave out --val and --seed"
    convert.main(["set"])
    assert [len(read(data, split)["images"]) for split in SPLITS] == [6, 1, 1]
    assert read(data, "test")["annotations"][1]["iscrowd"] == 1
    sections = yaml.safe_load(capsys.readouterr().out.split("\n\n", 1)[1])
    assert sections["EvalDataset"]["anno_path"] == "annotations/instances_val.json"


def test_a_test_set_is_evaluated_on_where_there_is_no_other(data, capsys):
    data.write({"trainval.txt": "0\n1\n2\n3", "test.txt": "6"})
    convert.main(["set"])
    sections = yaml.safe_load(capsys.readouterr().out.split("\n\n", 1)[1])
    assert sections["EvalDataset"]["anno_path"] == "annotations/instances_test.json"
    assert sections["TestDataset"]["anno_path"] == "annotations/instances_test.json"


def test_elsewhere(data, capsys):
    data.write({"../my classes.txt": "emu\ndog\ncat\n"})
    convert.main(["set/../set/", "--output_dir", "out", "--label_list", "my classes.txt"])
    sections = yaml.safe_load(capsys.readouterr().out.split("\n\n", 1)[1])
    assert sections["TrainDataset"] == {
        "dataset_dir": "set",
        "image_dir": "images",
        "anno_path": "../out/annotations/instances_train.json",
    }
    assert not list(data.folder.rglob("*.json"))
    document = read(data, "train", "../out/annotations")
    assert [category["name"] for category in document["categories"]] == ["emu", "dog", "cat"]


def test_in_the_folder_itself(data, monkeypatch, capsys):
    monkeypatch.chdir(data.folder)
    convert.main(["."])
    sections = yaml.safe_load(capsys.readouterr().out.split("\n\n", 1)[1])
    assert sections["EvalDataset"]["dataset_dir"] == "."
    assert sections["EvalDataset"]["image_dir"] == "images"


def test_splits_with_folders_of_their_own(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = ForeignData(tmp_path / "set")
    data.draw("images/train/a.jpg", "images/val/b.jpg")
    data.write(
        {
            "data.yaml": "names: [猫]\ntrain: images/train\nval: images/val",
            "labels/train/a.txt": "0 0.5 0.5 0.2 0.4",
            "labels/val/b.txt": "0 0.5 0.5 0.2 0.4",
        }
    )
    convert.main(["set/data.yaml"])
    sections = yaml.safe_load(capsys.readouterr().out.split("\n\n", 1)[1])
    assert [sections[name]["image_dir"] for name in ("TrainDataset", "EvalDataset")] == ["images/train", "images/val"]
    assert read(data, "val")["images"] == [{"id": 1, "file_name": "b.jpg", "width": 20, "height": 10}]
    assert read(data, "val")["annotations"][0]["bbox"] == [8, 3, 4, 4]


def test_labelme_twice(tmp_path, log, monkeypatch):
    """The first run's files are JSON among the annotations, too."""
    monkeypatch.chdir(tmp_path)
    data = ForeignData(tmp_path / "set")
    for number in range(4):
        data.draw(f"images/{number}.jpg")
        data.write({f"annotations/{number}.json": labelme(shape("cat", (1, 2), (3, 4)))})
    convert.main(["set"])
    assert refused(log, "set").startswith("there already: ")
    convert.main(["set", "--overwrite"])
    assert len(read(data, "train")["images"]) == 3


def test_flags_of_x2coco(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = ForeignData(tmp_path)
    for number in range(4):
        data.draw(f"pics/{number}.jpg")
        data.write({f"marks/{number}.json": labelme(shape("cat", (1, 2), (3, 4)))})
    flags = "--dataset_type labelme --json_input_dir marks --image_input_dir pics --output_dir out --val_proportion 0.5"
    convert.main([".", *flags.split()])
    assert len(read(data, "val", "out/annotations")["images"]) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(data, log):
    data.folder.chmod(0o500)
    (data.folder / "annotations").chmod(0o500)
    assert "cannot be written: Permission denied; --output_dir names another place" in refused(log, "set")


def test_a_full_disk(data, log, monkeypatch):
    def fail(path, content):
        if data.folder in path.absolute().parents:
            raise OSError(28, "No space left on device")
        coco_write(path, content)

    coco_write = coco.write
    monkeypatch.setattr(coco, "write", fail)
    assert refused(log, "set") == (
        "set/annotations/instances_train.json cannot be written: No space left on device; --output_dir names another "
        "place"
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["nowhere"], "no such folder: nowhere"),
        (["set", "--image_dir", "pics"], "no such folder: set/pics"),
        (["set", "--label_list", "none.txt"], "no such file: none.txt"),
        (["set", "--val", "1"], "--val must be a number in [0, 1), but got 1"),
        (["set", "--val", "nan"], "--val must be a number in [0, 1), but got nan"),
        (["set", "--dataset_type", "coco"], "invalid choice: 'coco'"),
    ],
)
def test_bad_arguments(data, flags, message, capsys):
    with pytest.raises(SystemExit):
        convert.parse_arguments(flags)
    assert message in capsys.readouterr().err


def test_unreadable_classes(data, log):
    data.write({"label_list.txt": "cat\n\ndog"})
    assert refused(log, "set") == ("set/label_list.txt: has an empty line, 2, before the last class: take it out")


def test_a_list_with_faults_only(data, log):
    data.write({"train.txt": "7.jpg\nx", "val.txt": "y"})
    assert refused(log, "set").startswith("2 errors in the data:\n- set/train.txt: line 2: no image named 'x'")
