"""PASCAL VOC: an XML file for each image, with PaddleDetection's or VOC's own lists of images.

Numbers are read as PaddleDetection's VOCDataSet reads them, so that a model trained on either sees the same boxes: VOC
counts pixels from 1, but nothing is subtracted, and boxes are clipped to 0 ... width - 1 and height - 1.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path, PurePosixPath

from paddle_focal.data.formats.boxes import Box, number
from paddle_focal.data.formats.findings import FormatError
from paddle_focal.data.formats.format import Annotation, Format
from paddle_focal.data.formats.layout import Sample, key, split_name
from paddle_focal.data.formats.pictures import SUFFIXES, Picture, Size
from paddle_focal.data.formats.text import read_text

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_IMAGE_AND_XML = re.compile(rf"(.+(?:{'|'.join(map(re.escape, SUFFIXES))}))\s+(.+\.xml)", re.IGNORECASE)


class VOC(Format):
    """See the module."""

    name = "voc"
    suffix = ".xml"
    class_lists = ("label_list.txt", "labels.txt")

    def splits(self) -> dict[str, list[Sample]]:
        """By PaddleDetection's lists beside the folders, or else VOC's in ImageSets/Main."""
        beside, main = defaultdict(list), defaultdict(list)
        for path in self.layout.files:
            if path.suffix.lower() == ".txt" and path.parent == self.source.folder:
                beside[path.stem.lower()].append(path)
            elif path.suffix.lower() == ".txt" and path.parent.parts[-2:] == ("ImageSets", "Main"):
                main[path.stem.lower()].append(path)
        for found in (beside, main):
            lists = defaultdict(list)
            for stem, paths in found.items():
                if split_name(stem):
                    lists[split_name(stem)] += paths
            if "trainval" in found:
                lists.setdefault("train", found["trainval"])
            if lists:
                return self.listed(lists)
        return {}

    def find_sample(self, path: Path, entry: str) -> Sample:
        both = _IMAGE_AND_XML.fullmatch(entry)
        if both:
            sample = Sample(*(self.source.folder / name for name in both.groups()))
            for file in sample:
                if not file.is_file():
                    raise FormatError(f"no such file: {file}")
            return sample
        root = self.source.folder if path.parent == self.source.folder else path.parents[2]
        stem = entry[: -len(PurePosixPath(entry).suffix)] if entry.lower().endswith(SUFFIXES) else entry
        sample = self.samples.get(key(root / f"{stem}.xml", self.source.folder))
        if sample is None or sample.annotation is None:
            lacking = "image" if sample is None else "XML file"
            raise FormatError(f"no {lacking} named {entry!r}; a line is an image and its XML file, or the name of both")
        return sample

    def read(self, path: Path, picture: Picture, classes: list[str] | None) -> Annotation:
        root = _parse(path, self.source.encoding)
        self._check_file_name(root, path)
        boxes = []
        for count, entry in enumerate(root.findall("object"), 1):
            category = (entry.findtext("name") or "").strip()
            place = f"{path}: object {count} ({category})"
            if not category:
                raise FormatError(f"object {count} has no name")
            difficult = _is_difficult(entry, f"object {count} ({category})")
            try:
                boxes.append(self._box(place, category, entry, picture.size, difficult))
            except FormatError as error:
                self.findings.bad_box(place, error)
        return Annotation(boxes, _stated_size(root))

    def _box(self, place: str, category: str, entry: ElementTree.Element, size: Size, difficult: bool) -> Box:
        box = entry.find("bndbox")
        if box is None:
            tags = ", ".join(child.tag for child in entry)
            raise FormatError(f"has no bndbox; it has {tags}")
        x1, y1, x2, y2 = (number(side, (box.findtext(side) or "").strip()) for side in _SIDES)
        for low, high, name in ((x1, x2, "x"), (y1, y2, "y")):
            if low > high:
                raise FormatError(f"{name}min {low:g} is greater than {name}max {high:g}")
        return self.clipped(place, category, (x1, y1, x2, y2), (size[0] - 1, size[1] - 1), difficult)

    def _check_file_name(self, root: ElementTree.Element, path: Path) -> None:
        stated = PurePosixPath((root.findtext("filename") or "").strip().replace("\\", "/"))
        if stated.name and path.stem not in (stated.stem, stated.name):
            self.findings.remark("files name another image than the one they are named as, which is taken", path)


def _parse(path: Path, encoding: str | None) -> ElementTree.Element:
    try:
        root = ElementTree.fromstring(read_text(path, encoding))
    except ElementTree.ParseError as error:
        raise FormatError(f"cannot be read as XML: {error}") from None
    if root.tag != "annotation":
        raise FormatError(f"is no VOC annotation: its root is <{root.tag}> instead of <annotation>")
    return root


def _stated_size(root: ElementTree.Element) -> Size | None:
    """None where there is no size, or one of 0 x 0, which some tools write."""
    if root.find("size") is None:
        return None
    width, height = (number(f"size/{side}", root.findtext(f"size/{side}")) for side in ("width", "height"))
    return (int(width), int(height)) if width or height else None


def _is_difficult(entry: ElementTree.Element, place: str) -> bool:
    text = (entry.findtext("difficult") or "0").strip()
    if text not in ("0", "1"):
        raise FormatError(f"{place}: difficult must be 0 or 1, but is {text!r}")
    return text == "1"
