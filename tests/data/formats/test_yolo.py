"""YOLO's formats, against numbers computed by hand."""

from __future__ import annotations

import pytest

pytest.importorskip("ppdet")

from paddle_focal.data.formats.findings import FormatError

NAMES = "names: [cat, dog]\n"


def test_boxes_and_polygons(data):
    data.draw("images/a.jpg", "images/b.jpg", "images/c.jpg")
    data.write(
        {
            "data.yaml": NAMES,
            # x 0.5 * 20 -+ 0.2 * 20 / 2, y 0.5 * 10 -+ 0.4 * 10 / 2
            "labels/a.txt": "1 0.5 0.5 0.2 0.4\r\n\r\n0 0.25 0.5 0.5 1\r\n",
            # a triangle: x 0.1, 0.35, 0.2; y 0.9, 0.3, 0.5
            "labels/b.txt": "0 0.1 0.9 0.35 0.3 0.2 0.5",
            "labels/c.txt": "\n",
        }
    )
    read = data.read()
    assert read.errors == read.warnings == []
    assert read.boxes == {
        "images/a.jpg": [("dog", 8, 3, 12, 7), ("cat", 0, 0, 10, 10)],
        "images/b.jpg": [("cat", 2, 3, 7, 9)],
        "images/c.jpg": [],
    }


def test_what_rounding_adds_is_taken_off(data):
    data.draw("a.jpg")
    data.write({"classes.txt": "cat", "a.txt": "0 0.999999 0.5 0.000003 1.0000009\n"})
    read = data.read()
    assert read.errors == [
        "a.txt: line 1: no area in the image: x from 19.9999 to 20, y from -4.5e-06 to 10, of 0 to 20 and 10"
    ]
    data.write({"a.txt": "0 0.75 0.5 0.5000004 1"})
    read = data.read()
    assert read.errors == read.warnings == []
    assert read.boxes == {"a.jpg": [("cat", 10, 0, 20, 10)]}


def test_boxes_that_reach_out_are_clipped_and_remarked(data):
    data.draw("a.jpg")
    data.write({"classes.txt": "cat", "a.txt": "0 0.9 0.5 0.6 0.4\n"})  # x from 12 to 24
    read = data.read()
    assert read.boxes == {"a.jpg": [("cat", 12, 3, 20, 7)]}
    assert read.warnings == ["1 boxes reach out of their image by more than a pixel and are clipped: a.txt: line 1"]


VALUES = (
    "values; accepted are class, x and y of the center, width and height, or class and x and y of three points or more"
)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 0.2 0.4", "class 2 is unknown; there are 0 to 1 (cat, dog)"),
        ("-1 0.5 0.5 0.2 0.4", "class -1 is unknown; there are 0 to 1 (cat, dog)"),
        ("0.5 0.5 0.5 0.2 0.4", "class 0.5 is unknown; there are 0 to 1 (cat, dog)"),
        ("cat 0.5 0.5 0.2 0.4", "value 1 must be a finite number, but is 'cat'"),
        ("0 0,5 0.5 0.2 0.4", "value 2 must be a finite number, but is '0,5'"),
        ("0 0.5 0.5", f"3 {VALUES}"),
        ("0 0.5 0.5 0.2", f"4 {VALUES}"),
        ("0 0.5 0.5 0.2 0.4 0.9", f"6 {VALUES}"),
        ("0 0.5 0.5 0.2 0.4 0.9 0.1 0.1", f"8 {VALUES}"),
        (
            "0 0.5 10 0.2 -4",
            "coordinates must be 0 to 1, as shares of width and height, but there is 10, -4",
        ),
        ("0 0.5 0.5 0 0.4", "no area: x from 10 to 10, y from 3 to 7"),
        ("0 0.1 0.2 0.1 0.3 0.1 0.4", "no area: x from 2 to 2, y from 2 to 4"),
    ],
)
def test_faults(data, line, message):
    data.draw("a.jpg")
    data.write({"classes.txt": "cat\ndog\n", "a.txt": f"1 0.5 0.5 0.2 0.4\n{line}\n"})
    read = data.read()
    assert read.errors == [f"a.txt: line 2: {message}"]


def test_only_faults_of_boxes_can_be_left_out(data):
    data.draw("a.jpg")
    data.write({"classes.txt": "cat\n", "a.txt": "0 0.5 0.5 0 0.4\n1 0.5 0.5 0.2 0.4\n"})
    read = data.read(skip_bad_boxes=True)
    assert read.errors == ["a.txt: line 2: class 1 is unknown; there are 0 to 0 (cat)"]
    assert len(read.warnings) == 1


