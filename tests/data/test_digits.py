from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from paddle_focal.cli import make_digits
from paddle_focal.data import digits

ROOT = Path(__file__).resolve().parents[2]


def run(output, *arguments):
    options = make_digits.parse_arguments(
        ["--output", str(output), "--train-images", "12", "--val-images", "6", *arguments]
    )
    digits.make_digits(options)
    return {
        path.relative_to(output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.rglob("*"))
        if path.is_file()
    }


def test_same_arguments_give_the_same_bytes(tmp_path):
    first = run(tmp_path / "a")
    assert first == run(tmp_path / "b")
    assert first != run(tmp_path / "c", "--seed", "1")
    assert len(first) == 12 + 6 + 2


def test_coco_format(tmp_path):
    run(tmp_path / "set", "--image-size", "96", "--digit-size", "20", "40", "--digits-per-image", "2", "3")
    for split, count in (("train", 12), ("val", 6)):
        document = json.loads((tmp_path / "set/annotations" / f"instances_{split}.json").read_text())
        assert [category["name"] for category in document["categories"]] == list("0123456789")
        assert len(document["images"]) == count
        per_image = Counter(box["image_id"] for box in document["annotations"])
        assert set(per_image.values()) <= {1, 2, 3}
        for record in document["images"]:
            image = cv2.imread(str(tmp_path / "set" / split / record["file_name"]))
            assert image.shape == (96, 96, 3)
            for box in (box for box in document["annotations"] if box["image_id"] == record["id"]):
                x, y, width, height = box["bbox"]
                assert 0 <= x < x + width <= 96
                assert 0 <= y < y + height <= 96
                assert max(width, height) <= 40
                assert box["area"] == width * height
                # The ink is lighter than what lies around it.
                inside = image[y : y + height, x : x + width].mean(axis=-1)
                assert inside.max() > np.median(image.mean(axis=-1)) + 30


def test_a_digit_is_of_the_category_of_its_name(tmp_path, monkeypatch):
    objects = [(label, np.array([1, 2, 4, 6])) for label in (0, 9)]
    monkeypatch.setattr(digits, "compose", lambda *_: (np.zeros((8, 8, 3), np.uint8), objects))
    run(tmp_path / "set")
    document = json.loads((tmp_path / "set/annotations/instances_val.json").read_text())
    names = {category["id"]: category["name"] for category in document["categories"]}
    assert [names[entry["category_id"]] for entry in document["annotations"]] == ["0", "9"] * 6
    assert document["annotations"][3] == {
        "id": 4, "image_id": 2, "category_id": 10, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0,
    }  # fmt: skip


def test_the_greatest_number_and_size_are_drawn_too(tmp_path):
    run(tmp_path / "set", "--image-size", "64", "--digit-size", "12", "12", "--digits-per-image", "1", "2")
    document = json.loads((tmp_path / "set/annotations/instances_train.json").read_text())
    per_image = Counter(box["image_id"] for box in document["annotations"])
    assert set(per_image.values()) == {1, 2}
    assert max(max(box["bbox"][2:]) for box in document["annotations"]) > 8


def test_boxes_apart_in_both_directions_do_not_overlap():
    corner = np.array([0, 0, 10, 10])
    assert not digits.overlaps(np.array([20, 20, 30, 30]), [corner])
    assert not digits.overlaps(np.array([9, 9, 19, 19]), [corner])  # a hundredth
    assert digits.overlaps(np.array([7, 7, 17, 17]), [np.array([50, 50, 60, 60]), corner])


def test_what_an_interrupted_run_left_does_not_matter(tmp_path):
    (tmp_path / "set.partial/annotations").mkdir(parents=True)
    (tmp_path / "set.partial/old.png").touch()
    assert not any("old" in name for name in run(tmp_path / "set"))
    assert not (tmp_path / "set.partial").exists()


