"""Faults for the validation set of faulty_data.py that training would not mind."""

from __future__ import annotations

from faulty_data import annotation, image


def many_objects(data):
    boxes = [annotation(10 + i, 7, 5, bbox=(i / 8, 0, 2, 2)) for i in range(101)]
    data.val["annotations"].extend(boxes)


def reordered(data):
    for split in (data.train, data.val):
        split["categories"] = split["categories"][::-1]


def renamed(data):
    for split in (data.train, data.val):
        split["categories"] = [*split["categories"][:2], {"id": 9, "name": "cow/ox"}]


#: As ERRORS and WARNINGS.
EVALUATION_ERRORS = {
    "annotation id of text": (
        lambda data: data.val["annotations"].append(annotation("b2", 7, 5)),
        "1 of 2 annotations have an id that is no number, with which evaluation fails: 'b2'",
    ),
    "annotation id beyond any float": (
        lambda data: data.val["annotations"].append(annotation(10**400, 7, 5)),
        f"1 of 2 annotations have an id that is no number, with which evaluation fails: 1{'0' * 400}",
    ),
    "no bbox": (
        lambda data: data.val["annotations"].append(annotation(2, 7, 5, bbox=None)),
        "1 of 2 annotations have no bbox, with which evaluation fails: 7.png None",
    ),
    "image ids of two types": (
        lambda data: data.val["images"].extend([image(2**53 + 1, "7.png"), image(8.0, "7.png")]),
        "1 ids of images do not survive in NumPy, so that evaluation loses them: 9007199254740993",
    ),
}
EVALUATION_WARNINGS = {
    "annotation id 0": (
        lambda data: data.val["annotations"].append(annotation(0, 7, 5)),
        "annotation id 0 means 'not found' to pycocotools, as which this object counts however well it is detected: "
        "number annotations from 1",
    ),
    "many objects": (
        many_objects,
        "1 of 1 images have more than 100 objects of a class, of which COCO's evaluation finds 100 at most: 7.png 101 "
        "x dog",
    ),
    "large area": (
        lambda data: data.val["annotations"].append(annotation(2, 7, 5, area=2e10)),
        "1 of 2 boxes have an area beyond 1e10, and are left out of evaluation: 7.png [2, 2, 4, 4]",
    ),
    "other order of ids": (
        reordered,
        "the categories are not in the order of their ids (9, 5, 1), so that the table of --classwise has the AP of "
        "one under the name of another: list them in that order, in training, too",
    ),
    "slash": (renamed, "1 names have a slash, with which --classwise cannot write a file: cow/ox"),
}
