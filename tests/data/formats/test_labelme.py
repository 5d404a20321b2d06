"""LabelMe's files, against numbers computed by hand."""

from __future__ import annotations

import pytest

pytest.importorskip("ppdet")

from foreign_data import labelme, shape


def test_shapes(data):
    data.draw("a.jpg")
    shapes = [
        shape("cat", (8, 7), (1, 2)),  # from the lower right
        shape("dog", (1.5, 2), (6, 3.25), (4, 9), kind="polygon"),
        shape("cow", (10, 5), (13, 9), kind="circle"),  # of radius 5
        shape("emu", (1, 1), (4, 2), kind="line"),
        shape("emu", (1, 1), (4, 2), (3, 8), kind="linestrip"),
        shape("yak", (2, 3), (5, 6), kind="mask", mask="iVBOR..."),  # from pixel 2 to pixel 5
        {"label": "old", "points": [[1, 1], [3, 1], [3, 4]]},  # before LabelMe 3, everything was a polygon
    ]
    data.write({"a.json": labelme(*shapes, imagePath="a.jpg")})
    read = data.read()
    assert read.errors == read.warnings == []
    assert read.boxes == {
        "a.jpg": [
            ("cat", 1, 2, 8, 7),
            ("dog", 1.5, 2, 6, 9),
            ("cow", 5, 0, 15, 10),
            ("emu", 1, 1, 4, 2),
            ("emu", 1, 1, 4, 8),
            ("yak", 2, 3, 6, 7),
            ("old", 1, 1, 3, 4),
        ]
    }


def test_shapes_of_a_group_are_one_object(data):
    data.draw("a.jpg")
    shapes = [
        shape("cat", (1, 2), (3, 4), group_id=0),
        shape("cat", (1, 2), (3, 4), group_id=None),
        shape("dog", (5, 5), (6, 6), group_id=0),
        shape("cat", (8, 1), (9, 3), group_id=0),
        shape("cat", (8, 1), (9, 3), group_id=1),
        shape("cat", (1, 2), (3, 4)),
    ]
    data.write({"a.json": labelme(*shapes)})
    assert data.read().boxes == {
        "a.jpg": [
            ("cat", 1, 1, 9, 4),
            ("cat", 1, 2, 3, 4),
            ("dog", 5, 5, 6, 6),
            ("cat", 8, 1, 9, 3),
            ("cat", 1, 2, 3, 4),
        ]
    }


def test_difficult_as_x_anylabeling_says_it(data):
    data.draw("a.jpg")
    shapes = [shape("cat", (1, 2), (3, 4), difficult=flag, group_id=group) for flag, group in
              ((True, None), (False, None), (True, 1), (False, 1))]  # fmt: skip
    data.write({"a.json": labelme(*shapes)})
    assert [box.difficult for box in data.read().images[""][0].boxes] == [True, False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (labelme(shape("cat", (1, 2), kind="point")), "shape 1 (cat): no area: x from 1 to 1, y from 2 to 2"),
        (labelme(shape("cat", (1, 2), (9, 2), kind="line")), "shape 1 (cat): no area: x from 1 to 9, y from 2 to 2"),
        (
            labelme(shape("cat", (21, 2), (30, 5))),
            "shape 1 (cat): no area in the image: x from 21 to 30, y from 2 to 5, of 0 to 20 and 10",
        ),
        (labelme(shape("cat")), "shape 1 (cat): has no points, but []"),
        (labelme(shape("cat", (1, 2, 3))), "shape 1 (cat): has points that are not two numbers, x and y"),
        (labelme(shape("cat", (1, "2"), (3, None))), "shape 1 (cat): y must be a finite number, but is None"),
        (labelme(shape("cat", (1, True))), "shape 1 (cat): y must be a finite number, but is True"),
        (
            labelme(shape("cat", (1, 2), kind="circle")),
            "shape 1 (cat): is a circle with 1 points; accepted are its center and one on its rim",
        ),
        (labelme(shape("", (1, 2), (3, 4))), "shape 1 has no label"),
        (labelme(shape(" ", (1, 2), (3, 4))), "shape 1 has no label"),
        (labelme(size=(10, 20)), "states an image of 10x20, but it is 20x10: its boxes may be wrong"),
        ('{"shapes": [', "cannot be read as JSON: Expecting value: line 1 column 13 (char 12)"),
        ('{"images": [], "annotations": []}', "is no LabelMe file: it has no list of shapes, but images, annotations"),
        ("[]", "is no LabelMe file: it has no list of shapes, but list"),
    ],
)
def test_faults(data, text, message):
    data.draw("a.jpg", "b.jpg")
    data.write({"a.json": text, "b.json": labelme(shape("cat", (1, 2), (3, 4)))})
    read = data.read()
    assert read.errors == [f"a.json: {message}"]
    assert read.boxes["b.jpg"] == [("cat", 1, 2, 3, 4)]


def test_the_first_lines_of_its_list_of_classes_are_no_classes(data):
    data.draw("a.jpg")
    data.write(
        {"labels.txt": "__ignore__\n_background_\ndog\ncat\n", "a.json": labelme(shape(" cat ", (1, 2), (3, 4)))}
    )
    read = data.read()
    assert read.classes == ["dog", "cat"]
    assert read.boxes == {"a.jpg": [("cat", 1, 2, 3, 4)]}
    data.write({"a.json": labelme(shape("__ignore__", (1, 2), (3, 4)))})
    assert data.read().errors == ["class '__ignore__' is not among the classes (dog, cat): a.json"]


def test_encodings(data):
    data.draw("a.jpg", "b.jpg")
    text = labelme(shape("cat", (1, 2), (3, 4))).replace("cat", "血细胞")
    data.write({"a.json": text.encode("gbk"), "b.json": text.encode("utf-8-sig")})
    read = data.read()
    assert read.boxes == {"b.jpg": [("血细胞", 1, 2, 3, 4)]}
    assert read.errors == [
        "a.json: is not in the encoding utf-8: save it as UTF-8, or name its encoding, as in --encoding gbk"
    ]
    assert data.read(encoding="gbk").boxes == {name: [("血细胞", 1, 2, 3, 4)] for name in ("a.jpg", "b.jpg")}


def test_paths(data):
    data.draw("images/a.jpg", "images/b.jpg", "images/c.jpg")
    for name, path in (("a", "..\\images\\a.jpg"), ("b", "old.jpg"), ("c", "")):
        data.write({f"annotations/{name}.json": labelme(shape("cat", (1, 2), (3, 4)), size=None, imagePath=path)})
    read = data.read()
    assert len(read.boxes) == 3
    assert read.warnings == [
        "1 files name another image than the one they are named as, which is taken: annotations/b.json"
    ]