def test_ids_count_from_one(tmp_path):
    run(tmp_path / "set")
    for name in ("train", "val"):
        document = json.loads((tmp_path / "set/annotations" / f"instances_{name}.json").read_text())
        for kind in ("images", "annotations", "categories"):
            assert [entry["id"] for entry in document[kind]] == list(range(1, len(document[kind]) + 1))


def test_boxes_side_by_side_do_not_overlap():
    high = np.array([0, 0, 10, 40])
    assert not digits.overlaps(high, [np.array([20, 0, 30, 40])])
    assert not digits.overlaps(np.array([0, 0, 40, 10]), [np.array([0, 20, 40, 30])])
    assert digits.overlaps(high, [np.array([20, 0, 30, 40]), np.array([5, 0, 15, 40])])


def test_splits_share_no_scan():
    splits = digits.split_scans(np.random.default_rng(0))
    scans = {name: [scan.tobytes() for label in splits[name] for scan in label] for name in splits}
    assert len(scans["train"]) + len(scans["val"]) == 1797
    assert not set(scans["train"]) & set(scans["val"])
    assert all(len(label) >= 30 for label in splits["val"])


def test_each_split_is_composed_from_its_own_scans(tmp_path, monkeypatch):
    used = {}
    compose = digits.compose

    def spy(rng, scans, options):
        used.setdefault(id(scans), scans)
        return compose(rng, scans, options)

    monkeypatch.setattr(digits, "compose", spy)
    run(tmp_path / "set")
    assert len(used) == 2
    first, second = ({scan.tobytes() for label in scans for scan in label} for scans in used.values())
    assert not first & second


def test_overwrite_spares_other_folders(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit, match="is no data set of this tool"):
        run(tmp_path, "--overwrite")
    assert (tmp_path / "mine.txt").exists()
    before = run(tmp_path / "set")
    assert run(tmp_path / "set", "--overwrite") == before


def test_imbalance(tmp_path):
    frequencies = digits.class_frequencies(20.0)
    assert frequencies.sum() == pytest.approx(1)
    assert frequencies[0] / frequencies[9] == pytest.approx(20)
    assert (np.diff(frequencies) < 0).all()
    assert digits.class_frequencies(1.0) == pytest.approx([0.1] * 10)


def test_an_existing_folder_is_not_touched(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit, match="exists: remove it, choose another --output, or pass --overwrite"):
        run(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--imbalance", "0.5"], "--imbalance must be at least 1"),
        (["--digit-size", "50", "20"], "--digit-size must be two numbers"),
        (["--digit-size", "50", "200"], "--digit-size must be two numbers"),
        (["--digits-per-image", "3", "1"], "--digits-per-image must be two numbers"),
        (["--train-images", "0"], "must be at least 1"),
    ],
)
def test_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit):
        make_digits.parse_arguments(arguments)
    assert message in capsys.readouterr().err


def test_command_line(tmp_path):
    command = [sys.executable, "tools/make_digits.py", "--train-images", "2", "--val-images", "1"]
    result = subprocess.run([*command, "--output", str(tmp_path / "set")], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "2 training and 1 validation images" in result.stdout


def test_digits_are_brighter_than_what_is_behind_them_by_each_channel_alone(monkeypatch):
    """A digit of full ink is a rectangle of its colour."""
    monkeypatch.setattr(digits, "stamp", lambda scan, side: np.ones((side, side)))
    options = make_digits.parse_arguments(["--digits-per-image", "1", "1", "--digit-size", "30", "30"])
    options.frequencies = np.full(10, 0.1)
    rng = np.random.default_rng(1)
    differences = []
    for _ in range(20):
        image, ((_, (x1, y1, x2, y2)),) = digits.compose(rng, [[None]] * 10, options)
        inside = np.zeros(image.shape[:2], bool)
        inside[y1:y2, x1:x2] = True
        differences.append(image[inside].mean(axis=0) - image[~inside].mean(axis=0))
    differences = np.array(differences) / 255
    assert (differences.min(), differences.max()) == pytest.approx((0.4, 0.6), abs=0.1)
    assert np.ptp(differences, axis=1).min() > 0.005  # no grey
