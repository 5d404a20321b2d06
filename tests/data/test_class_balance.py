"""Alpha by class frequency, against numbers computed by hand."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure

from paddle_focal import fonts
from paddle_focal.cli import class_alpha as tool
from paddle_focal.data.class_balance import METHODS, class_alpha, count_objects

CELLS = {"RBC": 1100, "WBC": 100, "Platelets": 100}


def test_inverse_frequency():
    # Weights proportional to 1/11, 1, 1 of mean 1: 3/23, 33/23, 33/23; odds of 0.25: 1/3.
    assert class_alpha(CELLS) == pytest.approx({"RBC": 1 / 24, "WBC": 11 / 34, "Platelets": 11 / 34})


def test_frequency():
    # 33/13, 3/13, 3/13 and the odds 1 of alpha 0.5: w / (1 + w).
    assert class_alpha(CELLS, "frequency", alpha=0.5) == pytest.approx(
        {"RBC": 33 / 46, "WBC": 3 / 16, "Platelets": 3 / 16}
    )


def test_effective_number():
    # beta 0.5: effective numbers of 1 and 2 objects are 1 and 1.5, so the weights are 1.2 and 0.8.
    assert class_alpha({"a": 1, "b": 2}, "effective_number", alpha=0.5, beta=0.5) == pytest.approx(
        {"a": 1.2 / 2.2, "b": 0.8 / 1.8}
    )


def test_effective_number_with_the_beta_of_the_paper():
    # beta 0.999: effective numbers of 1000 and 10 objects are 632.305 and 9.95512, so the weights 0.031 and 1.969.
    alphas = class_alpha({"a": 1000, "b": 10}, "effective_number")
    assert alphas == pytest.approx({"a": 0.0102277, "b": 0.3962568}, rel=1e-5)


def test_effective_number_between_its_limits():
    # Cui et al.: beta -> 0 is no weighting, beta -> 1 is inverse frequency.
    assert class_alpha(CELLS, "effective_number", beta=1e-9) == pytest.approx(dict.fromkeys(CELLS, 0.25))
    assert class_alpha(CELLS, "effective_number", beta=1 - 1e-12) == pytest.approx(class_alpha(CELLS), rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_always_between_0_and_1(method):
    alphas = class_alpha({"a": 1, "b": 10**12, "c": 3}, method, alpha=0.999)
    assert all(0 < alpha < 1 for alpha in alphas.values())


@pytest.mark.parametrize("method", METHODS)
def test_equal_classes_keep_alpha(method):
    assert class_alpha({"a": 7, "b": 7}, method, alpha=0.3) == pytest.approx({"a": 0.3, "b": 0.3})


def test_class_without_objects_is_named():
    with pytest.warns(UserWarning, match="no objects of bus: alpha is 0.25 there"):
        alphas = class_alpha({"car": 30, "bus": 0, "bike": 10})
    assert alphas["bus"] == 0.25
    assert alphas == pytest.approx({"car": 1 / 7, "bus": 0.25, "bike": 1 / 3})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "inverse"}, "method must be one of inverse_frequency, effective_number, frequency, but got 'inve"),
        ({"alpha": 1.0}, "alpha must be a number between 0 and 1, both excluded, but got 1.0"),
        ({"beta": 1.0}, "beta must be a number between 0 and 1"),
        ({"counts": {"a": 3, "b": -1}}, "counts must be >= 0"),
        ({"counts": {"a": 0}}, "counts must have objects of at least one class"),
        ({"counts": {}}, "counts must have objects of at least one class"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        class_alpha(**{"counts": CELLS, **arguments})


@pytest.fixture
def annotations(tmp_path):
    """Category ids out of order; of five boxes one is a crowd and one has no area."""
    boxes = [
        (9, [0, 0, 5, 5], 0),
        (9, [1, 1, 2, 2], 0),
        (4, [0, 0, 3, 3], 0),
        (4, [0, 0, 9, 9], 1),
        (9, [0, 0, 0, 4], 0),
    ]
    document = {
        "images": [{"id": 1, "file_name": "1.png", "width": 10, "height": 10}],
        "categories": [{"id": 9, "name": "cat"}, {"id": 4, "name": "dog"}, {"id": 5, "name": "cow"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": crowd}
            for i, (category, box, crowd) in enumerate(boxes)
        ],
    }
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((10, 10, 3), np.uint8))
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))
    return path


def test_count_objects(annotations):
    counts = count_objects(annotations)
    assert list(counts.items()) == [("cat", 2), ("dog", 1), ("cow", 0)]


def test_names_that_are_numbers(annotations):
    """COCO files of digits have them; a configuration names classes by text."""
    document = json.loads(annotations.read_text())
    document["categories"][1]["name"] = 7
    annotations.write_text(json.dumps(document))
    assert list(count_objects(annotations)) == ["cat", "7", "cow"]


def test_order_is_that_of_training(annotations):
    dataset = pytest.importorskip("ppdet.data.source.coco").COCODataSet(str(annotations.parent), "", annotations.name)
    dataset.parse_dataset()
    names = [dataset.cname2cid[name] for name in count_objects(annotations)]
    assert names == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document.pop("categories"), "is no COCO annotation file: it has no list of categories"),
        (
            lambda document: document["annotations"][0].update(category_id=7),
            "categories that there are not: category_id 7",
        ),
        (lambda document: document["annotations"][0].pop("iscrowd"), "1 of 5 annotations lack iscrowd"),
        (lambda document: document["annotations"][0].update(segmentation=[[]]), "1 of 3 boxes have a segmentation of"),
        (lambda document: document["categories"][1].update(name="cat"), "two categories of one name"),
    ],
)
def test_bad_files(annotations, change, message):
    document = json.loads(annotations.read_text())
    change(document)
    annotations.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=message):
        count_objects(annotations)


class TestTool:
    def test_table_snippet_and_picture(self, annotations, tmp_path, capsys):
        picture = tmp_path / "alpha.png"
        tool.main(["--annotations", str(annotations), "--output", str(picture)])
        lines = capsys.readouterr().out.splitlines()
        # Weights 2/3 and 4/3 at the odds 1/3.
        assert lines[1].split() == ["cat", "2", "66.67%", "0.1818"]
        assert lines[2].split() == ["dog", "1", "33.33%", "0.3077"]
        assert lines[3].split() == ["cow", "0", "0.00%", "0.2500", "no", "objects"]
        section = yaml.safe_load("\n".join(lines[5:6]))
        assert section == {"alpha": [0.1818, 0.3077, 0.25]}
        assert cv2.imread(str(picture)).shape[1] == 1100

    def test_names_in_any_script(self, tmp_path, monkeypatch):
        drawn = []
        monkeypatch.setattr(fonts, "font_files", lambda: (fonts.DEFAULT,))
        monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: path.touch() or drawn.append(figure))
        tool.draw({"кот": 2, "牛": 1}, {"кот": 0.2, "牛": 0.3}, "猫.json", tmp_path / "alpha.png")
        labels = drawn[0].axes[0].get_yticklabels()
        assert [label.get_text() for label in labels] == ["кот", "class 1"]
        assert drawn[0].get_suptitle() == "?.json"

    def test_method_and_its_beta(self, annotations, tmp_path, capsys):
        options = ["--method", "effective_number", "--beta", "0.5", "--output", str(tmp_path / "alpha.png")]
        tool.main(["--annotations", str(annotations), *options])
        lines = capsys.readouterr().out.splitlines()
        # Effective numbers 1.5 and 1, so weights 0.8 and 1.2, at the odds 1/3.
        assert [line.split()[3] for line in lines[1:3]] == ["0.2105", "0.2857"]

    def test_bad_arguments(self, annotations, capsys):
        with pytest.raises(SystemExit):
            tool.main(["--annotations", "nowhere.json"])
        assert "no such annotation file: nowhere.json" in capsys.readouterr().err
        with pytest.raises(SystemExit) as end:
            tool.main(["--annotations", str(annotations), "--alpha", "2"])
        assert end.value.code == 2
        assert "--alpha: must be a number between 0 and 1" in capsys.readouterr().err
