"""LabelMe: a JSON file for each image, whose shapes become the boxes around them."""

from __future__ import annotations

import json
import math
from pathlib import Path, PurePosixPath

from paddle_focal.data.formats.boxes import number
from paddle_focal.data.formats.findings import FormatError
from paddle_focal.data.formats.format import Annotation, Format
from paddle_focal.data.formats.pictures import Picture, Size
from paddle_focal.data.formats.text import read_text

Corners = tuple[float, float, float, float]


class LabelMe(Format):
    """See the module."""

    name = "labelme"
    suffix = ".json"
    class_lists = ("labels.txt", "label_list.txt")

    def read_classes(self, path: Path) -> list[str]:
        # The first lines of LabelMe's own labels.txt, which are no classes.
        return [name for name in super().read_classes(path) if name not in ("__ignore__", "_background_")]

    def read(self, path: Path, picture: Picture, classes: list[str] | None) -> Annotation:
        document = _parse(path, self.source.encoding)
        self._check_image_path(document, path)
        objects: dict[object, tuple[str, Corners]] = {}
        difficult = set()
        for count, shape in enumerate(document["shapes"], 1):
            if not isinstance(shape, dict) or not str(shape.get("label") or "").strip():
                raise FormatError(f"shape {count} has no label")
            category = str(shape["label"]).strip()
            try:
                corners = _extent(shape)
            except FormatError as error:
                self.findings.bad_box(f"{path}: shape {count} ({category})", error)
                continue
            # Shapes of one group are the parts of one object, as in LabelMe's own labelme2coco.
            group = shape.get("group_id")
            object_key = count if group is None else (category, str(group))
            _, others = objects.get(object_key, (category, corners))
            objects[object_key] = category, _around(corners, others)
            if shape.get("difficult"):  # X-AnyLabeling's
                difficult.add(object_key)
        boxes = []
        for object_key, (category, corners) in objects.items():
            part = f"shape {object_key}" if isinstance(object_key, int) else f"group {object_key[1]}"
            place = f"{path}: {part} ({category})"
            try:
                boxes.append(self.clipped(place, category, corners, picture.size, object_key in difficult))
            except FormatError as error:
                self.findings.bad_box(place, error)
        return Annotation(boxes, _stated_size(document))

    def _check_image_path(self, document: dict, path: Path) -> None:
        stated = PurePosixPath(str(document.get("imagePath") or "").replace("\\", "/"))
        if stated.stem not in ("", path.stem):
            self.findings.remark("files name another image than the one they are named as, which is taken", path)


def _parse(path: Path, encoding: str | None) -> dict:
    try:
        document = json.loads(read_text(path, encoding))
    except ValueError as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"cannot be read as JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
        held = ", ".join(document) if isinstance(document, dict) else type(document).__name__
        raise FormatError(f"is no LabelMe file: it has no list of shapes, but {held or 'nothing'}")
    return document


def _extent(shape: dict) -> Corners:
    """The corners of the box around a shape."""
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")
    if not isinstance(points, list) or not points:
        raise FormatError(f"has no points, but {points!r}")
    if not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise FormatError("has points that are not two numbers, x and y")
    xs, ys = ([number(axis, point[i]) for point in points] for i, axis in enumerate("xy"))
    if kind == "circle":
        if len(points) != 2:
            raise FormatError(f"is a circle with {len(points)} points; accepted are its center and one on its rim")
        radius = math.hypot(xs[1] - xs[0], ys[1] - ys[0])
        return xs[0] - radius, ys[0] - radius, xs[0] + radius, ys[0] + radius
    last = 1 if kind == "mask" else 0  # a mask's second point is its last pixel
    return min(xs), min(ys), max(xs) + last, max(ys) + last


def _around(one: Corners, other: Corners) -> Corners:
    return (*map(min, one[:2], other[:2]), *map(max, one[2:], other[2:]))


def _stated_size(document: dict) -> Size | None:
    """None where the file does not say it."""
    stated = [document.get(side) for side in ("imageWidth", "imageHeight")]
    if not any(stated):
        return None
    width, height = (number(name, side) for name, side in zip(("imageWidth", "imageHeight"), stated))
    return int(width), int(height)
