"""What few data sets have: rare names, encodings, values at a limit; and whole messages of what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("ppdet")

from foreign_data import labelme, shape, voc, voc_object
from PIL import Image

from paddle_focal.data.checks.data_report import DataReport
from paddle_focal.data.formats import boxes, coco, pictures, reading, text
from paddle_focal.data.formats.boxes import Box
from paddle_focal.data.formats.findings import Findings, FormatError
from paddle_focal.data.formats.reading import AnnotatedImage

CAT = voc(voc_object("cat", 1, 2, 3, 4))
BOX = [("cat", 1, 2, 3, 4)]
YOLO_BOX = "1 0.5 0.5 0.2 0.4"  # 8, 3, 12, 7


class TestNumbers:
    def test_boxes_have_three_decimals(self):
        assert boxes.clip(1.23456, 2.34567, 3.45678, 4.56789, 20, 10) == ((1.235, 2.346, 3.457, 4.568), False)
        image = AnnotatedImage(pictures.Path("/set/a.jpg"), (9, 9), [Box("cat", 0.1, 0.7, 0.4, 0.9)])
        (entry,) = coco.document([image], pictures.Path("/set"), ["cat"], is_evaluated=True)["annotations"]
        assert entry["bbox"] == [0.1, 0.7, 0.3, 0.2]
        assert type(entry["iscrowd"]) is int  # and not a truth value, which JSON writes otherwise

    @pytest.mark.parametrize("value", [10**400, None, [1], "1e999"])
    def test_none(self, value):
        with pytest.raises(FormatError) as error:
            boxes.number("x", value)
        assert str(error.value) == f"x must be a finite number, but is {value!r}"

    @pytest.mark.parametrize("value", ["1.0000012", "-0.0000012"])
    def test_more_than_rounding_is_out_of_the_image(self, data, value):
        data.draw("a.jpg", "b.jpg")
        data.write({"classes.txt": "cat", "a.txt": f"0 {value} 0.5 0.2 0.4", "b.txt": "0 -0.0000009 0.5 0.2 1.0000009"})
        assert data.read().errors == [
            f"a.txt: line 1: coordinates must be 0 to 1, as shares of width and height, but there is {float(value):g}"
        ]


def test_folders_that_are_usual(data):
    images = ["images", "image", "imgs", "img", "JPEGImages"]
    marks = ["annotations", "annotation", "labels", "label", "xmls", "xml", "jsons", "json"]
    for number, name in enumerate(marks):
        data.draw(f"{number}/{images[number % 5]}/a.jpg")
        data.write({f"{number}/{name}/a.xml": CAT})
    data.draw("other/b.jpg")
    data.write({"other/b.xml": CAT, "other/c.xml": CAT})
    read = data.read()
    assert read.errors == []
    assert read.boxes == {f"{number}/{images[number % 5]}/a.jpg": BOX for number in range(8)}
    assert read.warnings == [
        "1 images are left out, because they are not in the folders for images: other/b.jpg",
        "2 .xml files are left out, because they are not in the folders for .xml files: other/b.xml, other/c.xml",
    ]


def test_an_annotation_without_its_image(data):
    data.draw("images/a.jpg")
    data.write({"labels/a.xml": CAT, "labels/of/b.xml": CAT})
    endings = ".jpg,.jpeg,.jpe,.png,.bmp,.dib,.tif,.tiff,.webp,.jp2,.gif,.avif,.ppm,.pgm,.pbm,.pnm"
    assert data.read().errors == [
        f"labels/of/b.xml: no image named of/b{{{endings}}}, as its path without folders such as images and labels; "
        "--image_dir and --anno_dir name folders that are called otherwise"
    ]


def test_remarks_are_said_once(capsys):
    findings = Findings(DataReport())
    findings.remark("files are odd", "a")
    findings.summarize()
    findings.summarize()
    assert findings.report.warnings == ["1 files are odd: a"]


def test_a_thousand_remarks():
    findings = Findings(DataReport())
    for number in range(1000):
        findings.remark("files are odd", f"{number}")
    findings.summarize()
    assert findings.report.warnings == ["1,000 files are odd: 0, 1, 2, ..."]


def test_lists_in_another_encoding(data):
    data.draw("JPEGImages/猫.jpg", "JPEGImages/b.jpg")
    data.write({"Annotations/猫.xml": CAT, "Annotations/b.xml": CAT, "train.txt": "猫".encode("gbk"), "val.txt": "b"})
    assert data.read(encoding="gbk").names == {"train": ["JPEGImages/猫.jpg"], "val": ["JPEGImages/b.jpg"]}


def test_names_that_are_not_utf8_can_be_printed():
    findings = Findings(DataReport())
    name = Path(os.fsdecode(b"a\xff.xml"))
    findings.remark("files are odd", name)
    findings.summarize()
    findings.error(name, "is odd")
    assert findings.report.warnings == ["1 files are odd: a\\udcff.xml"]
    assert findings.report.errors == ["a\\udcff.xml: is odd"]


def test_progress_is_shown_on_terminals_only(data, monkeypatch):
    bars = []
    monkeypatch.setattr(reading, "tqdm", lambda samples, **options: bars.append((len(samples), options)) or samples)
    data.draw("a.jpg", "b.jpg")
    data.write({"a.xml": CAT})
    data.read()
    assert bars == [(2, {"unit": "image", "disable": None, "leave": False})]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(data, orientation):
    data.draw("a.jpg", orientation=orientation)
    size = (10, 20) if orientation in (5, 6, 7, 8) else (20, 10)
    assert pictures.look_at(data.folder / "a.jpg") == (size, (20, 10), orientation != 1)


def test_a_decoder_that_does_not_say_what_is_wrong(data, monkeypatch):
    def fail(*_):
        raise MemoryError

    data.write({"a.png": "", "a.xml": CAT})
    said = f"cannot be read as an image: cannot identify image file '{data.folder}/a.png'"
    assert data.read().errors == [f"a.png: {said}".replace(f"{data.folder}/", "")]
    monkeypatch.setattr(Image, "open", fail)
    assert data.read().errors == ["a.png: cannot be read as an image: MemoryError"]


class TestText:
    @pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
    def test_marks_of_utf_16(self, tmp_path, encoding):
        path = tmp_path / "a.txt"
        path.write_bytes("\ufeff猫\n".encode(encoding))
        assert text.read_text(path, "gbk") == "猫\n"

    @pytest.mark.parametrize("declaration", ["\n <?xml version='1.0' encoding = 'gbk' ?>", '<?xml encoding="gbk"?>'])
    def test_declarations(self, tmp_path, declaration):
        path = tmp_path / "a.xml"
        path.write_bytes(f"{declaration}<猫/>".encode("gbk"))
        assert text.read_text(path) == f"{declaration}<猫/>"

    def test_lines(self):
        assert text.lines("\r\n a\t\n\nb c \n \n") == ["", "a", "", "b c"]

    def test_what_cannot_be_opened(self, data):
        data.draw("a.jpg")
        data.write({"a.xml": CAT})
        with pytest.raises(FormatError) as error:
            data.read(label_list=data.folder / "none.txt")
        assert str(error.value) == f"{data.folder}/none.txt: cannot be read: No such file or directory"


class TestVOC:
    def test_spaces_and_empty_elements(self, data):
        data.draw("a.jpg")
        objects = [voc_object(" cat\n", " 1\n", 2, 3, 4, difficult=" 1 "), voc_object("cat", 5, 2, 7, 4, difficult="")]
        data.write({"a.xml": voc(*objects, more="<filename> a.jpg </filename>")})
        read = data.read()
        assert read.errors == read.warnings == []
        assert [(box.category, box.difficult) for box in read.images[""][0].boxes] == [("cat", True), ("cat", False)]

    def test_of_two_faults_the_first_is_said(self, data):
        data.draw("a.jpg")
        data.write({"a.xml": voc(voc_object("cat", 5, 8, 1, 2))})
        assert data.read().errors == ["a.xml: object 1 (cat): xmin 5 is greater than xmax 1"]

    def test_a_size_of_which_one_side_is_zero(self, data):
        data.draw("a.jpg", "b.jpg")
        data.write({"a.xml": voc(size=(0, 10)), "b.xml": voc(size=(20, 0))})
        assert data.read("voc").errors == [
            "a.xml: states an image of 0x10, but it is 20x10: its boxes may be wrong",
            "b.xml: states an image of 20x0, but it is 20x10: its boxes may be wrong",
        ]

    def test_up_to_ten_classes_are_named(self, data):
        data.draw("a.jpg")
        data.write({"a.xml": CAT, "labels.txt": "\n".join("abcdefghijk")})
        names = "a, b, c, d, e, f, g, h, i, j, ..."
        assert data.read().errors == [f"class 'cat' is not among the classes ({names}): a.xml"]

    def test_lists(self, data):
        data.draw(*(f"JPEGImages/{name}.JPG" for name in "abc"))
        data.write({f"Annotations/{name}.xml": CAT for name in "abc"})
        data.write({"Train.TXT": "JPEGImages/a.JPG\n\nb\nJPEGImages/z.JPG", "val.txt": "c", "notes.txt": "a"})
        data.write({"ImageSets/Layout/test.txt": "a", "Main/test.txt": "a"})
        read = data.read()
        assert read.names == {"train": ["JPEGImages/a.JPG", "JPEGImages/b.JPG"], "val": ["JPEGImages/c.JPG"]}
        assert read.errors == [
            "Train.TXT: line 4: no image named 'JPEGImages/z.JPG'; a line is an image and its XML file, or the name of "
            "both"
        ]
        data.write({"val.txt": "血细胞".encode("gbk")})
        assert data.read().errors[1:] == [
            "val.txt: is not in the encoding utf-8: save it as UTF-8, or name its encoding, as in --encoding gbk"
        ]

    @pytest.mark.parametrize("folder", ["", "ImageSets/Main/"])
    def test_letters_of_any_size_in_the_names_of_lists(self, data, folder):
        data.draw("JPEGImages/a.jpg", "JPEGImages/b.jpg")
        data.write({"Annotations/a.xml": CAT, "Annotations/b.xml": CAT})
        data.write({f"{folder}TrainVal.txt": "a", f"{folder}VAL.txt": "b"})
        assert data.read().names == {"train": ["JPEGImages/a.jpg"], "val": ["JPEGImages/b.jpg"]}

    def test_several_lists_of_a_split_are_one(self, data):
        data.draw(*(f"JPEGImages/{name}.jpg" for name in "abc"))
        data.write({f"Annotations/{name}.xml": CAT for name in "abc"})
        data.write({"train.txt": "a", "train2.txt": "b", "val.txt": "c"})
        assert data.read().names == {"train": ["JPEGImages/a.jpg", "JPEGImages/b.jpg"], "val": ["JPEGImages/c.jpg"]}

    @pytest.mark.parametrize("side", ["xmin", "ymin", "xmax", "ymax"])
    def test_a_side_that_is_not_there(self, data, side):
        data.draw("a.jpg")
        data.write({"a.xml": CAT.replace(side, "side")})
        assert data.read().errors == [f"a.xml: object 1 (cat): {side} must be a finite number, but is ''"]

    def test_lists_of_other_folders_are_none(self, data):
        data.draw("JPEGImages/a.jpg", "JPEGImages/b.jpg")
        data.write({"Annotations/a.xml": CAT, "Other/Main/train.txt": "a", "ImageSets/Layout/val.txt": "b"})
        assert data.read().names == {"": ["JPEGImages/a.jpg", "JPEGImages/b.jpg"]}

    def test_all_of_training_and_validation_serves_where_there_is_no_list_for_training(self, data):
        data.draw("JPEGImages/a.jpg", "JPEGImages/b.jpg")
        data.write({"Annotations/a.xml": CAT, "Annotations/b.xml": CAT, "ImageSets/Main/trainval.txt": "a\nb"})
        data.write({"ImageSets/Main/training.TXT": "a", "ImageSets/Main/val.txt": "b"})
        assert data.read().names == {"train": ["JPEGImages/a.jpg"], "val": ["JPEGImages/b.jpg"]}


class TestLabelMe:
    def test_labels_and_groups(self, data):
        data.draw("a.jpg")
        shapes = [
            shape(5, (1, 2), (3, 4), group_id=1),
            shape(5, (5, 2), (6, 4), group_id="1"),
            shape("cat", (1, 2), (3, 4), kind=None),
            shape("cat", (30, 2), (35, 4), group_id=7),
            shape("cat", (3, 4), (30, 6), group_id=8),
        ]
        data.write({"a.json": labelme(*shapes, imagePath=None)})
        read = data.read(skip_bad_boxes=True)
        assert read.boxes == {"a.jpg": [("5", 1, 2, 6, 4), ("cat", 1, 2, 3, 4), ("cat", 3, 4, 20, 6)]}
        assert read.warnings == [
            "1 faulty boxes are left out: a.json: group 7 (cat): no area in the image: x from 30 to 35, y from 2 to 4, "
            "of 0 to 20 and 10",
            "1 boxes reach out of their image by more than a pixel and are clipped: a.json: group 8 (cat)",
        ]

    @pytest.mark.parametrize(
        ("document", "message"),
        [
            ("{}", "is no LabelMe file: it has no list of shapes, but nothing"),
            ('{"shapes": {}}', "is no LabelMe file: it has no list of shapes, but shapes"),
            ('{"shapes": [7]}', "shape 1 has no label"),
            ('{"shapes": [{"label": null}]}', "shape 1 has no label"),
            ('{"shapes": [], "imageWidth": 20}', "imageHeight must be a finite number, but is None"),
            ('{"shapes": [], "imageHeight": 10}', "imageWidth must be a finite number, but is None"),
            (labelme(shape("cat", 3)), "shape 1 (cat): has points that are not two numbers, x and y"),
            (labelme(shape("cat", (1, 2), (3, 4), (5, 6), kind="circle")),
             "shape 1 (cat): is a circle with 3 points; accepted are its center and one on its rim"),
            ('{"shapes": [{"label": "cat", "points": "1 2"}]}', "shape 1 (cat): has no points, but '1 2'"),
        ],
    )  # fmt: skip
    def test_faults(self, data, document, message):
        data.draw("a.jpg")
        data.write({"a.json": document})
        assert data.read().errors == [f"a.json: {message}"]

    def test_labels_of_its_own_lists(self, data):
        data.draw("a.jpg")
        data.write({"a.json": labelme(), "Label_List.txt": "__ignore__\n_background_\ndog\ncat\n"})
        assert data.read("labelme").classes == ["dog", "cat"]


class TestYOLO:
    @pytest.fixture
    def labelled(self, data):
        data.draw("images/a.jpg")
        data.write({"labels/a.txt": YOLO_BOX})
        return data

    @pytest.mark.parametrize(
        "files",
        [
            {"Data.YAML": "names: [1, ' dog ']"},
            {"OBJ.NAMES": "1\ndog"},
            {"Classes.txt": "1\ndog"},
        ],
        ids=lambda files: next(iter(files)),
    )
    def test_names_of_classes(self, labelled, files):
        labelled.write({**files, "License.txt": "do", "sub/README.md.txt": "read", "odd.yaml": "a: 1"})
        read = labelled.read()
        assert read.errors == read.warnings == []
        assert read.classes == ["1", "dog"]
        assert read.boxes == {"images/a.jpg": [("dog", 8, 3, 12, 7)]}

    def test_more_than_ten_names_in_their_order(self, labelled):
        names = "\n".join(f"  {i}: c{i}" for i in reversed(range(12)))
        labelled.write({"data.yaml": f"names:\n{names}", "labels/a.txt": "11 0.5 0.5 0.2 0.4\n12 0.5 0.5 0.2 0.4"})
        read = labelled.read()
        assert read.classes == [f"c{i}" for i in range(12)]
        assert read.boxes == {"images/a.jpg": [("c11", 8, 3, 12, 7)]}
        assert read.errors == [
            "labels/a.txt: line 2: class 12 is unknown; there are 0 to 11 (c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, ...)"
        ]

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ({"data.yaml": "names: [a, b, a, b]"}, "{0}/data.yaml: names a class more than once: a, b"),
            ({"data.yaml": "names: {2: a, 0: b}"},
             "{0}/data.yaml: the numbers of names must be 0 to 1, but are [2, 0]"),
            ({"data.yaml": "names: [a, b]\nkpt_shape: [17, 3]"},
             "{0}/data.yaml has kpt_shape: keypoints are not converted, only boxes and polygons"),
            ({"data.yaml": "names: [a, b]", "labels/classes.txt": "a", "z.names": "a\nb"},
             "{0}/data.yaml and {0}/labels/classes.txt name different classes, or in a different order: --label_list "
             "says which file is right"),
            ({"classes.txt": "a", "b.names": "a\nb"},
             "{0}/classes.txt and {0}/b.names name different classes, or in a different order: --label_list says which "
             "file is right"),
            ({"data.yaml": "path:\nnames: [a, b]\ntrain: pics\nval: images\n"},
             "{0}/data.yaml: train is 'pics', but there are no images of {0} in {0}/pics"),
            ({"data.yaml": "names: [a, b]\ntrain: 5\nval: images\n"},
             "{0}/data.yaml: train is 5, but there are no images of {0} in {0}/5"),
            ({"data.yaml": "path: ../of\nnames: [a, b]\ntrain: [images, pics]\n"},
             "{0}/data.yaml: train is 'pics', but there are no images of {0} in {1}/of/pics"),
            ({"data.yaml": "names: [a, 1.5]"}, "{0}/data.yaml: names must be text, but one is 1.5: put it in quotes"),
            ({"data.yaml": "names: [a, b]\nnc: 0"}, "{0}/data.yaml: nc is 0, but there are 2 names"),
            ({"data.yaml": "names: [a, '']"},
             "{0}/data.yaml: has an empty line, 2, before the last class: take it out"),
            ({"data.yaml": "names: []"}, "{0}/data.yaml: names no classes: one name a line is accepted"),
            ({"data.yaml": "names: 血细胞".encode("gbk")},
             "{0}/data.yaml: cannot be read: is not in the encoding utf-8: save it as UTF-8, or name its encoding, as "
             "in --encoding gbk"),
        ],
        ids=str,
    )  # fmt: skip
    def test_whole_messages(self, labelled, files, message):
        labelled.write(files)
        with pytest.raises(FormatError) as error:
            labelled.read()
        assert str(error.value) == message.format(labelled.folder, labelled.folder.parent)

    def test_the_path_of_data_yaml_comes_first(self, data):
        data.draw("sub/images/a.jpg", "images/b.jpg", "val/images/c.jpg")
        data.write({"labels/b.txt": "", "data.yaml": "path: sub\nnames: [a]\ntrain: images\nval: ..\\val\\images\n"})
        assert data.read().names == {"train": ["sub/images/a.jpg"], "val": ["val/images/c.jpg"]}

    def test_images_of_several_folders_and_lists(self, data):
        data.draw("one/a.jpg", "two/b.jpg", "c.jpg", "d.jpg")
        data.write({"data.yml": "names: [a]\ntrain: [one, two, train.txt]\nval: ./val.txt\ntest: [none, nil]"})
        data.write({"train.txt": "c.jpg\n\nno.jpg\n", "val.txt": "d.jpg", "one/a.txt": ""})
        read = data.read()
        assert read.names == {"train": ["one/a.jpg", "two/b.jpg", "c.jpg"], "val": ["d.jpg"]}
        assert read.errors == ["train.txt: line 3: no such image: no.jpg"]
        assert read.warnings == ["2 splits are named by data.yaml but have no images: test: none, test: nil"]

    def test_lists_beside_a_description_without_splits(self, data):
        data.draw("a.jpg", "b.jpg")
        data.write({"data.yaml": "names: [a]", "train.txt": "b.jpg", "val.txt": "a.jpg"})
        assert data.read("yolo").names == {"train": ["b.jpg"], "val": ["a.jpg"]}

    def test_lists_of_any_name(self, data):
        data.draw("a.jpg", "b.jpg", "c.jpg")
        data.write({"data.yaml": "path: /else\nnames: [a]\ntrain: [some.txt]\nval: .\\of\\more.txt\n"})
        data.write({"some.txt": "b.jpg", "of/more.txt": "../a.jpg", "a.txt": "0 0.5 0.5 0.2 0.4"})
        read = data.read()
        assert read.errors == []
        assert read.names == {"train": ["b.jpg"], "val": ["a.jpg"]}
        assert read.boxes["a.jpg"] == [("a", 8, 3, 12, 7)]
