"""The headers of image files against what OpenCV decodes, and the cache that keeps them."""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import PIL
import pytest
from PIL import Image

pytest.importorskip("ppdet")

from drawn_coco import save_turned

from paddle_focal.data.checks import header_cache, headers
from paddle_focal.data.checks.header_cache import read_headers
from paddle_focal.data.checks.headers import Header, read_header

FORMATS = ("jpg", "png", "webp", "tif", "bmp")


def as_in_training(path):
    """As ppdet's Decode does it; cv2.imread is content with less of a file."""
    return cv2.imdecode(np.fromfile(path, np.uint8), 1)


@pytest.fixture
def noise(rng):
    return rng.integers(0, 255, (10, 20, 3), dtype=np.uint8)


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that are decoded as a whole."""
    names, decode = [], headers._decoded_header
    monkeypatch.setattr(
        headers, "_decoded_header", lambda path, header: names.append(Path(path).name) or decode(path, header)
    )
    return names


class TestHeader:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
    def test_size_and_orientation(self, tmp_path, noise, ending, orientation):
        path = tmp_path / f"image.{ending}"
        save_turned(path, noise, orientation)
        height, width = as_in_training(path).shape[:2]
        assert (width, height) == ((10, 20) if orientation >= 5 else (20, 10))
        assert read_header(str(path)) == Header(width, height, orientation, False)

    @pytest.mark.parametrize("orientation", [0, 9])
    def test_no_orientation_of_exif(self, tmp_path, noise, orientation):
        save_turned(tmp_path / "image.png", noise, orientation)
        assert read_header(str(tmp_path / "image.png")) == Header(20, 10, 1, False)

    def test_an_orientation_that_opencv_does_not_read(self, tmp_path, noise):
        path = tmp_path / "image.jpg"
        xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
        Image.fromarray(noise).save(path, xmp=xmp)
        with Image.open(path) as picture:
            assert picture.getexif()[0x0112] == 6
        assert as_in_training(path).shape[:2] == (10, 20)
        assert read_header(str(path)) == Header(20, 10, 1, False)

    @pytest.mark.parametrize("channels", [1, 3, 4])
    @pytest.mark.parametrize("ending", ["png", "tif", "ppm"])
    def test_deep(self, tmp_path, ending, channels):
        if (ending, channels) == ("ppm", 4):
            pytest.skip("there is none")
        deep = np.full((10, 20, channels), 4095, np.uint16)
        path = str(tmp_path / ("image.pgm" if (ending, channels) == ("ppm", 1) else f"image.{ending}"))
        cv2.imwrite(path, deep)
        assert as_in_training(path).max() in (15, 16)
        assert read_header(path) == Header(20, 10, 1, True)

    @pytest.mark.parametrize(
        ("mode", "ending"), [("1", "png"), ("L", "jpg"), ("P", "png"), ("RGBA", "png"), ("P", "gif")]
    )
    def test_other_modes(self, tmp_path, noise, mode, ending):
        path = tmp_path / f"image.{ending}"
        Image.fromarray(noise).convert(mode).save(path)
        assert read_header(str(path)) == Header(20, 10, 1, False)

    def test_formats_of_training(self, tmp_path, noise, decoded):
        for ending in FORMATS:
            cv2.imwrite(str(tmp_path / f"image.{ending}"), noise)
            assert read_header(str(tmp_path / f"image.{ending}")) == Header(20, 10, 1, False)
        assert decoded == ["image.webp", "image.tif", "image.bmp"]

    @pytest.mark.parametrize("ending", FORMATS)
    def test_cut_off(self, tmp_path, noise, ending):
        """A header is there, and the image is none: it could not be trained on."""
        path = tmp_path / f"image.{ending}"
        cv2.imwrite(str(path), noise)
        whole = path.read_bytes()
        for length in (len(whole) // 2, len(whole) - 20, len(whole) - 1):
            path.write_bytes(whole[:length])
            assert (read_header(str(path)) is None) == (as_in_training(path) is None)

    def test_more_behind_the_end(self, tmp_path, noise, decoded):
        path = tmp_path / "image.jpg"
        cv2.imwrite(str(path), noise)
        path.write_bytes(path.read_bytes() + bytes(8))
        assert read_header(str(path)) == Header(20, 10, 1, False)
        assert decoded == ["image.jpg"]

    def test_no_images(self, tmp_path):
        (tmp_path / "empty.png").write_bytes(b"")
        (tmp_path / "text.jpg").write_text("no image")
        Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "fractions.tif")  # which OpenCV does not decode
        for name in (".", "empty.png", "text.jpg", "fractions.tif", "nowhere.png"):
            assert read_header(str(tmp_path / name)) is None

    def test_large_images_are_no_attack(self, tmp_path, noise, monkeypatch, recwarn):
        cv2.imwrite(str(tmp_path / "image.png"), noise)
        for limit in (10, 150):  # of which Pillow refuses twice as much, and warns
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
            assert read_headers(str(tmp_path), ["image.png"]) == [Header(20, 10, 1, False)]
            assert limit == Image.MAX_IMAGE_PIXELS
        assert not recwarn.list


class TestCache:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        """A folder with two images, and one to come."""
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        folder = tmp_path / "images"
        folder.mkdir()
        for name in ("a.png", "b.png"):
            cv2.imwrite(str(folder / name), np.zeros((10, 20, 3), np.uint8))
        return folder

    @pytest.fixture
    def opened(self, monkeypatch):
        """The names of the files whose headers are read."""
        names, read = [], header_cache.read_header
        monkeypatch.setattr(header_cache, "read_header", lambda path: names.append(Path(path).name) or read(path))
        return names

    def test_the_second_time(self, folder, opened):
        expected = [Header(20, 10, 1, False)] * 2
        for _ in range(2):
            assert read_headers(str(folder), ["a.png", "b.png"]) == expected
        assert opened == ["a.png", "b.png"]

    def test_other_images_of_the_folder_stay(self, folder, opened):
        for names in (["a.png"], ["b.png"], ["a.png", "b.png"]):
            read_headers(str(folder), names)
        assert opened == ["a.png", "b.png"]

    def test_a_file_that_has_changed(self, folder, opened):
        read_headers(str(folder), ["a.png", "b.png"])
        cv2.imwrite(str(folder / "a.png"), np.zeros((30, 40, 3), np.uint8))
        stamp = os.stat(folder / "b.png")
        os.utime(folder / "b.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
        assert read_headers(str(folder), ["a.png", "b.png"])[0] == Header(40, 30, 1, False)
        assert opened == ["a.png", "b.png"] * 2

    def test_what_is_no_image_is_looked_at_again(self, folder, opened):
        (folder / "c.png").write_text("no image")
        for _ in range(2):
            assert read_headers(str(folder), ["c.png"]) == [None]
        assert opened == ["c.png"] * 2

    def test_by_another_name_of_the_folder(self, folder, opened):
        (folder.parent / "link").symlink_to(folder)
        for place in (folder, folder.parent / "link"):
            read_headers(str(place), ["a.png"])
        assert opened == ["a.png"]

    @pytest.mark.parametrize(
        "damage",
        [
            lambda content: b"",
            lambda content: content[:-1],
            lambda content: content.replace(b"20", b"21"),
            lambda content: content.partition(b"\n")[2],
            lambda content: b"\xff\xfe\n{}",
        ],
    )
    def test_damage(self, folder, opened, damage):
        read_headers(str(folder), ["a.png"])
        (store,) = (file for file in folder.parent.glob("cache/**/*") if file.is_file())
        store.write_bytes(damage(store.read_bytes()))
        for _ in range(2):  # read again, and kept again
            assert read_headers(str(folder), ["a.png"]) == [Header(20, 10, 1, False)]
        assert opened == ["a.png"] * 2

    def test_of_another_version(self, folder, opened, monkeypatch):
        read_headers(str(folder), ["a.png"])
        monkeypatch.setattr(header_cache, "_VERSION", b"0")
        read_headers(str(folder), ["a.png"])
        assert opened == ["a.png"] * 2

    def test_the_version_is_that_of_the_libraries_too(self):
        assert header_cache._VERSION.decode() == f"1, Pillow {PIL.__version__}, OpenCV {cv2.__version__}"

    @pytest.mark.parametrize("occupied", ["cache", "cache/paddle_focal"])
    def test_a_folder_that_cannot_be_written(self, folder, occupied):
        (folder.parent / occupied).parent.mkdir(exist_ok=True)
        (folder.parent / occupied).write_text("a file")
        assert read_headers(str(folder), ["a.png"]) == [Header(20, 10, 1, False)]

    def test_home(self, folder, monkeypatch):
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(folder.parent / "home"))
        read_headers(str(folder), ["a.png"])
        assert len(list((folder.parent / "home/.cache/paddle_focal/headers").iterdir())) == 1


class TestProgressBar:
    @pytest.fixture
    def shown(self, tmp_path, monkeypatch):
        """What is written while reading some headers takes some seconds."""

        def show(is_terminal: bool, seconds: float, rank: int = 0) -> str:
            stream = io.StringIO()
            stream.isatty = lambda: is_terminal
            monkeypatch.setattr(sys, "stderr", stream)
            monkeypatch.setattr(header_cache.distributed, "get_rank", lambda: rank)
            monkeypatch.setattr(header_cache, "read_header", lambda path: time.sleep(seconds / 15))
            read_headers(str(tmp_path), [f"{i}.png" for i in range(15)])
            return stream.getvalue()

        return show

    def test_on_a_terminal_after_a_second(self, shown):
        assert "image/s" in shown(is_terminal=True, seconds=1.5)
        assert shown(is_terminal=True, seconds=0) == ""

    @pytest.mark.parametrize(("is_terminal", "rank"), [(False, 0), (True, 1)])
    def test_nowhere_else(self, shown, is_terminal, rank):
        assert shown(is_terminal, 1.5, rank) == ""

    def test_how_it_looks(self, tmp_path, monkeypatch):
        bars = []
        monkeypatch.setattr(header_cache, "tqdm", lambda names, **options: bars.append(options) or names)
        read_headers(str(tmp_path / "of"), ["a.png"])
        common = {"unit": "image", "delay": 1, "leave": False, "dynamic_ncols": True}
        assert bars == [{"desc": "headers of of", "disable": None, **common}]
