"""A small data set in COCO format, and faults to put into it, each with what has to be said of it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from drawn_coco import save_turned

from paddle_focal.cli.arguments import ArgumentParser
from paddle_focal.data.checks import preflight
from paddle_focal.engine import runtime

CONFIG = Path(__file__).resolve().parents[2] / "configs/retinanet_r18_fpn_digits.yml"


def annotation(number: int, image: int, category: int, bbox=(2, 2, 4, 4), **others) -> dict:
    entry = {"id": number, "image_id": image, "category_id": category, "bbox": bbox, "area": 16, "iscrowd": 0, **others}
    return {key: value for key, value in entry.items() if value is not None}


def image(number: int, name: str, width: int = 20, height: int = 10) -> dict:
    return {"id": number, "file_name": name, "width": width, "height": height}


class Data:
    """A small data set without a fault: three training images with a box each and a crowd, one validation image."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.num_classes = folder, 3
        names = [{"id": number, "name": name} for number, name in ((1, "cat"), (5, "dog"), (9, "cow"))]
        self.train = {
            "images": [image(number, f"{number}.png") for number in (1, 2, 3)],
            "annotations": [
                annotation(1, 1, 1),
                annotation(2, 2, 5),
                annotation(3, 3, 9, bbox=(0, -1, 21, 11)),  # one pixel more on each side is no fault
                annotation(4, 3, 1, iscrowd=1),
            ],
            "categories": names,
        }
        self.val = {"images": [image(7, "7.png")], "annotations": [annotation(1, 7, 1)], "categories": [*names]}
        self.options = [f"{section}.dataset_dir={folder}" for section in preflight.SECTIONS]
        for split, document in (("train", self.train), ("val", self.val)):
            (folder / split).mkdir()
            for entry in document["images"]:
                self.draw(f"{split}/{entry['file_name']}")

    def draw(self, name: str, width: int = 20, height: int = 10) -> None:
        (self.folder / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(self.folder / name), np.zeros((height, width, 3), "uint8"))

    def add(self, name: str, number: object = None, **size) -> int:
        """A training image without boxes, drawn."""
        self.draw(f"train/{name}")
        number = number or 10 + len(self.train["images"])
        self.train["images"].append(image(number, name, **size))
        return number

    def add_box(self, *bbox, image: int = 1, category: int = 1, **others) -> None:
        number = 10 + len(self.train["annotations"])
        self.train["annotations"].append(annotation(number, image, category, bbox, **others))

    def write(self) -> None:
        (self.folder / "annotations").mkdir(exist_ok=True)
        for split in ("train", "val"):
            (self.folder / f"annotations/instances_{split}.json").write_text(json.dumps(getattr(self, split)))

    @property
    def settings(self) -> list[str]:
        """For the command line, behind ``-o``."""
        folder = self.folder / "output"
        return [f"save_dir={folder}", f"num_classes={self.num_classes}", "TrainReader.batch_size=3", *self.options]

    def config(self, *options: str):
        arguments = ["-c", str(CONFIG), "-o", *self.settings, *options]
        return runtime.load_config(ArgumentParser("").parse_args(arguments))

    def check(self, *options: str, **sections) -> preflight.DataReport:
        return preflight.check_data(self.config(*options), **sections)


def no_area(data):
    data.add_box(1, 1, 0, 5)
    data.add_box(1, 1, 3, -5)
    data.add_box(0, 0, 0, 0)
    data.add_box(1, 1, 3, 5, area=0)


def less_than_a_pixel(data):
    data.add_box(0.2, 0.3, 0.4, 0.5)
    data.add_box(5, 5, 1, 1)  # which is none


def outside(data):
    data.add_box(20, 0, 5, 5)
    data.add_box(-5, 0, 5, 5)


def empty_image(data):
    data.add_box(1, 1, 2, 2, image=data.add("crowd_only.png"), iscrowd=1)


def shared_image(data):
    data.add_box(1, 1, 2, 2, image=data.add("../val/7.png"))


def resized(data):
    data.add_box(1, 1, 2, 2, image=data.add("resized.png", width=40))


def no_images(data):
    for name in ("text.png", "empty.png", "cut.png", "folder.png"):
        data.add_box(1, 1, 2, 2, image=data.add(name))
    folder = data.folder / "train"
    (folder / "text.png").write_text("no image")
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:-20])
    (folder / "folder.png").unlink()
    (folder / "folder.png").mkdir()


def turned(data, orientation):
    name = f"turned{orientation}.jpg"
    data.add_box(1, 1, 2, 2, image=data.add(name))
    save_turned(data.folder / "train" / name, np.zeros((10, 20, 3), "uint8"), orientation)


def deep(data):
    data.add_box(1, 1, 2, 2, image=data.add("deep.png"))
    cv2.imwrite(str(data.folder / "train/deep.png"), np.zeros((10, 20, 3), "uint16"))


