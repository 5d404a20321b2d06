"""Data sets in VOC's format."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.sax.saxutils import escape


def xml(size: tuple[float, float], objects=(), extra: str = "") -> str:
    """An annotation; each object is its name, its corners and, if it is not 0, ``difficult``."""
    entries = "".join(
        f"<object><name>{escape(name)}</name><difficult>{difficult[0] if difficult else 0}</difficult><bndbox>"
        f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, (x1, y1, x2, y2), *difficult in objects
    )
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation>{extra}{sides}{entries}</annotation>"


def from_coco(source: Path, folder: Path) -> list[str]:
    """The same images and boxes in VOC's format; returns the options that choose them."""
    for split in ("train", "val"):
        document = json.loads((source / f"annotations/instances_{split}.json").read_text())
        names = {category["id"]: category["name"] for category in document["categories"]}
        (folder / split).mkdir(parents=True)
        lines = []
        for image in document["images"]:
            boxes = [box for box in document["annotations"] if box["image_id"] == image["id"]]
            corners = [(x, y, x + w, y + h) for x, y, w, h in (box["bbox"] for box in boxes)]
            objects = [(names[box["category_id"]], box_corners) for box, box_corners in zip(boxes, corners)]
            shutil.copy(source / split / image["file_name"], folder / split)
            path = folder / split / f"{Path(image['file_name']).stem}.xml"
            path.write_text(xml((image["width"], image["height"]), objects))
            lines.append(f"{split}/{image['file_name']} {split}/{path.name}\n")
        (folder / f"{split}.txt").write_text("".join(lines))
    (folder / "label_list.txt").write_text("".join(f"{name}\n" for name in names.values()))
    fields = "[image, gt_bbox, gt_class, difficult]"
    where = f"name: VOCDataSet, dataset_dir: {folder}, image_dir: '', label_list: label_list.txt"
    sections = [
        f"{section}Dataset={{{where}, anno_path: {split}.txt, data_fields: {fields}}}"
        for section, split in (("Train", "train"), ("Eval", "val"))
    ]
    return [*sections, "metric=VOC", "map_type=integral"]
