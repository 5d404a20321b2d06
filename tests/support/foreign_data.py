"""Data sets in VOC's, YOLO's and LabelMe's formats, written by hand, and what is read of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from paddle_focal.data.checks.data_report import DataReport
from paddle_focal.data.formats.findings import Findings
from paddle_focal.data.formats.layout import Sample, Source
from paddle_focal.data.formats.reading import AnnotatedImage, find_splits, open_data_set, read_images


def voc_object(name: str, *corners: float, difficult: int | None = None) -> str:
    sides = "".join(f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), corners))
    flag = "" if difficult is None else f"<difficult>{difficult}</difficult>"
    return f"<object><name>{name}</name>{flag}<bndbox>{sides}</bndbox></object>"


def voc(*objects: str, size: tuple[int, int] | None = (20, 10), more: str = "") -> str:
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    return f"<annotation>{more}{stated}{''.join(objects)}</annotation>"


def shape(label: str, *points: tuple[float, float], kind: str = "rectangle", **others) -> dict:
    return {"label": label, "points": points, "shape_type": kind, **others}


def labelme(*shapes: dict, size: tuple[int, int] | None = (20, 10), **others) -> str:
    stated = {"imageWidth": size[0], "imageHeight": size[1]} if size else {}
    return json.dumps({"version": "5.4.1", "flags": {}, "shapes": shapes, "imageData": None, **stated, **others})


class ForeignData:
    """A folder of images, 20 x 10 unless said, and text files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def draw(self, *names: str, size: tuple[int, int] = (20, 10), orientation: int | None = None) -> None:
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            exif = Image.Exif()
            if orientation:
                exif[0x0112] = orientation
            kind = "BMP" if path.suffix == ".dib" else None  # Pillow's own .dib has no header for files
            Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8)).save(path, format=kind, exif=exif)

    def write(self, files: Mapping[str, str | bytes]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def read(self, kind: str | None = None, skip_bad_boxes: bool = False, **source) -> ReadData:
        return ReadData(self.folder, kind, skip_bad_boxes, source)


class ReadData:
    """What was read of a data set: images by split, and errors and warnings with paths in the folder."""

    def __init__(self, folder: Path, kind: str | None, skip_bad_boxes: bool, source: dict) -> None:
        self._folder, report = folder, DataReport()
        findings = Findings(report, skip_bad_boxes)
        self.data = open_data_set(Source(folder, **source), kind, findings)
        self.classes = self.data.class_names()
        self.splits: dict[str, list[Sample]] = find_splits(self.data)
        self.images: dict[str, list[AnnotatedImage]] = {
            split: read_images(self.data, samples, self.classes) for split, samples in self.splits.items()
        }
        findings.summarize()
        self.errors, self.warnings = ([line.replace(f"{folder}/", "") for line in lines]
                                      for lines in (report.errors, report.warnings))  # fmt: skip

    @property
    def names(self) -> dict[str, list[str]]:
        """The names of the images of each split."""
        return {
            split: [image.path.relative_to(self._folder).as_posix() for image in images]
            for split, images in self.images.items()
        }

    @property
    def boxes(self) -> dict[str, list[tuple]]:
        """Class and corners of the boxes of each image."""
        return {
            image.path.relative_to(self._folder).as_posix(): [tuple(box[:5]) for box in image.boxes]
            for images in self.images.values()
            for image in images
        }
