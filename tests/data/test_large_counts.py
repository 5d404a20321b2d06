"""Counts of a thousand and more are written with commas, in everything that is said of data."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

pytest.importorskip("ppdet")

from faulty_data import annotation, image
from foreign_data import ForeignData
from ppdet.data.source.coco import COCODataSet
from ppdet.data.source.voc import VOCDataSet
from voc_data import xml

from paddle_focal.data.checks import images as image_checks
from paddle_focal.data.checks.boxes import check_boxes
from paddle_focal.data.checks.coco_check import check_coco
from paddle_focal.data.checks.coco_file import Coco, read_coco
from paddle_focal.data.checks.data_report import DataReport
from paddle_focal.data.checks.headers import Header
from paddle_focal.data.checks.ids import check_ids
from paddle_focal.data.checks.preflight import _compare
from paddle_focal.data.checks.voc_check import check_voc
from paddle_focal.data.formats.findings import Findings, FormatError

MANY = range(1000)
CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A thousand images of 20 x 10 pixels."""
    folder = tmp_path_factory.mktemp("many")
    content = cv2.imencode(".png", np.zeros((10, 20, 3), "uint8"))[1].tobytes()
    for i in MANY:
        (folder / f"{i}.png").write_bytes(content)
    return folder


@pytest.fixture
def report():
    return DataReport()


def begins(lines: list[str], *beginnings: str) -> bool:
    """Whether the lines begin so, one by one; what else they say is tested elsewhere."""
    return len(lines) == len(beginnings) and all(map(str.startswith, lines, beginnings))


def test_boxes(report):
    boxes = [None, (1, 2, 3), (1, 1, 0, 5), (20, 0, 5, 5), (0, 0, 25, 5), (1, 1, 0.5, 5), (1, 1, 2, 2)]
    others = [{}] * 6 + [{"segmentation": [[]]}]
    annotations = [annotation(i, 1, 1, bbox, **other) for bbox, other in zip(boxes, others) for i in MANY]
    annotations += [annotation(i, 1, 2, (i / 99, 1, 2, 2), ignore=1, area=1e10 + i) for i in range(1002)]
    images = [image(i, f"{i}.png") for i in range(1, 1001)]
    kept = check_boxes(Coco(images, CATEGORIES, annotations), report, evaluated=True)
    assert len(kept) == 4000
    assert begins(
        report.errors,
        "1,000 of 8,002 annotations have no bbox, with which evaluation fails: 1.png None, ",
        "1,000 of 7,002 boxes are not four finite numbers (x, y, width, height): 1.png (1, 2, 3), ",
        "1,000 of 4,000 boxes have a segmentation of empty lists, ",
    )
    assert begins(
        report.warnings,
        "1,000 of 6,002 boxes have a width, height or area that is not > 0, and are left out: 1.png (1, 1, 0, 5), ",
        "1,000 of 6,002 boxes lie outside their image; ",
        "1,000 of 6,002 boxes reach out of their image by more than a pixel; ",
        "1,000 of 6,002 boxes are narrower or lower than a pixel; ",
        "1,002 of 6,002 boxes are marked ignore, and are left out: 1.png (0.0, 1, 2, 2), ",
        "3,996 of 6,002 boxes are there before, ",  # all but the first of each kind
        "1,001 of 6,002 boxes have an area beyond 1e10, and are left out of evaluation: ",
        "1 of 1,000 images have more than 100 objects of a class, of which COCO's evaluation finds 100 at most: "
        "1.png 5000 x cat, 1.png 1002 x dog",
    )


def test_ids(report):
    images = [image(2**53 + 1 + 2 * i, "") for i in MANY] + [image(0.5, "")]
    check_ids(Coco(images, CATEGORIES, [annotation(f"a{i}", 1, 1) for i in MANY]), report)
    assert begins(
        report.errors,
        "1,000 ids of images do not survive in NumPy, so that evaluation loses them: 9007199254740993, ",
        "1,000 of 1,000 annotations have an id that is no number, with which evaluation fails: 'a0', 'a1', 'a2', ...",
    )