def background(data):
    for split in (data.train, data.val):
        split["categories"] = [*split["categories"], {"id": 13, "name": "__background__"}]
    data.num_classes += 1
    data.add_box(1, 1, 2, 2, category=13)


def listed_twice(data):
    data.add_box(1, 1, 2, 2, image=data.add("2.png"))


def missing_images(data):
    for name in ("gone/b.png", "gone/a.png", "link.png", "c.png", "d.png"):
        data.add(name)
        (data.folder / "train" / name).unlink()
    (data.folder / "train/link.png").symlink_to("nowhere.png")


def nameless_image(data):
    number = data.add("nameless.png")
    data.add_box(1, 1, 2, 2, image=number)  # its annotation is not to blame
    del data.train["images"][-1]["file_name"]


def unused_class(data):
    for split in (data.train, data.val):
        split["categories"] = [*split["categories"], {"id": 11, "name": "yak"}]
    data.num_classes += 1


def repeated_name(data):
    for split in (data.train, data.val):
        split["categories"] = [*split["categories"], {"id": 12, "name": "cat"}]
    data.num_classes += 1
    data.add_box(1, 1, 2, 2, category=12)


#: What is done to the data set; what has to be said of it, as an error or as a warning.
ERRORS = {
    "no area key": (
        lambda data: data.add_box(1, 1, 2, 2, area=None),
        "TrainDataset: 1 of 5 annotations lack area, a number: width x height, or that of the segmentation: "
        "annotations[4]",
    ),
    "no iscrowd key": (
        lambda data: data.add_box(1, 1, 2, 2, iscrowd=None),
        "TrainDataset: 1 of 5 annotations lack iscrowd, 0 or 1: annotations[4]",
    ),
    "no file name": (nameless_image, "TrainDataset: 1 of 4 images lack file_name, text: images[3]"),
    "category": (
        lambda data: data.add_box(1, 1, 2, 2, category=7),
        "TrainDataset: 1 of 5 annotations are of categories that there are not: category_id 7; there are 1, 5, 9",
    ),
    "image id twice": (
        lambda data: data.train["images"].append(image(1, "2.png")),
        "TrainDataset: 1 ids of images occur more than once: 1",
    ),
    "annotation id twice": (
        lambda data: data.train["annotations"].append(annotation(2, 1, 1)),
        "TrainDataset: 1 ids of annotations occur more than once: 2",
    ),
    "three numbers": (
        lambda data: data.add_box(1, 2, 3),
        "TrainDataset: 1 of 5 boxes are not four finite numbers (x, y, width, height): 1.png [1, 2, 3]",
    ),
    "not a number": (
        lambda data: data.add_box(1, 2, float("nan"), 3),
        "TrainDataset: 1 of 5 boxes are not four finite numbers (x, y, width, height): 1.png [1, 2, nan, 3]",
    ),
    "beyond any float": (
        lambda data: data.add_box(1, 2, 10**400, 3),
        f"TrainDataset: 1 of 5 boxes are not four finite numbers (x, y, width, height): 1.png [1, 2, 1{'0' * 400}, 3]",
    ),
    "text": (
        lambda data: data.add_box("1", 2, 3, 4),
        "TrainDataset: 1 of 5 boxes are not four finite numbers (x, y, width, height): 1.png ['1', 2, 3, 4]",
    ),
    "no width": (
        lambda data: data.add_box(1, 1, 2, 2, image=data.add("flat.png", width=0)),
        "TrainDataset: 1 of 4 images have a width or height that is not > 0: flat.png",
    ),
    "no images": (
        no_images,
        "TrainDataset: 4 of 7 image files are no images, or damaged: text.png, empty.png, cut.png, ...",
    ),
    "image id of a fraction": (
        lambda data: data.add_box(1, 1, 2, 2, image=data.add("half.png", 1.5)),
        "TrainDataset: 1 of 4 images lack id, a whole number: images[3]",
    ),
    "image id of text": (
        lambda data: data.add_box(1, 1, 2, 2, image=data.add("half.png", "x")),
        "TrainDataset: 1 of 4 images lack id, a whole number: images[3]",
    ),
    "category id of a fraction": (
        lambda data: data.train["categories"].append({"id": 11.0, "name": "yak"}),
        "TrainDataset: 1 of 4 categories lack id, an integer: categories[3]",
    ),
    "crowd of two": (
        lambda data: data.add_box(1, 1, 2, 2, iscrowd=2),
        "TrainDataset: 1 of 5 annotations lack iscrowd, 0 or 1: annotations[4]",
    ),
    "area beyond any float": (
        lambda data: data.add_box(1, 1, 2, 2, area=10**400),
        "TrainDataset: 1 of 5 annotations lack area, a number: width x height, or that of the segmentation: "
        "annotations[4]",
    ),
    "hollow segmentation": (
        lambda data: data.add_box(1, 1, 2, 2, segmentation=[[]]),
        "TrainDataset: 1 of 4 boxes have a segmentation of empty lists, for which PaddleDetection drops other boxes of "
        "the image and gives some the class 0: take it out, or write []: 1.png [[]]",
    ),
    "track id of text": (
        lambda data: data.add_box(1, 1, 2, 2, track_id="a"),
        "TrainDataset: 1 of 5 annotations have a track_id that is no 32-bit integer: 'a'",
    ),
    "num_classes": (
        lambda data: setattr(data, "num_classes", 80),
        "EvalDataset: num_classes is 80, but there are 3 categories (cat, dog, cow): set num_classes: 3; the "
        "background is not counted",
    ),
    "other order": (
        lambda data: data.val["categories"].reverse(),
        "TrainDataset and EvalDataset: their categories differ: class 0 is 'cat' in training and 'cow' in evaluation. "
        "Name the same categories in the same order in both files",
    ),
}
WARNINGS = {
    "missing images": (
        missing_images,
        "5 of 8 image files are missing in {folder}/train: c.png, d.png, gone/a.png, ...; PaddleDetection leaves "
        "these images out; in evaluation their objects count as not found",
    ),
    "unknown image": (
        lambda data: data.add_box(1, 1, 2, 2, image=55),
        "1 of 5 annotations are of images that there are not, and have no effect: image_id 55",
    ),
    "no bbox": (
        lambda data: data.train["annotations"].append(annotation(8, 1, 1, bbox=None)),
        "1 of 5 annotations have no bbox, and have no effect: 1.png None",
    ),
    "no area": (
        no_area,
        "4 of 8 boxes have a width, height or area that is not > 0, and are left out: 1.png [1, 1, 0, 5], "
        "1.png [1, 1, 3, -5], 1.png [0, 0, 0, 0], ...",
    ),
    "outside": (
        outside,
        "2 of 6 boxes lie outside their image; a COCO box is x, y, width, height in pixels: 1.png [20, 0, 5, 5], "
        "1.png [-5, 0, 5, 5]",
    ),
    "reaching out": (
        lambda data: data.add_box(10, 0, 11.5, 5),
        "1 of 5 boxes reach out of their image by more than a pixel; a COCO box is x, y, width, height in pixels: "
        "1.png [10, 0, 11.5, 5]",
    ),
    "fractions": (
        less_than_a_pixel,
        "1 of 6 boxes are narrower or lower than a pixel; a COCO box is in pixels: 1.png [0.2, 0.3, 0.4, 0.5]",
    ),
    "a fraction wide": (
        lambda data: data.add_box(5, 5, 0.5, 4),
        "1 of 5 boxes are narrower or lower than a pixel; a COCO box is in pixels: 1.png [5, 5, 0.5, 4]",
    ),
    "ignore": (
        lambda data: data.add_box(5, 5, 2, 2, ignore=1),
        "1 of 5 boxes are marked ignore, and are left out: 1.png [5, 5, 2, 2]",
    ),
    "no boxes": (
        empty_image,
        "1 of 4 images have no boxes: crowd_only.png; PaddleDetection leaves them out, allow_empty: true keeps them",
    ),
    "listed twice": (
        listed_twice,
        "1 image files are listed more than once, each time with its own boxes: 2.png",
    ),
    "another size": (
        resized,
        "1 of 4 images have another size than annotated, where their boxes may be wrong: resized.png 20x10 instead of "
        "40x10",
    ),
    "unused class": (unused_class, "1 classes have no boxes: yak"),
    "repeated name": (repeated_name, "1 names belong to several categories, which are several classes: cat"),
    "box twice": (
        lambda data: data.add_box(2, 2, 4, 4),
        "1 of 5 boxes are there before, of the same class in the same image: 1.png [2, 2, 4, 4]",
    ),
    "background": (
        background,
        "category __background__ is a class like any other, as the background needs none: take it out, with its "
        "annotations, unless it has objects of its own",
    ),
    "turned": (
        lambda data: turned(data, 6),
        "1 of 4 images are turned by their EXIF orientation when they are read, but annotated as they lie in the file, "
        "so that their boxes are wrong; take the orientation out of the files (exiftool -Orientation= FILES): "
        "turned6.jpg 10x20 instead of 20x10",
    ),
    "mirrored": (
        lambda data: turned(data, 2),
        "1 of 4 images are turned or mirrored by their EXIF orientation when they are read, and their size does not "
        "tell whether their boxes are, too; if not, take it out of the files (exiftool -Orientation= FILES): "
        "turned2.jpg",
    ),
    "16 bits": (
        deep,
        "1 of 4 images have more than 8 bits per channel, of which PaddleDetection keeps the upper 8 (4095 of 16 bits "
        "becomes 15); convert them to 8 bits yourself: deep.png",
    ),
    "image in both": (shared_image, "TrainDataset and EvalDataset: 1 images are in both: {folder}/val/7.png"),
}