class TestClasses:
    @pytest.fixture
    def labelled(self, data):
        data.draw("images/a.jpg")
        data.write({"labels/a.txt": "1 0.5 0.5 0.2 0.4"})
        return data

    @pytest.mark.parametrize(
        "files",
        [
            {"data.yaml": "names: {1: dog, 0: cat}\nnc: 2\n"},
            {"coco8.yml": b"\xef\xbb\xbfnames:\r\n  - cat\r\n  - dog\r\n"},
            {"classes.txt": b"\xef\xbb\xbfcat\r\ndog\r\n\r\n"},
            {"labels/classes.txt": "cat\ndog"},
            {"obj.names": "cat \n dog\n"},
            {"data.yaml": NAMES, "classes.txt": "cat\ndog\n", "other.yaml": "TrainDataset: !COCODataSet {}\n"},
        ],
        ids=lambda files: ", ".join(files),
    )
    def test_sources(self, labelled, files):
        labelled.write({**files, "README.roboflow.txt": "read me"})
        read = labelled.read()
        assert read.errors == []
        assert read.classes == ["cat", "dog"]
        assert read.boxes == {"images/a.jpg": [("dog", 8, 3, 12, 7)]}

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ({}, "set names no classes: data.yaml, classes.txt and obj.names are accepted, or --label_list"),
            ({"data.yaml": "names: {1: cat, 2: dog}"}, r"the numbers of names must be 0 to 1, but are \[1, 2\]"),
            ({"data.yaml": "names: cat"}, "data.yaml: names must be a list, or names by number, but is 'cat'"),
            ({"data.yaml": "names: [no, yes]"}, "data.yaml: names must be text, but one is False: put it in quotes"),
            ({"data.yaml": "names: [cat]\nnc: 2"}, "data.yaml: nc is 2, but there are 1 names"),
            ({"data.yaml": "names: [cat"}, "data.yaml: cannot be read: while parsing"),
            ({"data.yaml": "names: [cat, cat]"}, "data.yaml: names a class more than once: cat"),
            ({"classes.txt": "cat\n\ndog"}, "classes.txt: has an empty line, 2, before the last class: take it out"),
            ({"classes.txt": "\n"}, "classes.txt: names no classes: one name a line is accepted"),
            ({"data.yaml": NAMES, "classes.txt": "dog\ncat\n"}, "data.yaml and .*classes.txt name different classes"),
            ({"data.yaml": f"{NAMES}kpt_shape: [17, 3]"}, "has kpt_shape: keypoints are not converted"),
        ],
    )  # fmt: skip
    def test_faults(self, labelled, files, message):
        labelled.write(files)
        with pytest.raises(FormatError, match=message):
            labelled.read()

    def test_a_list_of_the_users_is_taken_before_others(self, labelled):
        labelled.write({"classes.txt": "cat\ndog\n"})
        for name, text in (("names.txt", "cow\nemu"), ("my.yaml", "names: [cow, emu]")):
            labelled.write({f"../{name}": text})
            read = labelled.read(label_list=labelled.folder.parent / name)
            assert read.boxes == {"images/a.jpg": [("emu", 8, 3, 12, 7)]}