def test_entries_and_files(report, folder, monkeypatch):
    images = [image(i, f"{i % 1000}.png", height=0) for i in range(2000)]
    image_checks.check_entries(images, report)
    image_checks.check_files(str(folder), [image(i, f"gone/{i}.png") for i in MANY], report)
    headers = {
        "no image": None,
        "deep": Header(20, 10, 1, True),
        "unturned": Header(10, 20, 6, False),
        "turned": Header(20, 10, 2, False),
        "larger": Header(40, 10, 1, False),
    }
    present = [image(i, name) for name in headers for i in MANY]
    monkeypatch.setattr(image_checks, "_missing", lambda *_: set())
    monkeypatch.setattr(image_checks, "read_headers", lambda _, names: [headers[name] for name in names])
    monkeypatch.setattr(image_checks, "decode", lambda _: "a picture")
    assert image_checks.check_files("", present, report) == present
    assert begins(
        report.errors,
        "2,000 of 2,000 images have a width or height that is not > 0: 0.png, 1.png, 2.png, ...",
        "1,000 of 5,000 image files are no images, or damaged: no image, ",
    )
    assert begins(
        report.warnings,
        "1,000 image files are listed more than once, ",
        f"1,000 of 1,000 image files are missing in {folder}: gone/0.png, gone/1.png, gone/10.png, ...; ",
        "1,000 of 5,000 images have another size than annotated, ",
        "1,000 of 5,000 images are turned by their EXIF orientation ",
        "1,000 of 5,000 images are turned or mirrored by their EXIF orientation ",
        "1,000 of 5,000 images have more than 8 bits per channel, ",
    )


def test_a_file(report, tmp_path):
    path = tmp_path / "many.json"
    images = [image(i % 1000, "a.png") for i in range(2000)] + [{}] * 1000
    categories = [{"id": i % 1000, "name": "cat"} for i in range(2000)] + [7] * 1000
    annotations = [annotation(i % 1000, 1, 1) for i in range(2000)] + [annotation(i, i, 1, iscrowd=None) for i in MANY]
    annotations += [annotation(5000 + i, -1 - i, 1) for i in MANY] + [annotation(6000 + i, 1, -1 - i) for i in MANY]
    annotations += [annotation(7000 + i, 1, 1, track_id="a") for i in MANY]
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
    assert read_coco(path, report)
    assert begins(
        report.errors,
        "1,000 of 3,000 images lack id, a whole number: images[2000], images[2001], images[2002], ...",
        "1,000 of 3,000 images lack file_name, text: images[2000], ",
        "1,000 of 3,000 images lack width, a number: images[2000], ",
        "1,000 of 3,000 images lack height, a number: images[2000], ",
        "1,000 ids of images occur more than once: 0, 1, 2, ...",
        "1,000 of 3,000 categories lack id, an integer: categories[2000], ",
        "1,000 of 3,000 categories lack name, a number or text: categories[2000], ",
        "1,000 ids of categories occur more than once: 0, 1, 2, ...",
        "1,000 of 6,000 annotations lack iscrowd, 0 or 1: annotations[2000], ",
        "1,000 ids of annotations occur more than once: 0, 1, 2, ...",
        "1,000 of 5,000 annotations are of categories that there are not: category_id -1, -2, -3, ...; there are 0, ",
        "1,000 of 3,000 annotations have a track_id that is no 32-bit integer: 'a', 'a', 'a', ...",
    )
    assert report.warnings == [
        "1,000 of 5,000 annotations are of images that there are not, and have no effect: image_id -1, -2, -3, ..."
    ]


