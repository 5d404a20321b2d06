"""The names of the classes in predictions and exported models, where a configuration names no TestDataset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

pytest.importorskip("ppdet")

import voc_data
from ppdet.data.source.dataset import ImageFolder
from small_runs import CONFIG, SmallRuns

from paddle_focal.cli.arguments import ArgumentParser
from paddle_focal.engine import class_names, runtime
from paddle_focal.errors import ToolError

COLOURS = [f"colour {i}" for i in range(10)]


@pytest.fixture
def colours(small_runs: SmallRuns, tmp_path):
    """The small runs' data with other names of their classes."""
    folder = tmp_path / "colours"
    (folder / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (folder / split).symlink_to(small_runs.data / split)
        document = json.loads((small_runs.data / f"annotations/instances_{split}.json").read_text())
        for category, name in zip(document["categories"], COLOURS):
            category["name"] = name
        (folder / f"annotations/instances_{split}.json").write_text(json.dumps(document))
    small_runs.data = folder
    return folder


NOWHERE = "TestDataset.dataset_dir=nowhere"


@pytest.mark.parametrize("format", ["COCO", "VOC"])
def test_those_of_the_data_that_was_evaluated_on(small_runs: SmallRuns, colours, tmp_path, format):
    data = voc_data.from_coco(colours, tmp_path / "voc") if format == "VOC" else []
    weights = f"weights={small_runs.random_weights()}"
    pictures = ["--infer_dir", str(colours / "val"), "--output_dir", str(tmp_path / "drawn"), "--visualize", "false"]
    small_runs.infer(*data, weights, NOWHERE, "RetinaHead.nms.score_threshold=0.0", flags=pictures)
    boxes = json.loads((tmp_path / "drawn/predictions.json").read_text())
    assert {(box["category_id"] + (format == "VOC"), box["category"]) for box in boxes} <= set(enumerate(COLOURS, 1))
    assert len(boxes) > 10


@pytest.mark.slow
def test_those_of_an_exported_model(small_runs: SmallRuns, colours, tmp_path):
    data = voc_data.from_coco(colours, tmp_path / "voc")
    weights = f"weights={small_runs.random_weights()}"
    small_runs.export(*data, weights, NOWHERE, flags=["--output_dir", str(tmp_path / "exported")])
    exported = yaml.safe_load((tmp_path / "exported" / CONFIG.stem / "infer_cfg.yml").read_text())
    assert exported["label_list"] == COLOURS


@pytest.fixture
def settled(workspace_copy, tmp_path):
    """Chooses the file of a TestDataset whose EvalDataset has ten classes, and gives the file that is taken."""
    (tmp_path / "val.json").write_text(json.dumps({"categories": [{"id": i, "name": name} for i, name in
                                                                  enumerate(COLOURS)]}))  # fmt: skip
    (tmp_path / "three.txt").write_text("red\ngreen\nblue\n")
    (tmp_path / "four.txt").write_text("background\nred\ngreen\nblue\n")
    (tmp_path / "digits.txt").write_text("".join(f"{i}\n" for i in range(10)))

    def settle(path: str | None, classes: int, evaluation: str = "val.json", metric: str = "COCO") -> str:
        options = [
            f"EvalDataset.{key}={value}" for key, value in (("dataset_dir", tmp_path), ("anno_path", evaluation))
        ]
        options += [f"num_classes={classes}", f"metric={metric}", "TrainDataset.dataset_dir=nowhere"]
        config = runtime.load_config(ArgumentParser("").parse_args(["-c", str(CONFIG), "-o", *options]))
        dataset = ImageFolder(str(tmp_path), anno_path=path)
        class_names.settle(config, dataset)
        return Path(dataset.get_anno()).relative_to(tmp_path).as_posix()

    return settle


def test_a_file_of_as_many_classes_is_taken(settled, caplog):
    assert settled("three.txt", 3) == "three.txt"
    assert settled("four.txt", 3) == "four.txt"  # without the background, as ppdet reads it
    assert settled("val.json", 10) == "val.json"
    assert settled("three.txt", 3, metric="VOC") == "three.txt"
    assert "nam" not in caplog.text


def test_another_one_is_not(settled, caplog, tmp_path):
    assert settled("three.txt", 10) == settled("none.json", 10) == settled(None, 10) == "val.json"
    found = [f"{tmp_path}/three.txt, which has 3", f"{tmp_path}/none.json, which is not there", "no file"]
    said = f"The classes have the names in {tmp_path}/val.json, as TestDataset names"
    assert caplog.messages == [f"{said} {one}" for one in found]


def test_names_of_other_data_are_warned_of(settled, caplog, tmp_path):
    assert settled("digits.txt", 10) == "digits.txt"
    assert caplog.messages == [f"TestDataset names other classes ({tmp_path}/digits.txt) than {tmp_path}/val.json"]


@pytest.mark.parametrize(
    ("path", "classes", "metric", "words"),
    [
        ("three.txt", 4, "COCO", "an annotation file, or a text file with a class a line, of the model's 4 classes, "
         "but it names {}/three.txt, which has 3"),
        ("none.txt", 4, "COCO", "but it names {}/none.txt, which is not there"),
        ("val.json", 10, "VOC", "must be a text file with a class a line, of the model's 10 classes, but it names "
         "{}/val.json, which has no list of classes"),
    ],
)  # fmt: skip
def test_nothing_fits(settled, tmp_path, path, classes, metric, words):
    with pytest.raises(ToolError) as error:
        settled(path, classes, metric=metric)
    assert str(error.value).startswith("TestDataset.anno_path, under TestDataset.dataset_dir, must be ")
    assert str(error.value).endswith(words.format(tmp_path))


def test_names_that_ppdet_knows(settled):
    assert settled("none.json", 80) == "none.json"
    assert settled("none.txt", 20, metric="VOC") == "none.txt"
    with pytest.raises(ToolError):
        settled("three.txt", 80)
