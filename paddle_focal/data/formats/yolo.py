"""YOLO: a text file for each image, a line for each object: class, center, width and height, or class and polygon.

Classes and splits are those of Ultralytics' data.yaml, or of darknet's and LabelImg's lists.
"""

from __future__ import annotations

import functools
import os
import re
from collections import defaultdict
from pathlib import Path, PurePosixPath

import yaml

from paddle_focal.data.checks.data_report import some
from paddle_focal.data.formats.boxes import number
from paddle_focal.data.formats.findings import FormatError
from paddle_focal.data.formats.format import Annotation, Format
from paddle_focal.data.formats.layout import SPLITS, Key, Sample, key, split_name
from paddle_focal.data.formats.pictures import Picture
from paddle_focal.data.formats.text import check_class_names, lines, read_text

_ROUNDING = 1e-6  # that of numbers written with six decimals
_YAML = (".yaml", ".yml")
_HAS_NAMES = re.compile(rb"^(?:\xef\xbb\xbf)?names\s*:", re.MULTILINE)


class YOLO(Format):
    """See the module."""

    name = "yolo"
    suffix = ".txt"
    class_lists = ("classes.txt",)

    def annotations(self) -> dict[Key, Path]:
        excluded = {*self.class_files(), *self._lists, *self._named_lists(), *self._readmes()}
        return self.layout.annotations(self.suffix, self.findings, excluded)

    def class_files(self) -> list[Path]:
        named = [path for path in self.layout.files if path.suffix.lower() == ".names"]
        return [*self._descriptions, *super().class_files(), *named]

    def class_names(self) -> list[str]:
        names = super().class_names()
        if names is None:
            raise FormatError(
                f"{self.source.folder} names no classes: data.yaml, classes.txt and obj.names are accepted, or "
                "--label_list"
            )
        return names

    def read_classes(self, path: Path) -> list[str]:
        if path.suffix.lower() not in _YAML:
            return super().read_classes(path)
        description = self._descriptions[path] if path in self._descriptions else self._parse(path)
        names, count = description.get("names"), description.get("nc")
        if isinstance(names, dict):
            if sorted(names, key=str) != sorted(range(len(names)), key=str):
                raise FormatError(f"{path}: the numbers of names must be 0 to {len(names) - 1}, but are {[*names]}")
            names = [names[i] for i in range(len(names))]
        if not isinstance(names, list):
            raise FormatError(f"{path}: names must be a list, or names by number, but is {names!r}")
        for name in names:
            if type(name) not in (str, int):
                raise FormatError(f"{path}: names must be text, but one is {name!r}: put it in quotes")
        if count is not None and count != len(names):
            raise FormatError(f"{path}: nc is {count}, but there are {len(names)} names")
        try:
            return check_class_names([str(name).strip() for name in names])
        except FormatError as error:
            raise FormatError(f"{path}: {error}") from None

    def splits(self) -> dict[str, list[Sample]]:
        for path, description in self._descriptions.items():
            if "kpt_shape" in description:
                raise FormatError(f"{path} has kpt_shape: keypoints are not converted, only boxes and polygons")
            described = self._described(path, description)
            if described:
                return described
        lists = defaultdict(list)
        for path in self._lists:
            lists[split_name(path.stem)].append(path)
        return self.listed(lists)

    def find_sample(self, path: Path, entry: str) -> Sample:
        parts = PurePosixPath(entry).parts
        # A path may have been written on another machine: what it ends with is looked for.
        for start in range(max(1, len(parts) - 1)):
            for base in (path.parent, self.source.folder):
                found = self._by_image.get(_normal(base.joinpath(*parts[start:])))
                if found:
                    return found
        raise FormatError(f"no such image: {entry}")

    def read(self, path: Path, picture: Picture, classes: list[str] | None) -> Annotation:
        boxes = []
        for count, line in enumerate(lines(read_text(path, self.source.encoding)), 1):
            if not line:
                continue
            place = f"{path}: line {count}"
            try:
                category, *values = _numbers(line)
                name = _class_name(category, classes)
            except FormatError as error:
                self.findings.error(place, error)
                continue
            try:
                corners = _corners(values)
                scaled = [corner * side for corner, side in zip(corners, picture.size * 2)]
                boxes.append(self.clipped(place, name, scaled, picture.size))
            except FormatError as error:
                self.findings.bad_box(place, error)
        return Annotation(boxes)

    @functools.cached_property
    def _by_image(self) -> dict[Path, Sample]:
        return {sample.image: sample for sample in self.samples.values()}

    def _texts(self) -> list[Path]:
        """The text files that belong to no image."""
        return [
            path
            for path in self.layout.files
            if path.suffix.lower() == ".txt" and key(path, self.source.folder) not in self.layout.images
        ]

    @functools.cached_property
    def _lists(self) -> list[Path]:
        """Lists of images, such as darknet's train.txt, beside the folders."""
        return [path for path in self._texts() if path.parent == self.source.folder and split_name(path.stem)]

    def _named_lists(self) -> list[Path]:
        """Lists of images that data.yaml names, under any name."""
        places = [
            place
            for path, description in self._descriptions.items()
            for split in SPLITS
            for entry in _entries(description, split)
            for place in self._places(_root(path, description), entry)
        ]
        return [place for place in places if place.is_file()]

    def _readmes(self) -> list[Path]:
        return [path for path in self._texts() if path.stem.lower().startswith(("readme", "license"))]

    @functools.cached_property
    def _descriptions(self) -> dict[Path, dict]:
        """What Ultralytics' data.yaml says, under any name."""
        paths = [path for path in self.layout.files if path.parent == self.source.folder]
        return {
            path: self._parse(path)
            for path in paths
            if path.suffix.lower() in _YAML and _HAS_NAMES.search(path.read_bytes())
        }

    def _parse(self, path: Path) -> dict:
        try:
            content = yaml.safe_load(read_text(path, self.source.encoding))
        except (FormatError, yaml.YAMLError) as error:
            raise FormatError(f"{path}: cannot be read: {error}") from None
        return content if isinstance(content, dict) else {}

    def _described(self, path: Path, description: dict) -> dict[str, list[Sample]]:
        """The images of each split that data.yaml names."""
        root = _root(path, description)
        splits: dict[str, list[Sample]] = {}
        for split in SPLITS:
            for entry in _entries(description, split):
                samples = self._samples_at(root, entry)
                if samples:
                    splits.setdefault(split, []).extend(samples)
                elif split == "test":  # Roboflow names one that there need not be
                    self.findings.remark("splits are named by data.yaml but have no images", f"test: {entry}")
                else:
                    raise FormatError(
                        f"{path}: {split} is {entry!r}, but there are no images of {self.source.folder} in "
                        f"{_normal(root / str(entry))}"
                    )
        return splits

    def _places(self, root: Path, entry: object) -> list[Path]:
        """Where a folder or a list may lie that data.yaml names."""
        name = str(entry).replace("\\", "/")
        # Roboflow writes ../train/images and means train/images.
        places = (root / name, self.source.folder / name, self.source.folder / name.lstrip("./"))
        return [*map(_normal, places)]

    def _samples_at(self, root: Path, entry: object) -> list[Sample]:
        """The images of a folder, or of a list of images."""
        for place in self._places(root, entry):
            if place.is_file():
                return self._listed(place)
            samples = [sample for sample in self.samples.values() if place in sample.image.parents]
            if samples:
                return samples
        return []


