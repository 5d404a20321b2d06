"""All that convert prints and logs, and what its flags hand on."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

pytest.importorskip("ppdet")

from foreign_data import ForeignData, labelme, shape, voc, voc_object

from paddle_focal.cli import convert
from paddle_focal.data.checks.data_report import DataReport
from paddle_focal.data.formats import conversion
from paddle_focal.data.formats.layout import Sample
from paddle_focal.errors import ToolError

LONG = "a_folder_whose_name_has_very_many_letters/" * 4 + "图"
PRINTED = f"""\
{LONG}/annotations/instances_train.json
{LONG}/annotations/instances_val.json
{LONG}/annotations/instances_test.json

num_classes: 2

TrainDataset:
  dataset_dir: {LONG}
  image_dir: images
  anno_path: annotations/instances_train.json

EvalDataset:
  dataset_dir: {LONG}
  image_dir: images
  anno_path: annotations/instances_val.json

TestDataset:
  dataset_dir: {LONG}
  anno_path: annotations/instances_val.json
"""


@pytest.fixture
def log(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("paddle_focal"), "propagate", True)
    caplog.set_level(logging.INFO)
    return caplog


def test_a_split_data_set(tmp_path, monkeypatch, capsys, log):
    monkeypatch.chdir(tmp_path)
    data = ForeignData(tmp_path / LONG)
    for number in range(4):
        data.draw(f"images/{number}.jpg")
        difficult = voc_object("dog", 3, 3, 9, 9, difficult=1)
        data.write({f"annotations/{number}.xml": voc(voc_object("cat", 1, 2, 5, 8), difficult)})
    data.write({"train.txt": "0\n1\n", "val.txt": "2\n", "test.txt": "3\n"})
    convert.main([LONG])
    output = capsys.readouterr().out
    assert output[output.index(LONG) :] == PRINTED
    assert log.messages[:3] == [
        "voc: 4 images, 0 of them without an annotation file, as background",
        "4 difficult objects: trained on like others, left out of evaluation as crowds",
        "categories: 1 cat, 2 dog",
    ]
    crowds = [
        [box["iscrowd"] for box in json.loads((tmp_path / f"{LONG}/annotations/instances_{name}.json").read_text())[
            "annotations"
        ]]
        for name in ("train", "val", "test")
    ]  # fmt: skip
    assert crowds == [[0, 0, 0, 0], [0, 1], [0, 1]]


def test_counts_of_thousands(tmp_path):
    samples = [Sample(Path(f"{i}.jpg"), Path("a.xml") if i else None) for i in range(1200)]
    part = conversion.Part("train", "TrainDataset", samples, tmp_path, tmp_path / "a.json")
    content = {
        "annotations": 1100 * [{"difficult": 1}] + [{}],
        "categories": [{"id": 1, "name": "a"}, {"id": 5, "name": "b"}],
    }
    report = DataReport()
    conversion._note("voc", [part], [content], report)
    assert report.notes == [
        "voc: 1,200 images, 1 of them without an annotation file, as background",
        "1,100 difficult objects: trained on like others, left out of evaluation as crowds",
        "categories: 1 a, 5 b",
    ]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], {}),
        (["--dataset_type", "voc", "--overwrite", "--encoding", "gbk"], {
            "dataset_type": "voc", "overwrite": True, "encoding": "gbk",
        }),
        (["--image_dir", "pics", "--anno_dir", "marks", "--label_list", "names.txt", "--output_dir", "o"], {
            "image_dir": "pics", "anno_dir": "marks", "label_list": Path("names.txt"), "output_dir": Path("o"),
        }),
        (["--val", "0", "--seed", "7", "--skip_bad_boxes"], {"val": 0.0, "seed": 7, "skip_bad_boxes": True}),
        (["--image_input_dir", "pics", "--json_input_dir", "marks"], {"image_dir": "pics", "anno_dir": "marks"}),
        (["--voc_anno_dir", "marks", "--voc_label_list", "names.txt", "--val_proportion", "0.5"], {
            "anno_dir": "marks", "label_list": Path("names.txt"), "val": 0.5,
        }),
    ],
)  # fmt: skip
def test_flags(tmp_path, monkeypatch, flags, expected):
    monkeypatch.chdir(tmp_path)
    for name in ("set/pics", "set/marks"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "names.txt").touch()
    defaults = {
        **dict.fromkeys(("dataset_type", "image_dir", "anno_dir", "label_list", "val", "seed", "output_dir")),
        **{"folder": Path("set"), "overwrite": False, "encoding": None, "skip_bad_boxes": False},
    }
    assert vars(convert.parse_arguments(["set", *flags])) == {**defaults, **expected}


@pytest.mark.parametrize(
    ("flags", "kind"),
    [(["set/data.yaml"], "yolo"), (["set/Data.YML", "--dataset_type", "voc"], "voc"), (["set"], None)],
)
def test_a_data_yaml_stands_for_its_folder(tmp_path, monkeypatch, flags, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    for name in ("data.yaml", "Data.YML"):
        (tmp_path / "set" / name).touch()
    options = convert.parse_arguments(flags)
    assert (options.folder, options.dataset_type) == (Path("set"), kind)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["set/none.yaml"], "no such folder: set/none.yaml"),
        (["set", "--anno_dir", "x"], "no such folder: set/x"),
        (["set", "--val", "-0.1"], "--val must be a number in [0, 1), but got -0.1"),
        (["set", "--label_list", "set"], "no such file: set"),
    ],
)
def test_bad_flags(tmp_path, monkeypatch, capsys, flags, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    with pytest.raises(SystemExit) as end:
        convert.parse_arguments(flags)
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: {said}\n")


def test_bad_boxes_and_other_encodings(tmp_path, monkeypatch, capsys, log):
    """Flags that the formats are handed."""
    monkeypatch.chdir(tmp_path)
    data = ForeignData(tmp_path / "set")
    for number in range(5):
        data.draw(f"pics/{number}.jpg")
        data.write({f"marks/{number}.json": labelme(shape("cat", (1, 2), (3, 4)))})
    data.write({"marks/0.json": labelme(shape("cat", (1, 2), (1, 4)), shape("猫", (1, 2), (3, 4)))})
    (data.folder / "names.txt").write_bytes("cat\n猫\n".encode("gbk"))
    flags = ["set", "--dataset_type", "labelme", "--image_dir", "pics", "--anno_dir", "marks", "--label_list"]
    flags += ["set/names.txt", "--output_dir", "o"]
    for missing in ("--skip_bad_boxes", "--encoding"):
        given = [flag for flag in ("--skip_bad_boxes", "--encoding") if flag != missing]
        with pytest.raises(SystemExit) as end:
            convert.main(
                [*flags, *(one for flag in given for one in ([flag, "gbk"] if flag == "--encoding" else [flag]))]
            )
        assert end.value.code == 1
    assert not (tmp_path / "o").exists()
    convert.main([*flags, "--skip_bad_boxes", "--encoding", "gbk"])
    documents = [
        json.loads((tmp_path / f"o/annotations/instances_{name}.json").read_text()) for name in ("train", "val")
    ]
    assert [category["name"] for category in documents[0]["categories"]] == ["cat", "猫"]
    assert sum(len(document["annotations"]) for document in documents) == 5


def test_all_files_that_exist_are_named(tmp_path):
    targets = [tmp_path / f"{name}.json" for name in ("a", "b", "c")]
    parts = [conversion.Part("train", None, [], tmp_path, target) for target in targets]
    conversion._refuse_existing(parts, overwrite=False)
    for target in targets[:2]:
        target.touch()
    with pytest.raises(ToolError) as error:
        conversion._refuse_existing(parts, overwrite=False)
    assert str(error.value) == (
        f"there already: {targets[0]}, {targets[1]}; remove them, choose another --output_dir, or pass --overwrite"
    )
    conversion._refuse_existing(parts, overwrite=True)


def test_one_image_cannot_be_split(tmp_path, monkeypatch, log):
    monkeypatch.chdir(tmp_path)
    data = ForeignData(tmp_path / "set")
    data.draw("images/0.jpg")
    data.write({"annotations/0.xml": voc(voc_object("cat", 1, 2, 5, 8))})
    said = "1 images cannot be split into training and validation; --val 0 does not"
    for flags in ([], ["--val", "0.5"]):
        with pytest.raises(SystemExit) as end:
            convert.main(["set", *flags])
        assert end.value.code == 1
        assert said in log.messages[-1]
    assert not list(tmp_path.rglob("*.json"))
