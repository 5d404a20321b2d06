"""Which images and which annotation files a folder has, and which belong together."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from paddle_focal.data.checks.data_report import some
from paddle_focal.data.formats.findings import Findings
from paddle_focal.data.formats.pictures import SUFFIXES

_IMAGE_FOLDERS = {"images", "image", "imgs", "img", "jpegimages"}
_ANNOTATION_FOLDERS = {"annotations", "annotation", "labels", "label", "xmls", "xml", "jsons", "json"}
_SPLIT = re.compile(
    r"(?:obj_)?(?:(train|training)|(val|valid|validation|eval)|(test|testing))(?:_list|_data)?\d*", re.IGNORECASE
)

SPLITS = ("train", "val", "test")

#: A path without the folders that only say what kind of file it is, and without the suffix.
Key = tuple[str, ...]


class Sample(NamedTuple):
    """An image and its annotation file; None makes it background."""

    image: Path
    annotation: Path | None


@dataclass(frozen=True)
class Source:
    """Where a data set lies, and how to read it.

    Attributes:
        folder: that of the data set.
        image_dir: the folder of its images in it; None finds them by the usual names of folders.
        anno_dir: the folder of its annotation files in it, or None.
        label_list: a file with the names of the classes, in their order, or None.
        encoding: of its text files, where they do not say it; None stands for UTF-8.
        ignored: files that are not part of it.
    """

    folder: Path
    image_dir: str | None = None
    anno_dir: str | None = None
    label_list: Path | None = None
    encoding: str | None = None
    ignored: Collection[Path] = ()


def files_below(folder: Path) -> list[Path]:
    """All files, sorted, through links to folders, too; hidden ones and those of archivers are left out."""
    found, visited = [], set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(parent)
        folders[:] = [] if place in visited else [name for name in folders if _is_shown(name)]
        if place not in visited:
            found += [Path(parent, name) for name in names if _is_shown(name)]
        visited.add(place)
    return sorted(found)


def _is_shown(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def split_name(name: str) -> str | None:
    """'train', 'val' or 'test' for what folders and lists of these splits are called: train2017, valid, val_list."""
    match = _SPLIT.fullmatch(name)
    return match and next(split for split, found in zip(SPLITS, match.groups()) if found)


class Layout:
    """The files of a data set, by what they are.

    Args:
        source: where it lies.
        findings: receives names that belong to several files, and images that are left out.
    """

    def __init__(self, source: Source, findings: Findings) -> None:
        self.source = source
        self._ignored = {os.path.abspath(path) for path in source.ignored}
        self.files = files_below(source.folder)
        self.images = self._by_key(SUFFIXES, source.image_dir, _IMAGE_FOLDERS, "images", findings)

    def annotations(self, suffix: str, findings: Findings, excluded: Collection[Path] = ()) -> dict[Key, Path]:
        """The annotation files by key."""
        what, folder = f"{suffix} files", self.source.anno_dir
        return self._by_key((suffix,), folder, _ANNOTATION_FOLDERS, what, findings, excluded, self.images)

    def _by_key(
        self,
        suffixes: tuple[str, ...],
        folder: str | None,
        usual: Collection[str],
        what: str,
        findings: Findings,
        excluded: Collection[Path] = (),
        needed: Collection[Key] = (),
    ) -> dict[Key, Path]:
        """The files of one kind. Outside of the folders that are usual for it, only those that are needed count."""
        root = self.source.folder / (folder or "")
        files = self.files if root == self.source.folder else files_below(root)
        chosen = [
            path
            for path in files
            if path.suffix.lower() in suffixes and path not in excluded and os.path.abspath(path) not in self._ignored
        ]
        inside = {path for path in chosen if usual & {part.lower() for part in _folders(path, root)}}
        groups: defaultdict[Key, list[Path]] = defaultdict(list)
        for path in chosen:
            name = key(path, root)
            if folder or not inside or path in inside or name in needed:
                groups[name].append(path)
            else:
                # VOC's SegmentationClass has images of the same names as JPEGImages.
                findings.remark(f"{what} are left out, because they are not in the folders for {what}", path)
        for same in groups.values():
            if len(same) > 1:
                findings.error(same[0], f"one of {len(same)} {what} of one name: {some(same)}; rename them")
        return {name: same[0] for name, same in groups.items()}


def key(path: Path, root: Path) -> Key:
    """What an image and its annotation file have in common: ``images/train/a.jpg`` and ``labels/train/a.txt``."""
    folders = (part for part in _folders(path, root) if part.lower() not in _IMAGE_FOLDERS | _ANNOTATION_FOLDERS)
    return (*folders, path.stem)


def _folders(path: Path, root: Path) -> tuple[str, ...]:
    return path.relative_to(root).parts[:-1]


def pair(images: Mapping[Key, Path], annotations: Mapping[Key, Path], findings: Findings) -> dict[Key, Sample]:
    """Each image with its annotation file. An annotation file without an image is reported."""
    for name, path in annotations.items():
        if name not in images:
            findings.error(
                path,
                f"no image named {'/'.join(name)}{{{','.join(SUFFIXES)}}}, as its path without folders such as images "
                "and labels; --image_dir and --anno_dir name folders that are called otherwise",
            )
    return {name: Sample(path, annotations.get(name)) for name, path in images.items()}


def by_folder(samples: Mapping[Key, Sample]) -> dict[str, list[Key]]:
    """The keys of each split that has a folder; empty unless there are at least two of train, val and test."""
    splits: defaultdict[str, list[Key]] = defaultdict(list)
    for name in samples:
        found = next((split for split in map(split_name, name[:-1]) if split), None)
        if found:
            splits[found].append(name)
    return dict(splits) if len(splits) > 1 else {}