class TestSplits:
    def test_ultralytics(self, data):
        data.draw("images/train/a.jpg", "images/val/a.jpg", "images/extra/b.jpg")
        data.write(
            {
                "data.yaml": f"path: /elsewhere/coco8\ntrain: [images/train]\nval: ./images/val\n{NAMES}",
                "labels/train/a.txt": "1 0.5 0.5 0.2 0.4",
                "labels/val/a.txt": "0 0.5 0.5 0.2 0.4",
            }
        )
        read = data.read()
        assert read.names == {"train": ["images/train/a.jpg"], "val": ["images/val/a.jpg"]}
        assert read.boxes == {
            "images/train/a.jpg": [("dog", 8, 3, 12, 7)],
            "images/val/a.jpg": [("cat", 8, 3, 12, 7)],
        }
        assert read.warnings == ["1 images are in no split of the data set and are left out: images/extra/b.jpg"]

    def test_roboflow(self, data):
        data.draw("train/images/a.jpg", "valid/images/b.jpg")
        data.write(
            {
                "data.yaml": f"train: ../train/images\nval: ../valid/images\ntest: ../test/images\n{NAMES}",
                "train/labels/a.txt": "1 0.5 0.5 0.2 0.4",
                "README.dataset.txt": "read me",
            }
        )
        read = data.read()
        assert read.names == {"train": ["train/images/a.jpg"], "val": ["valid/images/b.jpg"]}
        assert read.warnings == ["1 splits are named by data.yaml but have no images: test: ../test/images"]

    def test_the_same_images_for_both(self, data):
        data.draw("images/train2017/a.jpg")
        data.write({"labels/train2017/a.txt": "", "data.yaml": f"train: images\nval: images/train2017\n{NAMES}"})
        assert data.read().names == {"train": ["images/train2017/a.jpg"], "val": ["images/train2017/a.jpg"]}

    @pytest.mark.parametrize(
        "entry", ["{}", "data/{}", "/home/me/darknet/{}", "D:\\darknet\\{}", "./{}"], ids=lambda entry: entry[:4]
    )
    def test_darknet(self, data, entry):
        data.draw(*(f"obj_train_data/{name}.jpg" for name in "abc"))
        data.write({f"obj_train_data/{name}.txt": f"{i % 2} 0.5 0.5 0.2 0.4" for i, name in enumerate("abc")})
        names = ["obj_train_data/a.jpg", "obj_train_data/c.jpg"]
        data.write(
            {
                "obj.names": "cat\ndog\n",
                "train.txt": "\n".join(entry.format(name) for name in names) + "\n",
                "valid.txt": entry.format("obj_train_data/b.jpg"),
            }
        )
        read = data.read()
        assert read.errors == []
        assert read.names == {"train": names, "val": ["obj_train_data/b.jpg"]}

    def test_lists_that_data_yaml_names(self, data):
        data.draw("images/a.jpg", "images/b.jpg")
        data.write(
            {
                "data.yaml": f"train: lists/one.txt\nval: lists/two.txt\n{NAMES}",
                "lists/one.txt": "./images/b.jpg",
                "lists/two.txt": "images/a.jpg\nimages/z.jpg",
                "labels/a.txt": "",
            }
        )
        read = data.read()
        assert read.names == {"train": ["images/b.jpg"], "val": ["images/a.jpg"]}
        assert read.errors == [
            "lists/two.txt: line 2: no such image: images/z.jpg",
        ]

    def test_an_image_of_the_same_name_elsewhere_is_another_one(self, data):
        data.draw("a.jpg", "b.jpg")
        data.write({"classes.txt": "cat", "a.txt": "", "train.txt": "a.jpg", "val.txt": "val/b.jpg"})
        assert data.read().errors == ["val.txt: line 1: no such image: val/b.jpg"]

    def test_a_folder_that_is_not_there(self, data):
        data.draw("images/train/a.jpg")
        data.write({"labels/train/a.txt": "", "data.yaml": f"train: images/train\nval: images/val\n{NAMES}"})
        with pytest.raises(FormatError, match=r"data.yaml: val is 'images/val', but there are no images of .*/set in"):
            data.read()

    def test_a_picture_of_a_train(self, data):
        data.draw("train.jpg", "readme.jpg", "b.jpg")
        data.write({"train.txt": "0 0.5 0.5 0.2 0.4", "readme.txt": "1 0.5 0.5 0.2 0.4", "classes.txt": "cat\ndog"})
        read = data.read()
        assert read.errors == []
        assert read.boxes == {"b.jpg": [], "readme.jpg": [("dog", 8, 3, 12, 7)], "train.jpg": [("cat", 8, 3, 12, 7)]}


def test_several_lists_of_a_split_are_one(data):
    data.draw("a.jpg", "b.jpg", "c.jpg")
    data.write({"classes.txt": "cat", "train.txt": "a.jpg", "train2.txt": "b.jpg", "val.txt": "c.jpg"})
    assert data.read("yolo").names == {"train": ["a.jpg", "b.jpg"], "val": ["c.jpg"]}


def test_a_list_names_images_from_its_own_folder_on_first(data):
    data.draw("a.jpg", "of/a.jpg", "b.jpg")
    data.write({"data.yaml": NAMES + "train: of/list.txt\nval: val.txt", "of/list.txt": "a.jpg\nb.jpg"})
    data.write({"val.txt": "a.jpg"})
    assert data.read("yolo").names == {"train": ["of/a.jpg", "b.jpg"], "val": ["a.jpg"]}


def test_shares_are_those_of_the_turned_image(data):
    data.draw("a.jpg", orientation=6)  # 10 x 20 when it is turned
    data.write({"classes.txt": "cat", "a.txt": "0 0.5 0.5 0.2 0.4"})
    assert data.read().boxes == {"a.jpg": [("cat", 4, 6, 6, 14)]}


def test_a_place_may_be_named_from_the_folder_of_the_data_set_on(data):
    data.draw("train/a.jpg", "val/b.jpg")
    data.write({"data.yaml": NAMES + "path: sub\ntrain: train\nval: ../set/val"})
    assert data.read("yolo").names == {"train": ["train/a.jpg"], "val": ["val/b.jpg"]}


def test_only_what_lies_beside_the_folders_describes_them(data):
    data.draw("images/a.jpg")
    data.write({"classes.txt": "cat", "sub/data.yaml": NAMES, "labels/a.txt": "", "labels/train.txt": ""})
    read = data.read()
    assert read.classes == ["cat"]
    assert [error.partition("{")[0] for error in read.errors] == ["labels/train.txt: no image named train"]


def test_a_description_in_another_encoding(data):
    data.draw("a.jpg")
    data.write({"data.yaml": "names: [猫]".encode("gbk"), "a.txt": "0 0.5 0.5 0.2 0.4"})
    assert data.read(encoding="gbk").boxes == {"a.jpg": [("猫", 8, 3, 12, 7)]}


def test_a_list_of_classes_that_is_no_description(data):
    data.draw("a.jpg")
    data.write({"names.yaml": "[cat, dog]"})
    with pytest.raises(FormatError, match=r"names.yaml: names must be a list, or names by number, but is None$"):
        data.read("yolo", label_list=data.folder / "names.yaml")
