"""Which files are images and annotations, and which belong together."""

from __future__ import annotations

import pytest

pytest.importorskip("ppdet")

from foreign_data import labelme, voc, voc_object

from paddle_focal.data.formats.findings import FormatError
from paddle_focal.data.formats.layout import files_below, split_name

XML = voc(voc_object("cat", 1, 2, 3, 4))
BOX = [("cat", 1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("image", "annotation"),
    [
        ("a.jpg", "a.xml"),
        ("images/a.JPG", "annotations/a.XML"),
        ("JPEGImages/a.jpeg", "Annotations/a.xml"),
        ("train/images/x/a.png", "train/labels/x/a.xml"),
        ("images/x/a.bmp", "labels/x/a.xml"),
        ("images/a.webp", "images/a.xml"),
        ("数据/图 1.tif", "数据/图 1.xml"),
    ],
)
def test_pairs(data, image, annotation):
    data.draw(image)
    data.write({annotation: XML})
    read = data.read()
    assert read.errors == read.warnings == []
    assert read.boxes == {image: BOX}


def test_folders_of_other_names(data):
    data.draw("pics/a.jpg", "b.jpg")
    data.write({"marks/a.xml": XML})
    with pytest.raises(
        FormatError, match=r"set has 2 images and, of the same names, 0 .xml \(voc\), 0 .txt \(yolo\), 0 "
    ):
        data.read()
    (error,) = data.read("voc").errors
    assert error.startswith("marks/a.xml: no image named marks/a{.jpg,.jpeg,.jpe,.png,.bmp,")
    read = data.read(image_dir="pics", anno_dir="marks")
    assert read.errors == []
    assert read.boxes == {"pics/a.jpg": BOX}


def test_of_a_folder_that_is_named_all_files_count(data):
    data.draw("pics/images/a.jpg", "pics/b.jpg")
    data.write({"marks/labels/a.xml": XML, "marks/b.xml": XML})
    read = data.read(image_dir="pics", anno_dir="marks")
    assert read.errors == read.warnings == []
    assert read.boxes == {"pics/images/a.jpg": BOX, "pics/b.jpg": BOX}


def test_background_and_orphans(data):
    data.draw("a.jpg", "b.jpg")
    data.write({"a.xml": XML, "c.xml": XML, "B.xml": XML})
    read = data.read()
    assert read.boxes == {"a.jpg": BOX, "b.jpg": []}
    assert [error.partition(",")[0] for error in read.errors] == [
        "B.xml: no image named B{.jpg",
        "c.xml: no image named c{.jpg",
    ]


def test_two_of_one_name(data):
    data.draw("images/a.jpg", "images/a.png", "images/b.jpg")
    data.write({"annotations/a.xml": XML, "labels/b.xml": XML, "xml/b.xml": XML})
    read = data.read()
    assert read.names == {"": ["images/a.jpg", "images/b.jpg"]}
    assert read.errors == [
        "images/a.jpg: one of 2 images of one name: images/a.jpg, images/a.png; rename them",
        "labels/b.xml: one of 2 .xml files of one name: labels/b.xml, xml/b.xml; rename them",
    ]


def test_annotations_in_and_outside_of_their_folder(data):
    """All that belong to an image count; what belongs to none is remarked."""
    data.draw("images/a.jpg", "images/b.jpg")
    other = voc(voc_object("dog", 1, 2, 3, 4))
    data.write({"images/a.xml": XML, "annotations/b.xml": XML, "images/b.xml": other, "build.xml": "<project/>"})
    read = data.read()
    assert read.errors == [
        "annotations/b.xml: one of 2 .xml files of one name: annotations/b.xml, images/b.xml; rename them"
    ]
    assert read.boxes["images/a.jpg"] == BOX
    assert read.warnings == ["1 .xml files are left out, because they are not in the folders for .xml files: build.xml"]


def test_one_name_in_two_folders(data):
    data.draw("x/a.jpg", "y/a.jpg")
    data.write({"x/a.xml": XML, "y/a.xml": voc(voc_object("dog", 1, 2, 3, 4))})
    read = data.read()
    assert read.errors == []
    assert read.boxes == {"x/a.jpg": BOX, "y/a.jpg": [("dog", 1, 2, 3, 4)]}


def test_hidden_files_are_none(data):
    data.draw("a.jpg", ".ipynb_checkpoints/a-checkpoint.jpg", "__MACOSX/a.jpg")
    data.write({"a.xml": XML, "._a.xml": b"\0"})
    assert data.read().boxes == {"a.jpg": BOX}


def test_what_is_below_a_folder(data):
    data.write({"b/c.txt": "", "a.txt": "", ".hidden": "", ".git/d.txt": "", "__MACOSX/e.txt": "", "b/._c.txt": ""})
    assert files_below(data.folder) == [data.folder / "a.txt", data.folder / "b/c.txt"]


def test_links_to_folders(data):
    data.draw("../elsewhere/a.jpg")
    data.write({"annotations/a.xml": XML})
    (data.folder / "images").symlink_to(data.folder.parent / "elsewhere")
    (data.folder / "annotations/round").symlink_to(data.folder)
    read = data.read()
    assert read.errors == []
    assert read.boxes == {"images/a.jpg": BOX}


def test_a_link_that_leads_back_adds_no_files(data):
    data.write({"a.txt": "", "sub/b.txt": ""})
    (data.folder / "sub/up").symlink_to(data.folder)
    assert files_below(data.folder) == [data.folder / "a.txt", data.folder / "sub/b.txt"]


def test_two_formats(data):
    data.draw("a.jpg")
    data.write({"a.xml": XML, "a.json": labelme(), "classes.txt": "cat"})
    with pytest.raises(FormatError, match=r"1 .xml \(voc\), 0 .txt \(yolo\), 1 .json \(labelme\): --dataset_type says"):
        data.read()
    assert data.read("voc").boxes == {"a.jpg": BOX}
    assert data.read("labelme").boxes == {"a.jpg": []}


def test_thousands_of_files_of_two_formats(data):
    data.write({f"{number}.{suffix}": "" for number in range(1000) for suffix in ("jpg", "xml")} | {"7.json": ""})
    with pytest.raises(FormatError) as error:
        data.read()
    assert str(error.value) == (
        f"{data.folder} has 1,000 images and, of the same names, 1,000 .xml (voc), 0 .txt (yolo), 1 .json (labelme): "
        "--dataset_type says what to read, --image_dir and --anno_dir where"
    )


def test_no_images(data):
    data.write({"a.xml": XML, "a.heic": ""})
    with pytest.raises(
        FormatError, match=r"no images in .*set; accepted are .jpg, .jpeg, .jpe, .png, .bmp, .dib, .tif"
    ):
        data.read()
    with pytest.raises(FormatError, match=r"no images in .*set/pics; accepted are"):
        data.read(image_dir="pics")


def test_split_folders(data):
    data.draw("train/a.jpg", "valid/b.jpg", "test/c.jpg", "d.jpg")
    data.write({"train/a.xml": XML})
    read = data.read()
    assert read.names == {"train": ["train/a.jpg"], "val": ["valid/b.jpg"], "test": ["test/c.jpg"]}
    assert read.warnings == ["1 images are in no split of the data set and are left out: d.jpg"]


def test_one_split_is_none(data):
    data.draw("train/a.jpg", "bus/b.jpg", "test.jpg")
    data.write({"train/a.xml": XML})
    assert data.read().names == {"": ["bus/b.jpg", "test.jpg", "train/a.jpg"]}


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_one_list_says_which_images_there_are(data, split):
    data.draw("a.jpg", "b.jpg")
    data.write({"b.xml": XML, f"{split}.txt": "b"})
    read = data.read()
    assert read.names == {"": ["b.jpg"]}
    assert read.warnings == ["1 images are in no split of the data set and are left out: a.jpg"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train2017", "train"),
        ("Train", "train"),
        ("training", "train"),
        ("train_list", "train"),
        ("obj_train_data", "train"),
        ("valid", "val"),
        ("val2017", "val"),
        ("eval", "val"),
        ("test", "test"),
        ("trainval", None),
        ("trains", None),
        ("cat_train", None),
    ],
)
def test_names_of_splits(name, split):
    assert split_name(name) == split