def test_a_set(report, folder):
    document = {"images": [image(i, f"{i}.png") for i in MANY], "categories": CATEGORIES}
    crowds = [annotation(i, 0, 1, iscrowd=1) for i in MANY]
    path = folder / "set.json"
    path.write_text(json.dumps({**document, "annotations": crowds}))
    contents = check_coco(COCODataSet(str(folder), "", path.name, allow_empty=False), 2, report)
    boxes = [annotation(5000 + i, 0, 1, (i / 99, 1, 2, 2)) for i in MANY]
    path.write_text(json.dumps({**document, "annotations": boxes}))
    contents = check_coco(COCODataSet(str(folder), "", path.name, allow_empty=True), 2, report)
    _compare(contents, contents, report)
    assert report.errors == ["empty: of 1,000 images, none is left"]
    assert begins(
        report.warnings,
        "1,000 of 1,000 images have no boxes: 0.png, 1.png, 2.png, ...; ",
        f"1,000 images are in both: {folder}/0.png, {folder}/1.png, {folder}/10.png, ...",
    )
    assert report.notes == [
        "1,000 images, 1,000 of them without boxes, 0 boxes of 2 classes, 1,000 crowds (left out)",
        "1,000 images, 999 of them without boxes, 1,000 boxes of 2 classes, 0 crowds",
    ]


def test_voc(report, folder):
    flat, reaching = [("cat", (5, 5, 5, 5))] * 1000, [("dog", (0, 0, 30, 10), 1)] * 1000
    (folder / "broken.xml").write_text("<")
    (folder / "boxes.xml").write_text(xml((20, 10), flat + reaching))
    (folder / "labels.txt").write_text("cat\ndog\n")
    for i in MANY:
        (folder / f"{i}.xml").write_text(xml((20, 10), extra=f"<id>{i + 5000}</id>"))
    names = [*2 * [f"{i}.png {i}.xml" for i in MANY], *(f"{i}.png broken.xml" for i in MANY), "0.png boxes.xml"]
    names += [f"gone{i} gone" for i in MANY]
    (folder / "list.txt").write_text("\n".join(names))
    fields = ["image", "gt_bbox", "gt_class"]
    check_voc(VOCDataSet(str(folder), "", "list.txt", fields, label_list="labels.txt"), 2, report)
    assert begins(
        report.errors,
        f"1,000 of 3,001 XML files cannot be read as VOC's: {folder}/broken.xml: unclosed token: line 1, column 0, ",
        "1,000 numbers belong to several images, ",
    )
    assert begins(
        report.warnings,
        f"1,000 of 4,001 lines name files that are missing: {folder}/gone0, {folder}/gone, {folder}/gone1, ...; ",
        f"1,000 images are listed more than once: {folder}/0.png, {folder}/1.png, {folder}/2.png, ...",
        "1,000 of 2,000 boxes (xmin, ymin, xmax, ymax) have no area in their image, ",
        "1,000 of 2,000 boxes (xmin, ymin, xmax, ymax) reach out of their image by more than a pixel, ",
        f"2,000 of 2,001 images have no objects: {folder}/0.png, {folder}/1.png, {folder}/2.png, ...; ",
    )
    assert report.notes == [
        "2,001 images, 2,000 of them without objects, 1,000 boxes of 2 classes, 1,000 of them difficult"
    ]


def test_conversion(report, tmp_path):
    findings = Findings(report)
    for i in MANY:
        findings.remark("files are odd", f"{i}.xml")
    findings.summarize()
    assert report.warnings == ["1,000 files are odd: 0.xml, 1.xml, 2.xml, ..."]
    data = ForeignData(tmp_path / "set")
    data.write({f"{i}{suffix}": "" for i in MANY for suffix in (".png", ".xml", ".json")} | {"0.txt": ""})
    with pytest.raises(FormatError) as error:
        data.read()
    assert str(error.value) == (
        f"{data.folder} has 1,000 images and, of the same names, 1,000 .xml (voc), 1 .txt (yolo), 1,000 .json "
        "(labelme): --dataset_type says what to read, --image_dir and --anno_dir where"
    )
