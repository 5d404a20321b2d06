"""COCO files that hypothesis draws, sound or with faults, and pictures to go with them."""

from __future__ import annotations

import math
from pathlib import Path

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
SOUND_SEGMENTATIONS = (None, [], {}, "", 0, [POLYGON], [POLYGON, POLYGON], {"counts": [3, 4], "size": [HEIGHT, WIDTH]})
ODD_SEGMENTATIONS = (
    [[]], [[], []], [[[]]], [[], [[]]], [[], POLYGON], [POLYGON, []], [[1, 2]], [[1, 2, 3, 4, 5]], [[], [1]],
    [POLYGON[:4]],     "text", 7, [1, 2, 3], [None], [[None]], {"counts": "", "size": []}, [{}], True,
)  # fmt: skip
#: What may be wrong with a file, by the part that is at fault.
FAULTS = (
    "image id", "file name", "picture", "size", "category id", "category name", "annotation id", "image_id",
    "category_id", "bbox", "area", "iscrowd", "ignore", "segmentation", "track_id", "no key", "twice", "many",
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
    """A file with at most two kinds of faults, and with none in a third of all cases."""
    count = draw(st.sampled_from([0, 1, 2]))
    faults = set(draw(st.lists(st.sampled_from(FAULTS), min_size=count, max_size=count)))

    def some(fault: str, sound, *faulty) -> object:
        """A sound value, or one that is at fault, if that is a fault of this file."""
        if fault in faults and draw(st.booleans()):
            return draw(st.sampled_from(faulty))
        return draw(sound) if isinstance(sound, st.SearchStrategy) else sound

    images = [
        {
            "id": some("image id", number, *ANYTHING),
            "file_name": some("file name", name, "none.png", ".", "", "a.png", "./a.png", *ANYTHING),
            "width": some("size", WIDTH, *ANYTHING),
            "height": some("size", HEIGHT, *ANYTHING),
        }
        for number, name in enumerate(draw(st.permutations(PICTURES))[: draw(st.integers(1, 4))])
    ]
    for image in images:
        image["file_name"] = some("picture", image["file_name"], *FAULTY_PICTURES)
    names = draw(st.sampled_from([("cat",), ("cat", "dog"), ("cow", "cat", "dog")]))
    categories = [
        {
            "id": some("category id", number, *ANYTHING),
            "name": some("category name", name, "cat", "background", "__background__", *ANYTHING),
        }
        for number, name in enumerate(names)
    ]
    annotations = []
    for number in range(
        1, 1 + (draw(st.sampled_from([3, 99, 100, 101, 102])) if "many" in faults else draw(st.integers(1, 8)))
    ):
        image = images[0] if "many" in faults else draw(st.sampled_from(images))
        category = categories[0] if "many" in faults else draw(st.sampled_from(categories))
        x, y, width, height = number % 9, number // 9 / 4, 1 + number % 11, 2 + number % 5 / 4
        annotation = {
            "id": some("annotation id", number, *ANYTHING),
            "image_id": some("image_id", image["id"], *ANYTHING),
            "category_id": some("category_id", category["id"], *ANYTHING),
            "bbox": [some("bbox", side, *ANYTHING, 3, 50, 1e-5, 2e-5, 1e-4) for side in (x, y, width, height)],
            "area": some("area", width * height, 1e-9, 1e10, 2e10, *ANYTHING),
            "iscrowd": some("iscrowd", draw(st.sampled_from([0, 0, 0, 1])), 2, 256, *ANYTHING),
        }
        if "bbox" in faults:
            annotation["bbox"] = some("bbox", annotation["bbox"], [0, 0, 0, 0], [1, 2, 3], *ANYTHING)
        if "ignore" in faults:
            annotation["ignore"] = some("ignore", 0, *ANYTHING)
        if "track_id" in faults:
            annotation["track_id"] = some("track_id", 7, *ANYTHING)
        if draw(st.booleans()):
            annotation["segmentation"] = some("segmentation", st.sampled_from(SOUND_SEGMENTATIONS), *ODD_SEGMENTATIONS)
        annotations.append(annotation)
    if "twice" in faults:
        again = draw(st.sampled_from(annotations))
        annotations.append({**again, "id": 1000})
    if "same id" in faults:
        entries = draw(st.sampled_from([images, categories, annotations]))
        entries[-1]["id"] = entries[0]["id"]
    if "no key" in faults:
        entry = draw(st.sampled_from(draw(st.sampled_from([images, categories, annotations]))))
        del entry[draw(st.sampled_from(sorted(entry)))]
    return {"images": images, "categories": categories, "annotations": annotations}
