"""Values at and beyond the limits of what the checks of data accept."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("ppdet")

import cv2
from faulty_data import annotation, image
from ppdet.data.source.voc import VOCDataSet
from voc_data import xml

from paddle_focal.cli import make_digits
from paddle_focal.data import annotations as truths
from paddle_focal.data import digits
from paddle_focal.data.checks import images as image_checks
from paddle_focal.data.checks.boxes import check_boxes
from paddle_focal.data.checks.categories import check_categories
from paddle_focal.data.checks.coco_check import whole_sizes
from paddle_focal.data.checks.coco_file import Coco, read_coco
from paddle_focal.data.checks.data_report import DataReport, some
from paddle_focal.data.checks.headers import Header
from paddle_focal.data.checks.segmentations import check_segmentations

CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


@pytest.fixture
def report():
    return DataReport()


@pytest.fixture
def read(tmp_path, report):
    def read(images=(), annotations=()):
        images = images or [image(1, "a.png")]
        document = {"images": images, "categories": CATEGORIES, "annotations": annotations}
        (tmp_path / "a.json").write_text(json.dumps(document))
        return read_coco(tmp_path / "a.json", report)

    return read


def test_the_first_three_examples():
    assert [some("abc"), some("abcd"), some("abcd", 1), some("")] == ["a, b, c", "a, b, c, ...", "a, ...", ""]


def test_ids_of_images(read, report):
    numbers = [-(2**63), 2**63 - 1, 7.0, 2**63, -(2**63) - 1, 7.5, True, None, "7"]
    assert [entry["id"] for entry in read([image(n, "a.png") for n in numbers]).images] == [-(2**63), 2**63 - 1, 7.0]
    assert report.errors == ["6 of 9 images lack id, a whole number: images[3], images[4], images[5], ..."]


def test_sizes_of_images(read, report):
    sizes = [float("nan"), -1e308, True, float("inf"), float("-inf"), 10**309, "20", None]
    assert len(read([image(i, "a.png", width=size) for i, size in enumerate(sizes)]).images) == 3
    assert report.errors == ["5 of 8 images lack width, a number: images[3], images[4], images[5], ..."]


def test_keys_of_annotations(read, report):
    wrong = [{"iscrowd": 0.5}, {"area": "16"}, {"image_id": True}, {"category_id": [1]}]
    right = [{"iscrowd": True}, {"iscrowd": 1.0}, {"area": True}, {"track_id": 2**31 - 1}, {"track_id": -(2**31)}]
    tracks = [{"track_id": value} for value in (2**31, -(2**31) - 1, "1", None)]
    entries = [{**annotation(i, 1, 1), **other} for i, other in enumerate([*wrong, *right, *tracks])]
    assert [entry["id"] for entry in read(annotations=entries).annotations] == list(range(4, 13))
    assert report.errors == [
        "1 of 13 annotations lack image_id, a number or text: annotations[2]",
        "1 of 13 annotations lack category_id, a number or text: annotations[3]",
        "1 of 13 annotations lack area, a number: width x height, or that of the segmentation: annotations[1]",
        "1 of 13 annotations lack iscrowd, 0 or 1: annotations[0]",
        "4 of 9 annotations have a track_id that is no 32-bit integer: 2147483648, -2147483649, '1', ...",
    ]


def test_categories_that_there_are_not_are_named_once(read, report):
    entries = [annotation(i, 1, category) for i, category in enumerate([7, 7, 8, 1])]
    assert [entry["id"] for entry in read(annotations=entries).annotations] == [3]
    assert report.errors == [
        "3 of 4 annotations are of categories that there are not: category_id 7, 8; there are 1, 2"
    ]


@pytest.mark.parametrize("name", ["background", "BackGround", "_background_", "__background__", " background "])
def test_names_of_the_background(report, name):
    check_categories([{"name": "backgrounds"}, {"name": name}], 2, report)
    assert [warning.partition(" is a class")[0] for warning in report.warnings] == [f"category {name}"]


@pytest.mark.parametrize(
    ("bbox", "kept", "said"),
    [
        ((-1, -1, 22, 12), True, ""),
        ((-1.01, 0, 5, 5), True, "reach out of"),
        ((0, -1.01, 5, 5), True, "reach out of"),
        ((5, 5, 16.01, 5), True, "reach out of"),
        ((5, 5, 5, 6.01), True, "reach out of"),
        ((19.9, 9.9, 1, 1), True, ""),
        ((20, 5, 1, 1), True, "lie outside"),
        ((5, 10, 1, 1), True, "lie outside"),
        ((-2, 5, 2, 1), True, "lie outside"),
        ((5, -2, 1, 2), True, "lie outside"),
        ((5, 5, 1, 1), True, ""),
        ((5, 5, 0.99, 1), True, "are narrower"),
        ((0, 0, 1, 1.1e-5), True, "are narrower"),
        ((0, 0, 1e-5, 1), False, "have a width"),
        ((0, 0, 9e-6, 1), False, "have a width"),
        ((0, 0, 1, 9e-6), False, "have a width"),
        ((2**53, 0, 1, 1), True, "lie outside"),
        ((0, -(2**60) - 1, 1, 2**60 + 11), True, "lie outside"),
        ((0, float(2**53), 1, 1), False, "have a width"),  # that of a float, in which it is lost
        ((float(2**53), 0, 1, 1), False, "have a width"),
    ],
)
def test_a_box(report, bbox, kept, said):
    coco = Coco([image(1, "a.png")], CATEGORIES, [annotation(1, 1, 1, bbox)])
    assert bool(check_boxes(coco, report)) == kept
    assert report.errors == []
    assert [warning[: len(f"1 of 1 boxes {said}")] for warning in report.warnings][:1] == (
        [f"1 of 1 boxes {said}"] if said else []
    )


def test_objects_of_one_class_in_one_image(report):
    def check(*counts):
        entries = [
            annotation(i, number, category, (i / 50, 1, 2, 2), iscrowd=crowd)
            for count, number, category, crowd in counts
            for i in range(count)
        ]
        check_boxes(Coco([image(1, "a.png"), image(2, "b.png")], CATEGORIES, entries), report, evaluated=True)

    check((100, 1, 1, 0), (100, 1, 2, 0), (100, 2, 1, 0), (101, 2, 2, 1))
    assert report.warnings == []
    check((100, 1, 1, 0), (101, 2, 1, 0))
    assert report.warnings == [
        "1 of 2 images have more than 100 objects of a class, of which COCO's evaluation finds 100 at most: b.png 101 "
        "x cat"
    ]


def test_what_does_no_harm_to_training(report):
    entries = [annotation(i, 1, 1, (i / 50, 1, 2, 2), area=2e10) for i in range(101)]
    kept = check_boxes(Coco([image(1, "a.png")], CATEGORIES, [*entries, annotation(101, 1, 1, None)]), report)
    assert len(kept) == 101
    assert report.errors == []
    assert report.warnings == ["1 of 102 annotations have no bbox, and have no effect: a.png None"]


@pytest.mark.parametrize(
    ("others", "kept", "said"),
    [
        ({"area": 0}, False, ["1 of 1 boxes have a width, height or area that is not > 0, and are left out"]),
        ({"area": -1}, False, ["1 of 1 boxes have a width, height or area that is not > 0, and are left out"]),
        ({"area": 1e-9}, True, []),
        ({"ignore": 0}, True, []),
        ({"ignore": 1}, False, ["1 of 1 boxes are marked ignore, and are left out"]),
        ({"iscrowd": 1}, False, []),
    ],
    ids=str,
)
def test_which_boxes_are_left_out(report, others, kept, said):
    entry = annotation(1, 1, 1, **others)
    assert check_boxes(Coco([image(1, "a.png")], CATEGORIES, [entry]), report) == [entry] * kept
    assert [warning.partition(":")[0] for warning in report.warnings] == said


def test_segmentations_that_drop_boxes(report):
    harmless = [None, [], {}, "", [[1, 2, 3, 4, 5, 6]], [[], [1, 2]], {"counts": []}, [[1]], "[]"]
    hollow = [[[]], [[], []], [[[]]]]
    check_segmentations([{"segmentation": one} for one in harmless] + [{}], lambda _: "a.png", report)
    assert report.errors == []
    check_segmentations([{"segmentation": one} for one in hollow + harmless], lambda _: "a.png", report)
    assert report.errors == [
        "3 of 12 boxes have a segmentation of empty lists, for which PaddleDetection drops other boxes of the image "
        "and gives some the class 0: take it out, or write []: a.png [[]], a.png [[], []], a.png [[[]]]"
    ]


def test_an_image_of_one_pixel_is_one(report):
    sizes = [(1, 1), (0, 1), (1, 0), (0.5, 0.5), (-1, 1), (float("nan"), 1)]
    image_checks.check_entries([image(i, f"{i}.png", *size) for i, size in enumerate(sizes)], report)
    assert report.errors == ["4 of 6 images have a width or height that is not > 0: 1.png, 2.png, 4.png, ..."]


def test_sizes_that_an_image_can_have():
    sizes = [(1, 1), (1.9, 2.5), (0.9, 5), (5, 0.9), (2**14, 2**14), (2**14, 2**14 - 1), (1, 1)]
    assert whole_sizes(sizes) == {(1, 1), (1, 2), (2**14, 2**14 - 1)}


def test_headers_beside_what_is_annotated(report, monkeypatch):
    headers = {
        "same": (Header(20, 10, 1, False), 20, 10),
        "turned, and so annotated": (Header(20, 10, 5, False), 20, 10),
        "exchanged": (Header(10, 20, 4, False), 20, 10),
        "unturned": (Header(10, 20, 5, False), 20, 10),
        "other": (Header(10, 21, 8, False), 20, 10),
        "mirrored": (Header(20, 10, 4, False), 20, 10),
        "square": (Header(9, 9, 6, False), 9, 9),
        "plain square": (Header(9, 9, 1, False), 9, 9),
    }
    entries = [image(i, name, width, height) for i, (name, (_, width, height)) in enumerate(headers.items())]
    monkeypatch.setattr(image_checks, "_missing", lambda *_: set())
    monkeypatch.setattr(image_checks, "read_headers", lambda _, names: [headers[name][0] for name in names])
    monkeypatch.setattr(image_checks, "decode", lambda _: "a picture")
    image_checks.check_files("", entries, report)
    different, unturned, turned = report.warnings
    assert different == (
        "2 of 8 images have another size than annotated, where their boxes may be wrong: exchanged 10x20 instead of "
        "20x10, other 10x21 instead of 20x10"
    )
    assert unturned.startswith("1 of 8 images are turned by their EXIF orientation")
    assert unturned.endswith(": unturned 10x20 instead of 20x10")
    assert turned.startswith("2 of 8 images are turned or mirrored by their EXIF orientation")
    assert turned.endswith(": mirrored, square")


def test_names_that_are_folders(tmp_path):
    (tmp_path / "sub").mkdir()
    names = ["", ".", "..", "sub", "sub/", "sub/.", "sub/..", "none/", "none/.", "sub/none", "a\0b/c"]
    assert image_checks._missing(str(tmp_path), names) == {"none/", "none/.", "sub/none", "a\0b/c"}


def test_up_to_32_images_are_decoded(tmp_path, monkeypatch, report):
    decoded = []
    content = cv2.imencode(".png", np.zeros((10, 20, 3), "uint8"))[1].tobytes()
    for i in range(34):
        (tmp_path / f"{i}.png").write_bytes(content)
    monkeypatch.setattr(image_checks, "decode", lambda path: decoded.append(path) or "a picture")
    image_checks.check_files(str(tmp_path), [image(i, f"{i}.png") for i in range(34)], report)
    assert len(set(decoded)) == 32
    assert {f"{tmp_path}/0.png", f"{tmp_path}/33.png"} <= set(decoded)


def test_files_of_images_by_their_ids():
    records = [{"im_id": [3], "im_file": "a.jpg"}, {"im_id": [4]}, {"im_file": "b.jpg"}]
    assert truths.image_files(SimpleNamespace(roidbs=records)) == {3: "a.jpg"}
    assert truths.image_files(SimpleNamespace(roidbs=None)) == truths.image_files(SimpleNamespace()) == {}


def test_ground_truth_of_voc(tmp_path):
    (tmp_path / "of").mkdir()
    cv2.imwrite(str(tmp_path / "of/a.png"), np.zeros((10, 20, 3), "uint8"))
    objects = [("dog", (1, 2, 6, 5), 1), ("cat", (3, 3, 30, 8))]
    (tmp_path / "of/a.xml").write_text(xml((20, 10), objects, extra="<id>7</id>"))
    (tmp_path / "list.txt").write_text("a.png a.xml\n")
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    dataset = VOCDataSet(str(tmp_path), "of", "list.txt", ["image", "gt_bbox"], label_list="labels.txt")
    truth = truths.ground_truth(dataset)
    same = {"image_id": 7, "iscrowd": 0}
    assert truth.dataset == {
        "images": [{"id": 7, "file_name": "a.png", "width": 20, "height": 10}],
        "annotations": [
            {"id": 1, "category_id": 1, "bbox": [1, 2, 5, 3], "area": 15, "difficult": 1, **same},
            {"id": 2, "category_id": 0, "bbox": [3, 3, 16, 5], "area": 80, "difficult": 0, **same},
        ],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
    }
    assert truth.getAnnIds(catIds=[1]) == [1]
    assert truths.image_files(dataset) == {}
    assert dataset.data_fields == ["image", "gt_bbox"]
    dataset.parse_dataset()
    assert repr(truths.image_files(dataset)) == f"{{7: '{tmp_path}/of/a.png'}}"


def test_the_scans_of_digits():
    splits = digits.split_scans(np.random.default_rng(0))
    assert [len(scans) for scans in splits["val"]] == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]  # a fifth of each
    scans = np.concatenate(splits["train"] + splits["val"])
    assert (scans.min(), scans.max()) == (0, 1)
    assert (scans.max(axis=(1, 2)) >= 0.875).all()


def test_ink_is_opaque_at_most():
    scan = np.zeros((8, 8))
    scan[2:6, 3:5] = 1
    ink = digits.stamp(scan, 80)
    assert ink.max() == 1  # though the spline overshoots
    assert ink.shape == (44, 24)


def test_the_digits_stay_the_same():
    """Composed by the same numbers on every machine; a pixel may differ by rounding."""
    options = make_digits.parse_arguments(["--image-size", "64"])
    options.frequencies = digits.class_frequencies(20.0)
    rng = np.random.default_rng(5)
    image, objects = digits.compose(rng, digits.split_scans(rng)["train"], options)
    assert [(label, box.tolist()) for label, box in objects] == [(4, [38, 12, 54, 35]), (0, [8, 27, 31, 58])]
    pixels = [
        *([103, 95, 45], [106, 98, 48], [107, 99, 49], [91, 83, 32]),
        *([117, 110, 59], [119, 111, 60], [165, 149, 104], [119, 111, 60]),
        *([84, 77, 26], [104, 96, 46], [122, 114, 63], [96, 88, 37]),
        *([96, 88, 37], [97, 89, 38], [92, 84, 34], [70, 62, 12]),
    ]
    np.testing.assert_allclose(image[::21, ::21].reshape(-1, 3).astype(int), pixels, atol=1)
