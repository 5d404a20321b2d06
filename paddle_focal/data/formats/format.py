"""What a format has to know."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from paddle_focal.data.formats.boxes import Box, clip
from paddle_focal.data.formats.findings import Findings, FormatError
from paddle_focal.data.formats.layout import Key, Layout, Sample, pair
from paddle_focal.data.formats.pictures import Picture, Size
from paddle_focal.data.formats.text import lines, read_class_list, read_text


class Annotation(NamedTuple):
    """What a file of annotations says: boxes, and the size of the image, None where it does not."""

    boxes: list[Box]
    stated_size: Size | None = None


class Format:
    """One format. It reports faults of boxes one by one, and raises what is wrong with a whole file.

    Args:
        layout: the data set's files.
        findings: receives what is found.

    Attributes:
        name: for the command line.
        suffix: of its files of annotations.
        class_lists: names of files with the names of the classes.
    """

    name: str
    suffix: str
    class_lists: tuple[str, ...]

    def __init__(self, layout: Layout, findings: Findings) -> None:
        self.layout, self.source, self.findings = layout, layout.source, findings

    def annotations(self) -> dict[Key, Path]:
        """The files of annotations by key."""
        return self.layout.annotations(self.suffix, self.findings)

    @functools.cached_property
    def samples(self) -> dict[Key, Sample]:
        """Each image with its annotation file; annotation files without an image are reported."""
        return pair(self.layout.images, self.annotations(), self.findings)

    def class_names(self) -> list[str] | None:
        """The classes in their order; None leaves it to the boxes which there are.

        Raises:
            FormatError: with the file's name; they cannot be read, or two files differ.
        """
        places = [self.source.label_list] if self.source.label_list else self.class_files()
        lists = {path: self.read_classes(path) for path in places}
        for path, names in lists.items():
            if names != lists[places[0]]:
                raise FormatError(
                    f"{places[0]} and {path} name different classes, or in a different order: --label_list says which "
                    "file is right"
                )
        return lists[places[0]] if places else None

    def class_files(self) -> list[Path]:
        """The files of the data set that name its classes."""
        return [path for path in self.layout.files if path.name.lower() in self.class_lists]

    def read_classes(self, path: Path) -> list[str]:
        """The classes that a file names.

        Raises:
            FormatError: with the file's name.
        """
        try:
            return read_class_list(path, self.source.encoding)
        except FormatError as error:
            raise FormatError(f"{path}: {error}") from None

    def splits(self) -> dict[str, list[Sample]]:
        """The images of each split that the data set lists; empty where it has no lists."""
        return {}

    def listed(self, lists: Mapping[str, Sequence[Path]]) -> dict[str, list[Sample]]:
        """The images that the files of each split list, one a line. Lines with faults are reported."""
        return {split: [sample for path in paths for sample in self._listed(path)] for split, paths in lists.items()}

    def _listed(self, path: Path) -> list[Sample]:
        try:
            entries = lines(read_text(path, self.source.encoding))
        except FormatError as error:
            self.findings.error(path, error)
            return []
        samples: dict[Path, Sample] = {}
        if not entries:
            self.findings.error(path, "lists no images")
        for count, entry in enumerate(entries, 1):
            if not entry:
                continue
            try:
                sample = self.find_sample(path, entry.replace("\\", "/"))
                if sample.image in samples:
                    raise FormatError(f"lists {sample.image} again")
                samples[sample.image] = sample
            except FormatError as error:
                self.findings.error(f"{path}: line {count}", error)
        return [*samples.values()]

    def find_sample(self, path: Path, entry: str) -> Sample:
        """What a line of a list means, with ``/`` between folders.

        Raises:
            FormatError: there is no such image or annotation file.
        """
        raise NotImplementedError

    def read(self, path: Path, picture: Picture, classes: list[str] | None) -> Annotation:
        """What a file says of its image.

        Raises:
            FormatError: without the file's name; the file cannot be read.
        """
        raise NotImplementedError

    def clipped(self, place: str, category: str, corners: Sequence[float], size: Size, difficult: bool = False) -> Box:
        """A box in its image.

        Raises:
            FormatError: as :func:`clip`.
        """
        inside, reached_out = clip(*corners, *size)
        if reached_out:
            self.findings.remark("boxes reach out of their image by more than a pixel and are clipped", place)
        return Box(category, *inside, difficult=difficult)
