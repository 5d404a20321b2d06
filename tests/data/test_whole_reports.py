"""Whole reports of data with many faults at once, word for word."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("ppdet")

from ppdet.data.source.voc import VOCDataSet
from voc_data import xml

from paddle_focal.data.checks.data_report import DataReport
from paddle_focal.data.checks.voc_check import check_voc

SIZE = (20, 10)
OBJECT = ("c0", (2, 2, 6, 6))


def without(lines: list[str], folder: Path) -> list[str]:
    return [line.replace(f"{folder}/", "") for line in lines]


def test_voc(tmp_path):
    files = {
        "ok": xml(SIZE, [OBJECT, ("c1", (-1, -1, 21, 11), " 1 "), ("c1", (0, 0, 0.5, 10)), ("c11", (1, 1, 2, 2))]),
        "right": xml(SIZE, [("c2", (0, 0, 21.5, 5))], extra="<id> -7 </id>"),
        "below": xml(SIZE, [("c2", (0, 0, 5, 11.5)), ("c2", (0, -1.5, 5, 5))], extra="<id>-7</id>"),
        "flat": xml(SIZE, [("c2", (19, 0, 25, 5)), ("c2", (5, 9, 6, 12)), ("c2", (3, 3, 3, 4))], extra="<id>3</id>"),
        "empty": xml(SIZE),
        "names": xml(SIZE, [("c12", (1, 1, 3, 3)), ("c13", (1, 1, 3, 3)), ("c12", (1, 1, 4, 4))]),
        "none": xml(SIZE, [OBJECT]).replace("<width>20</width>", ""),
        "text": xml(SIZE, [("c0", (1, "two", 3, 3))]),
        "infinite": xml(SIZE, [("c0", (1, 2, 3, "inf"))]),
        "size": xml((20.5, 0), [OBJECT]),
        "number": xml(SIZE, [OBJECT], extra="<id>1.0</id>"),
        "difficult": xml(SIZE, [(*OBJECT, 2)]),
    }
    for name, text in files.items():
        (tmp_path / f"{name}.xml").write_text(text)
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((10, 20, 3), "uint8"))
    lines = [f"{name}.png {name}.xml and more" for name in files]
    lines[2:2] = ["ok.png ok.xml", "alone.png", "", "gone.png ok.xml", "ok.png gone.xml", "one.png two.xml"]
    (tmp_path / "train.txt").write_text("\n".join(lines))
    (tmp_path / "labels.txt").write_text("".join(f" c{i} \n" for i in range(12)))
    dataset = VOCDataSet(str(tmp_path), "", "train.txt", ["gt_bbox"], label_list="labels.txt", repeat=3)
    report = DataReport()
    contents = check_voc(dataset, 2, report, evaluated=True)
    assert without(report.errors, tmp_path) == [
        "data_fields lacks image, gt_class, difficult: set data_fields: [image, gt_bbox, gt_class, difficult]",
        "num_classes is 2, but there are 12 categories (c0, c1, c2, ...): set num_classes: 12; the background is not "
        "counted",
        "train.txt: lines must be an image and its XML file, apart by a space, but not so line 4, 5",
        "6 of 13 XML files cannot be read as VOC's: none.xml: size/width must be a finite number, but is missing, "
        "text.xml: bndbox/ymin must be a finite number, but is 'two', infinite.xml: bndbox/ymax must be a finite "
        "number, but is 'inf', ...",
        "2 classes are not in the label list: 'c12' in names.xml, 'c13' in names.xml; it has c0, c1, c2, c3, c4, c5, "
        "c6, c7, c8, c9, ...",
        "1 numbers belong to several images, <id> in the XML file or else the place in the list: -7",
    ]
    assert without(report.warnings, tmp_path) == [
        "3 of 16 lines name files that are missing: gone.png, gone.xml, one.png, ...; PaddleDetection leaves these "
        "images out. A name with a space ends there",
        "1 images are listed more than once: ok.png",
        "3 of 17 boxes (xmin, ymin, xmax, ymax) have no area in their image, and are left out: flat.xml [19.0, 0.0, "
        "25.0, 5.0], flat.xml [5.0, 9.0, 6.0, 12.0], flat.xml [3.0, 3.0, 3.0, 4.0]",
        "3 of 17 boxes (xmin, ymin, xmax, ymax) reach out of their image by more than a pixel, and are clipped: "
        "right.xml [0.0, 0.0, 21.5, 5.0], below.xml [0.0, 0.0, 5.0, 11.5], below.xml [0.0, -1.5, 5.0, 5.0]",
        "1 of 7 images have no objects: empty.png; PaddleDetection leaves them out, allow_empty: true keeps them",
    ]
    assert report.notes == ["7 images, 1 of them without objects, 14 boxes of 12 classes, 2 of them difficult"]
    assert contents.images == 6 * 3
    assert contents.classes == [f"c{i}" for i in range(12)]
    assert contents.boxes.tolist() == [2, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert contents.files == {str(tmp_path / f"{name}.png") for name in [*files][:6]}
    assert contents.sizes == {SIZE}


def test_voc_of_which_nothing_can_be_read(tmp_path):
    files = {"size": xml((20.5, 0), [OBJECT]), "number": xml(SIZE, extra="<id>1.0</id>")}
    files["hard"] = xml(SIZE, [(*OBJECT, 2)])
    for name, text in files.items():
        (tmp_path / f"{name}.xml").write_text(text)
    (tmp_path / "a.png").touch()
    (tmp_path / "train.txt").write_text("".join(f"a.png {name}.xml\n" for name in files))
    (tmp_path / "labels.txt").write_text("cat\n\ndog\ncat\n")
    fields = ["image", "gt_bbox", "gt_class"]
    report = DataReport()
    contents = check_voc(VOCDataSet(str(tmp_path), "", "train.txt", fields, label_list="labels.txt"), 1, report)
    assert without(report.errors, tmp_path) == [
        "the label list labels.txt has an empty line, 2, which counts as a class",
        "the label list labels.txt has names twice: cat",
        "3 of 3 XML files cannot be read as VOC's: size.xml: its size must be > 0, but is 20.5 x 0, number.xml: id "
        "must be an integer, but is '1.0', hard.xml: difficult must be 0 or 1, but is '2'",
        "empty: of 3 lines, no image is left",
    ]
    assert without(report.warnings, tmp_path) == ["1 images are listed more than once: a.png"]
    assert report.notes == ["0 images, 0 of them without objects, 0 boxes of 4 classes, 0 of them difficult"]
    assert (contents.images, contents.boxes.tolist(), contents.files, contents.sizes) == (0, [0] * 4, set(), set())