def _root(path: Path, description: dict) -> Path:
    """The folder from which on a data.yaml names others."""
    return path.parent / str(description.get("path") or "")


def _entries(description: dict, split: str) -> list:
    """The folders and lists of a split."""
    entries = description.get(split) or []
    return entries if isinstance(entries, list) else [entries]


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(path))


def _numbers(line: str) -> list[float]:
    values = [number(f"value {count}", text) for count, text in enumerate(line.split(), 1)]
    if len(values) != 5 and (len(values) < 7 or len(values) % 2 == 0):
        raise FormatError(
            f"{len(values)} values; accepted are class, x and y of the center, width and height, or class and x and y "
            "of three points or more"
        )
    return values


def _class_name(index: float, classes: list[str]) -> str:
    if index not in range(len(classes)):
        raise FormatError(f"class {index:g} is unknown; there are 0 to {len(classes) - 1} ({some(classes, 10)})")
    return classes[int(index)]


def _corners(values: list[float]) -> tuple[float, float, float, float]:
    """Of a box or a polygon, as shares of width and height."""
    outside = [value for value in values if not -_ROUNDING <= value <= 1 + _ROUNDING]
    if outside:
        found = ", ".join(f"{value:g}" for value in outside)
        raise FormatError(f"coordinates must be 0 to 1, as shares of width and height, but there is {found}")
    if len(values) > 4:
        return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    x, y, width, height = values
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
