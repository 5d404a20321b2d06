"""COCO files that hypothesis draws, sound or with faults, and pictures to go with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hypothesis import strategies as st
from PIL import Image

WIDTH, HEIGHT = 20, 10
PICTURES = ("a.png", "b.png", "c.jpg", "d.jpg")
FAULTY_PICTURES = ("empty.png", "text.jpg", "cut.png", "cut.jpg", "deep.png", "turned.jpg", "mirrored.png", "tall.png")

NUMBERS = (0, -1, 0.5, 1.5, 2.0, 1e300, 2**31, 2**53 + 1, 2**63, 2**64 + 1, 10**400, math.nan, math.inf, True)
OTHERS = (None, "", "a", "1", "0", "nan", [], [1], {})
ANYTHING = NUMBERS + OTHERS
POLYGON = [1, 1, 5, 1, 5, 5]
SOUND_SEGMENTATIONS = (
    None, [], {}, "", 0, [POLYGON], [POLYGON, POLYGON], {"counts": [3, 4], "size": [HEIGHT, WIDTH]},
)  # fmt: skip
HOLLOW_SEGMENTATIONS = ([[]], [[], []], [[[]]], [[], [[]]])
ODD_SEGMENTATIONS = (
    [[], POLYGON], [POLYGON, []], [[1, 2]], [[1, 2, 3, 4, 5]], [[], [1]], [POLYGON[:4]], "text", 7, [1, 2, 3], [None],
    [[None]], {"counts": "", "size": []}, [{}], True,
)  # fmt: skip
#: What may be wrong with a file, by the part that is at fault.
FAULTS = (
    "image id", "file name", "picture", "size", "category id", "category name", "annotation id", "image_id",
    "category_id", "bbox", "side", "area", "iscrowd", "ignore", "segmentation", "track_id", "no key", "twice", "many",
    "same id",
)  # fmt: skip


def draw_pictures(folder: Path) -> None:
    """All of PICTURES and FAULTY_PICTURES."""
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for name in (*PICTURES, "cut.png", "cut.jpg"):
        cv2.imwrite(str(folder / name), noise)
    for name in ("cut.png", "cut.jpg"):
        (folder / name).write_bytes((folder / name).read_bytes()[:-20])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("not an image, but longer than what ends one")
    cv2.imwrite(str(folder / "deep.png"), noise.astype(np.uint16) * 16)
    cv2.imwrite(str(folder / "tall.png"), noise.transpose(1, 0, 2))
    for name, orientation in (("turned.jpg", 6), ("mirrored.png", 2)):
        save_turned(folder / name, noise, orientation)


def save_turned(path: Path, picture: np.ndarray, orientation: int) -> None:
    """A picture with an orientation in its EXIF."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(path, exif=exif)


@st.composite
def documents(draw) -> dict:
    """A file of which every image and every class has a box, with up to two values that are at fault."""
    count = draw(st.sampled_from([0, 1, 1, 1, 2]))
    kinds = draw(st.lists(st.sampled_from(FAULTS), min_size=count, max_size=count))
    due = {kind: draw(st.integers(0, 2)) for kind in kinds}  # so many values of the kind are sound before it

    def some(kind: str, sound, likely: Sequence = (), others: Sequence = ANYTHING) -> Any:
        """A sound value, or, once it is due, one that is at fault."""
        if kind in due:
            due[kind] -= 1
            if due[kind] == -1:
                return draw(st.sampled_from(draw(st.sampled_from([likely or others, others]))))
        return sound

    number = draw(st.sampled_from([0, 1, 7, 2**40]))
    images = [
        {
            "id": some("image id", number + i, (2**53 + 1, 2**63, 2.0, 1.5, "1")),
            "file_name": some("file name", name, ("none.png", ".", "a.png", "./b.png")),
            "width": some("size", WIDTH),
            "height": some("size", HEIGHT),
        }
        for i, name in enumerate(draw(st.permutations(PICTURES))[: draw(st.integers(1, 4))])
    ]
    for image in images:
        image["file_name"] = some("picture", image["file_name"], FAULTY_PICTURES, FAULTY_PICTURES)
    categories = [
        {
            "id": some("category id", i, (1.0, 0.5, 2**63, "1", "ab")),
            "name": some("category name", name, ("cat", "background", "__Background__", "a/b")),
        }
        for i, name in enumerate(draw(st.sampled_from([("cat",), ("cat", "dog"), ("cow", "cat", "dog")])))
    ]
    annotations = []
    for i in range(draw(st.integers(4, 8))):
        x, y, width, height = i, i / 8, 1 + i, 2 + i / 4
        annotation = {
            "id": some("annotation id", number + i + 1, (0, 0.0, "0", 0.5, "12", "a1", -1, 10**400)),
            "image_id": some("image_id", images[i % len(images)]["id"]),
            "category_id": some("category_id", categories[i % len(categories)]["id"]),
            "bbox": some(
                "bbox",
                [some("side", side, (0, -1, 3, 50, 1e-5, 2e-5, 1e-4)) for side in (x, y, width, height)],
                ([0, 0, 0, 0], [1, 2, 3], [], None),
            ),
            "area": some("area", width * height, (0, -1, 1e-9, 1e10, 2e10)),
            "iscrowd": some("iscrowd", int(i >= 4 and draw(st.booleans())), (2, 0.5, -1, 256, True, 1.0)),
        }
        if "ignore" in due:
            annotation["ignore"] = some("ignore", 0)
        if "track_id" in due:
            annotation["track_id"] = some("track_id", 7, (2**31, -1, 0.5, "a"))
        if "segmentation" in due or draw(st.booleans()):
            sound = draw(st.sampled_from(SOUND_SEGMENTATIONS))
            annotation["segmentation"] = some("segmentation", sound, HOLLOW_SEGMENTATIONS, ODD_SEGMENTATIONS)
        annotations.append(annotation)
    if "twice" in due:
        again = draw(st.sampled_from(annotations))
        annotations.append({**again, "id": 1000})
    if "many" in due:
        image, category = images[0]["id"], categories[0]["id"]
        there = sum((a["image_id"], a["category_id"], a["iscrowd"]) == (image, category, 0) for a in annotations)
        copies = range(draw(st.sampled_from([100, 101])) - there)
        annotations.extend({**annotations[0], "id": 2000 + i, "bbox": [i / 8, 0, 1, 8]} for i in copies)
    if "same id" in due:
        entries = draw(st.sampled_from([images, categories, annotations]))
        entries[-1]["id"] = entries[0]["id"]
    if "no key" in due:
        entry = draw(st.sampled_from(draw(st.sampled_from([images, categories, annotations]))))
        del entry[draw(st.sampled_from(sorted(entry)))]
    return {"images": images, "categories": categories, "annotations": annotations}
