"""PASCAL VOC, against numbers computed by hand and against ppdet's own VOCDataSet."""

from __future__ import annotations

import pytest

pytest.importorskip("ppdet")

from foreign_data import voc, voc_object
from ppdet.data.source.voc import VOCDataSet

from paddle_focal.data.formats.findings import FormatError


def test_numbers_stay_as_they_are_and_are_clipped_to_the_last_pixel(data):
    data.draw("a.jpg")
    boxes = voc_object("cat", 1, 2, 5, 8), voc_object("dog", 0.5, 0, 20, 10), voc_object("cat", -1, -0.5, 3, 3)
    data.write({"a.xml": voc(*boxes)})
    read = data.read()
    assert read.errors == read.warnings == []
    assert read.boxes == {"a.jpg": [("cat", 1, 2, 5, 8), ("dog", 0.5, 0, 19, 9), ("cat", 0, 0, 3, 3)]}


def test_boxes_are_those_of_ppdet(data):
    data.draw("images/a.png", "images/b.png")
    objects = [
        voc_object("cat", 1, 2, 5, 8),
        voc_object("dog", 3, 3, 20, 10),
        voc_object("dog", 0, 0, 1, 1, difficult=1),
    ]
    data.write(
        {
            "annotations/a.xml": voc(*objects),
            "annotations/b.xml": voc(objects[0]),
            "train.txt": "./images/a.png ./annotations/a.xml\n./images/b.png ./annotations/b.xml\n",
            "label_list.txt": "dog\ncat\n",
        }
    )
    read = data.read()
    dataset = VOCDataSet(
        str(data.folder), "", "train.txt", ["image", "gt_bbox", "gt_class", "difficult"], label_list="label_list.txt"
    )
    dataset.parse_dataset()
    assert read.classes == ["dog", "cat"] == sorted(dataset.cname2cid, key=dataset.cname2cid.get)
    for record, image in zip(dataset.roidbs, read.images[""]):
        assert record["im_file"].endswith(f"images/{image.path.name}")
        assert record["gt_bbox"].tolist() == [[*box[1:5]] for box in image.boxes]
        assert record["gt_class"].ravel().tolist() == [read.classes.index(box.category) for box in image.boxes]
        assert record["difficult"].ravel().tolist() == [box.difficult for box in image.boxes]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (voc(voc_object("cat", 5, 2, 1, 8)), "a.xml: object 1 (cat): xmin 5 is greater than xmax 1"),
        (voc(voc_object("cat", 1, 8, 5, 2)), "a.xml: object 1 (cat): ymin 8 is greater than ymax 2"),
        (voc(voc_object("cat", 5, 2, 5, 8)), "a.xml: object 1 (cat): no area: x from 5 to 5, y from 2 to 8"),
        (
            voc(voc_object("cat", 25, 2, 30, 8)),
            "a.xml: object 1 (cat): no area in the image: x from 25 to 30, y from 2 to 8, of 0 to 19 and 9",
        ),
        (voc(voc_object("cat", 1, "nan", 5, 2)), "a.xml: object 1 (cat): ymin must be a finite number, but is 'nan'"),
        (
            voc("<object><name>cat</name><robndbox/></object>"),
            "a.xml: object 1 (cat): has no bndbox; it has name, robndbox",
        ),
        (voc("<object><name> </name></object>"), "a.xml: object 1 has no name"),
        (
            voc(voc_object("cat", 1, 2, 3, 4, difficult=7)),
            "a.xml: object 1 (cat): difficult must be 0 or 1, but is '7'",
        ),
        (voc(size=("wide", 10)), "a.xml: size/width must be a finite number, but is 'wide'"),
        (
            voc(more="<size><width>20</width></size>", size=None),
            "a.xml: size/height must be a finite number, but is None",
        ),
        (voc(size=(10, 20)), "a.xml: states an image of 10x20, but it is 20x10: its boxes may be wrong"),
        ("<svg/>", "a.xml: is no VOC annotation: its root is <svg> instead of <annotation>"),
        ("<annotation>", "a.xml: cannot be read as XML: no element found: line 1, column 12"),
        ("", "a.xml: cannot be read as XML: no element found: line 1, column 0"),
    ],
)
def test_faults(data, text, message):
    data.draw("a.jpg", "b.jpg")
    data.write({"a.xml": text, "b.xml": voc(voc_object("cat", 1, 2, 3, 4)), "labels.txt": "cat\ndog"})
    read = data.read()
    assert read.errors == [message]
    assert "b.jpg" in read.boxes


