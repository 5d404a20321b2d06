"""Sizes of images: those that ppdet's Decode gives."""

from __future__ import annotations

import cv2
import pytest

pytest.importorskip("ppdet")

from foreign_data import voc, voc_object
from PIL import Image
from ppdet.data.transform.operators import Decode

from paddle_focal.data.formats.findings import FormatError
from paddle_focal.data.formats.pictures import SUFFIXES, look_at


@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_sizes_are_those_of_ppdet(data, suffix, orientation):
    data.draw(f"图{suffix}", orientation=orientation)
    decoded = Decode()({"im_file": str(data.folder / f"图{suffix}")})
    assert look_at(data.folder / f"图{suffix}").size == (decoded["w"], decoded["h"])


def test_turned(data):
    data.draw("a.jpg", orientation=6)
    assert look_at(data.folder / "a.jpg") == ((10, 20), (20, 10), True)
    data.write({"a.xml": voc(size=None)})
    assert data.read("voc").images[""][0].size == (10, 20)


def test_boxes_of_the_turned_image(data):
    data.draw("a.jpg", orientation=6)
    data.write({"a.xml": voc(voc_object("cat", 1, 2, 8, 18), size=(10, 20))})
    read = data.read()
    assert read.errors == read.warnings == []
    assert read.boxes == {"a.jpg": [("cat", 1, 2, 8, 18)]}


def test_boxes_of_the_image_as_stored(data):
    data.draw("a.jpg", orientation=6)
    data.write({"a.xml": voc(voc_object("cat", 1, 2, 18, 8), size=(20, 10))})
    assert data.read().errors == [
        "a.xml: states an image of 20x10, but it is 10x20 once it is turned as its EXIF data say, which "
        "PaddleDetection does: annotate the turned image, or take the EXIF orientation out of the file"
    ]


@pytest.mark.parametrize(("orientation", "size"), [(3, (20, 10)), (6, None)])
def test_boxes_of_which_it_is_not_known(data, orientation, size):
    data.draw("a.jpg", orientation=orientation)
    data.write({"a.xml": voc(voc_object("cat", 1, 2, 5, 8), size=size)})
    read = data.read()
    assert read.errors == []
    assert read.warnings == [
        "1 images are turned according to their EXIF data before PaddleDetection trains on them; their boxes have to "
        "be those of the turned image: a.jpg"
    ]


def test_broken_exif_is_left_to_opencv(data):
    data.draw("a.jpg")
    path = data.folder / "a.jpg"
    content = path.read_bytes()
    exif = b"Exif\0\0XX\0*\0\0\xff\xff"
    path.write_bytes(content[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + content[2:])
    assert cv2.imread(str(path)).shape == (10, 20, 3)
    assert look_at(path) == ((20, 10), (20, 10), False)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n"])
def test_no_image(data, content):
    data.write({"a.png": content, "a.xml": voc()})
    (error,) = data.read().errors
    assert error.startswith("a.png: cannot be read as an image: ")


def test_what_only_pil_reads(data, monkeypatch):
    data.draw("a.tif")
    monkeypatch.setattr(cv2, "imdecode", lambda *_: None)
    with pytest.raises(FormatError, match="cannot be decoded by OpenCV, and so by PaddleDetection"):
        look_at(data.folder / "a.tif")


def test_file_names_that_are_not_utf_8(data):
    data.draw("a.jpg", "b.jpg", "c/d.jpg")
    data.write({"b.xml": voc()})
    name = "\u7532".encode("gbk").decode("utf-8", "surrogateescape")
    (data.folder / "a.jpg").rename(data.folder / f"{name}.jpg")
    (data.folder / "c").rename(data.folder / name)
    assert sorted(data.read().errors) == [
        "\\udcbc\\udcd7.jpg: the file name is not UTF-8: rename it",
        "\\udcbc\\udcd7/d.jpg: the file name is not UTF-8: rename it",
    ]


def test_large_png_is_not_decoded(data, monkeypatch):
    data.draw("a.png")
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda *_: pytest.fail("decoded"))
    assert look_at(data.folder / "a.png").size == (20, 10)


def test_images_larger_than_pillow_likes_them(data, monkeypatch):
    data.draw("a.jpg", orientation=2)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 99)  # of twice as many pixels, 200 here, Pillow raises an error
    assert look_at(data.folder / "a.jpg") == ((20, 10), (20, 10), True)


def test_what_pillow_says_when_it_decodes(data, monkeypatch):
    def fail(*_):
        raise OSError("line 3 is odd")

    data.draw("a.bmp")
    path = data.folder / "a.bmp"
    path.write_bytes(path.read_bytes()[:100])
    monkeypatch.setattr("PIL.BmpImagePlugin.BmpImageFile.load", fail)
    with pytest.raises(FormatError, match=r"^cannot be read as an image: line 3 is odd$"):
        look_at(path)
