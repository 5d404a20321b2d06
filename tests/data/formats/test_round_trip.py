"""Boxes that are written in each format are those that ppdet reads after the conversion."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ppdet")

from foreign_data import ForeignData, labelme, shape, voc, voc_object
from hypothesis import given, settings
from hypothesis import strategies as st
from ppdet.data.source.coco import COCODataSet
from ppdet.data.source.voc import VOCDataSet

from paddle_focal.data.formats import coco

CLASSES = ["yak", "dog", "猫"]
FIELDS = ["image", "gt_bbox", "gt_class", "is_crowd", "difficult"]


@st.composite
def data_sets(draw, last: int) -> list[tuple[tuple[int, int], list[tuple[str, tuple]]]]:
    """Sizes of images, and classes and corners of their boxes, which end ``last`` pixels before the image does."""

    def side(length: int) -> tuple[float, float]:
        pixels = st.integers(0, (length - last) * 1000)
        low, high = sorted(draw(st.lists(pixels, min_size=2, max_size=2, unique=True)))
        return low / 1000, high / 1000

    images = []
    for _ in range(draw(st.integers(1, 3))):
        size = draw(st.tuples(st.integers(2, 64), st.integers(2, 64)))
        boxes = []
        for _ in range(draw(st.integers(0, 4))):
            (x1, x2), (y1, y2) = side(size[0]), side(size[1])
            boxes.append((draw(st.sampled_from(CLASSES)), (x1, y1, x2, y2)))
        images.append((size, boxes))
    return images


def as_voc(size, boxes) -> str:
    return voc(*(voc_object(name, *corners) for name, corners in boxes), size=size)


def as_yolo(size, boxes) -> str:
    lines = []
    for name, corners in boxes:
        x1, y1, x2, y2 = np.array(corners) / [*size, *size]
        lines.append(f"{CLASSES.index(name)} {(x1 + x2) / 2:.9f} {(y1 + y2) / 2:.9f} {x2 - x1:.9f} {y2 - y1:.9f}")
    return "\n".join(lines)


def as_polygons(size, boxes) -> str:
    width, height = size
    corners = [(name, x1 / width, y1 / height, x2 / width, y2 / height) for name, (x1, y1, x2, y2) in boxes]
    return "\n".join(f"{CLASSES.index(name)} {x1} {y1} {x2} {y1} {x1} {y2}" for name, x1, y1, x2, y2 in corners)


def as_labelme(size, boxes) -> str:
    return labelme(*(shape(name, (x2, y1), (x1, y2)) for name, (x1, y1, x2, y2) in boxes), size=size)


def write(folder: Path, images, suffix: str, text) -> ForeignData:
    data = ForeignData(folder)
    data.write({"classes.txt" if suffix == ".txt" else "label_list.txt": "\n".join(CLASSES)})
    for number, (size, boxes) in enumerate(images):
        data.draw(f"images/{number}.png", size=size)
        data.write({f"annotations/{number}{suffix}": text(size, boxes)})
    return data


def records(dataset) -> list[tuple]:
    dataset.parse_dataset()
    return [
        (Path(record["im_file"]).name, record["w"], record["h"], record["gt_class"].ravel(), record["gt_bbox"])
        for record in dataset.roidbs
    ]


def converted(data: ForeignData, kind: str) -> list[tuple]:
    """What ppdet reads of the data set in COCO's format."""
    read = data.read(kind)
    assert read.errors == []
    images = data.folder / "images"
    coco.write(data.folder / "all.json", coco.document(read.images[""], images, read.classes, is_evaluated=False))
    return records(COCODataSet(str(data.folder), "images", "all.json", FIELDS, allow_empty=True))


def same(one: list[tuple], other: list[tuple], tolerance: float) -> bool:
    """Images without boxes come last in ppdet."""
    pairs = list(zip(sorted(one, key=lambda record: record[0]), sorted(other, key=lambda record: record[0])))
    return len(one) == len(other) and all(
        a[:3] == b[:3]
        and np.array_equal(a[3], b[3])
        and np.allclose(np.reshape(a[4], (-1, 4)), np.reshape(b[4], (-1, 4)), rtol=1e-6, atol=tolerance)
        for a, b in pairs
    )


def expected(images) -> list[tuple]:
    return [
        (f"{number}.png", *size, [CLASSES.index(name) for name, _ in boxes], [corners for _, corners in boxes])
        for number, (size, boxes) in enumerate(images)
    ]


@pytest.mark.parametrize(
    ("suffix", "text", "kind", "tolerance"),
    [
        (".xml", as_voc, "voc", 1e-6),
        (".txt", as_yolo, "yolo", 0.0011),
        (".txt", as_polygons, "yolo", 1e-6),
        (".json", as_labelme, "labelme", 1e-6),
    ],
)
def test_written_and_read(suffix, text, kind, tolerance):
    @settings(max_examples=30, deadline=None)
    @given(images=data_sets(last=1 if kind == "voc" else 0))
    def check(images):
        with tempfile.TemporaryDirectory() as folder:
            data = write(Path(folder, "set"), images, suffix, text)
            assert same(converted(data, kind), expected(images), tolerance)

    check()


@settings(max_examples=30, deadline=None)
@given(images=data_sets(last=-3))
def test_as_ppdet_reads_voc(images):
    """Boxes that reach out of the image, too; of those of which nothing is left ppdet warns, here they are faults."""
    with tempfile.TemporaryDirectory() as folder:
        data = write(Path(folder, "set"), images, ".xml", as_voc)
        names = range(len(images))
        data.write({"train.txt": "".join(f"images/{name}.png annotations/{name}.xml\n" for name in names)})
        read = data.read(skip_bad_boxes=True)
        coco.write(
            data.folder / "all.json",
            coco.document(read.images[""], data.folder / "images", read.classes, is_evaluated=False),
        )
        ours = COCODataSet(str(data.folder), "images", "all.json", FIELDS, allow_empty=True)
        theirs = VOCDataSet(str(data.folder), "", "train.txt", FIELDS, label_list="label_list.txt", allow_empty=True)
        assert same(records(ours), records(theirs), 1e-3)