def test_all_faults_are_said(data):
    data.draw("a.jpg", "b.jpg")
    data.write({"a.xml": voc(*2 * [voc_object("cat", 5, 2, 5, 8)]), "b.xml": "<", "c.xml": voc()})
    errors = data.read().errors
    assert [error.split(": ")[0] for error in errors] == ["c.xml", "a.xml", "a.xml", "b.xml"]


def test_a_class_that_is_not_listed_is_said_once(data):
    data.draw(*(f"{name}.jpg" for name in "abcde"))
    cow, emu = (voc_object(name, 1, 2, 3, 4) for name in ("cow", "emu"))
    data.write({f"{name}.xml": voc(cow) for name in "abcd"})
    data.write({"e.xml": voc(emu, emu), "labels.txt": "cat\ndog"})
    assert data.read().errors == [
        "class 'cow' is not among the classes (cat, dog): a.xml, b.xml, c.xml, ... (4 in all)",
        "class 'emu' is not among the classes (cat, dog): e.xml",
    ]


def test_bad_boxes_are_left_out_on_demand(data):
    data.draw("a.jpg")
    data.write({"a.xml": voc(voc_object("cat", 5, 2, 5, 8), voc_object("cat", 1, 2, 3, 4))})
    read = data.read(skip_bad_boxes=True)
    assert read.errors == []
    assert read.boxes == {"a.jpg": [("cat", 1, 2, 3, 4)]}
    assert read.warnings == [
        "1 faulty boxes are left out: a.xml: object 1 (cat): no area: x from 5 to 5, y from 2 to 8"
    ]


@pytest.mark.parametrize(
    ("corners", "inside", "reaches_out"),
    [
        ((1, 2, 20, 10), (1, 2, 19, 9), False),  # to the end, if pixels are counted from 1
        ((1, 2, 20.5, 8), (1, 2, 19, 8), True),
        ((1, 2, 5, 10.5), (1, 2, 5, 9), True),
        ((-1, -1, 5, 8), (0, 0, 5, 8), False),
        ((-1.5, 2, 5, 8), (0, 2, 5, 8), True),
        ((1, -1.5, 5, 8), (1, 0, 5, 8), True),
    ],
)
def test_reaching_out(data, corners, inside, reaches_out):
    data.draw("a.jpg")
    data.write({"a.xml": voc(voc_object("cat", *corners))})
    read = data.read()
    assert read.boxes == {"a.jpg": [("cat", *inside)]}
    assert len(read.warnings) == reaches_out


@pytest.mark.parametrize("size", [None, (0, 0)])
def test_a_size_that_is_not_stated_is_that_of_the_image(data, size):
    data.draw("a.jpg")
    data.write({"a.xml": voc(voc_object("cat", 1, 2, 30, 8), size=size)})
    read = data.read()
    assert read.boxes == {"a.jpg": [("cat", 1, 2, 19, 8)]}
    assert read.warnings == [
        "1 boxes reach out of their image by more than a pixel and are clipped: a.xml: object 1 (cat)"
    ]


def test_a_file_that_names_another_image_is_remarked(data):
    data.draw("a.jpg", "b.c.jpg")
    data.write(
        {
            "a.xml": voc(voc_object("cat", 1, 2, 3, 4), more="<filename>old.jpg</filename>"),
            "b.c.xml": voc(more="<filename>C:\\pictures\\b.c</filename>"),  # without its ending
        }
    )
    assert data.read().warnings == ["1 files name another image than the one they are named as, which is taken: a.xml"]


class TestLists:
    @pytest.fixture
    def devkit(self, data):
        data.draw(*(f"VOC2007/JPEGImages/{name}.jpg" for name in "abcd"), "VOC2007/SegmentationClass/a.png")
        data.write({f"VOC2007/Annotations/{name}.xml": voc(voc_object("cat", 1, 2, 3, 4)) for name in "abc"})
        return data

    def test_those_of_voc(self, devkit):
        devkit.write(
            {
                "VOC2007/ImageSets/Main/train.txt": "a\r\nc\r\n",
                "VOC2007/ImageSets/Main/val.txt": "b\n",
                "VOC2007/ImageSets/Main/trainval.txt": "a\nb\nc\n",
                "VOC2007/ImageSets/Main/cat_train.txt": "a -1\n",
            }
        )
        read = devkit.read()
        names = {split: [name[-5:] for name in names] for split, names in read.names.items()}
        assert names == {"train": ["a.jpg", "c.jpg"], "val": ["b.jpg"]}
        assert read.errors == []
        assert read.warnings == [
            "1 images are left out, because they are not in the folders for images: VOC2007/SegmentationClass/a.png",
            "1 images are in no split of the data set and are left out: VOC2007/JPEGImages/d.jpg",
        ]

    def test_those_of_ppdet_come_first(self, devkit):
        devkit.write({"train.txt": "VOC2007/a\nVOC2007/b", "VOC2007/ImageSets/Main/train.txt": "c"})
        assert devkit.read().names == {"": ["VOC2007/JPEGImages/a.jpg", "VOC2007/JPEGImages/b.jpg"]}

    def test_two_years(self, devkit):
        devkit.draw("VOC2012/JPEGImages/a.jpg")
        devkit.write({"VOC2012/Annotations/a.xml": voc(voc_object("cat", 1, 2, 3, 4))})
        for year, names in (("VOC2007", "abc"), ("VOC2012", "a")):
            devkit.write({f"{year}/ImageSets/Main/trainval.txt": "\n".join(names)})
        devkit.write({"VOC2007/ImageSets/Main/test.txt": "b"})
        read = devkit.read()
        assert len(read.names["train"]) == 4
        assert read.names["test"] == ["VOC2007/JPEGImages/b.jpg"]

    def test_those_of_ppdet_with_any_folder_and_spaces(self, data):
        data.draw("pics/a b.JPG", "pics/c.jpg")
        data.write(
            {
                "marks/1.xml": voc(voc_object("cat", 1, 2, 3, 4)),
                "marks/2.xml": voc(voc_object("dog", 1, 2, 3, 4)),
                "train.txt": ".\\pics\\a b.JPG .\\marks\\1.xml\r\n",
                "valid.txt": "pics/c.jpg\tmarks/2.xml",
            }
        )
        read = data.read("voc")
        assert read.errors == read.warnings == []
        assert read.names == {"train": ["pics/a b.JPG"], "val": ["pics/c.jpg"]}
        assert read.boxes["pics/c.jpg"] == [("dog", 1, 2, 3, 4)]

    def test_faults(self, devkit):
        devkit.write(
            {
                "train.txt": "VOC2007/a\nVOC2007/e\nVOC2007/d.jpg\nVOC2007/a\nx.jpg y.xml\n\n",
                "val.txt": "",
            }
        )
        wanted = "a line is an image and its XML file, or the name of both"
        assert devkit.read().errors == [
            f"train.txt: line 2: no image named 'VOC2007/e'; {wanted}",
            f"train.txt: line 3: no XML file named 'VOC2007/d.jpg'; {wanted}",
            "train.txt: line 4: lists VOC2007/JPEGImages/a.jpg again",
            "train.txt: line 5: no such file: x.jpg",
            "val.txt: lists no images",
        ]

    def test_no_training(self, devkit):
        devkit.write({"val.txt": "VOC2007/a", "test.txt": "VOC2007/b"})
        with pytest.raises(FormatError, match="is split into test and val, without a split for training"):
            devkit.read()


class TestEncodings:
    TEXT = '<?xml version="1.0" encoding="{}"?>' + voc(voc_object("血细胞", 1, 2, 3, 4))

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gbk", "gb2312", "big5"])
    def test_declared(self, data, encoding):
        data.draw("图像/甲.jpg")
        text = self.TEXT.replace("细", "") if encoding == "big5" else self.TEXT
        data.write({"图像/甲.xml": text.format(encoding.removesuffix("-sig")).encode(encoding)})
        (boxes,) = data.read().boxes.values()
        assert boxes[0][0] in ("血细胞", "血胞")

    @pytest.mark.parametrize("declared", ["utf-8", None])
    def test_not_declared(self, data, declared):
        data.draw("a.jpg")
        text = self.TEXT.format(declared) if declared else self.TEXT.partition("?>")[2]
        data.write({"a.xml": text.encode("gbk"), "labels.txt": "血细胞".encode("gbk")})
        fault = "is not in the encoding utf-8: save it as UTF-8, or name its encoding, as in --encoding gbk"
        with pytest.raises(FormatError, match=f"labels.txt: {fault}"):
            data.read()
        (data.folder / "labels.txt").unlink()
        assert data.read().errors == [f"a.xml: {fault}"]
        assert data.read(encoding="gbk").boxes == {"a.jpg": [("血细胞", 1, 2, 3, 4)]}

    def test_unknown(self, data):
        data.draw("a.jpg")
        data.write({"a.xml": self.TEXT.format("klingon")})
        assert data.read().errors == ["a.xml: is in an encoding that Python does not know: klingon"]
