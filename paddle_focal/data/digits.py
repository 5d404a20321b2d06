"""Compose a detection data set in COCO format from scikit-learn's handwritten digits.

The 1,797 scans of real handwriting that ship with scikit-learn (UCI "Optical Recognition of Handwritten Digits") are
scaled, tinted and scattered over noisy canvases. Training and validation images use different scans. The same arguments
give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
from sklearn.datasets import load_digits
from tqdm import tqdm

CLASSES = 10
VALIDATION_SHARE = 0.2
OVERLAP = 0.05  # largest intersection allowed, as a share of the smaller box


def split_scans(rng: np.random.Generator) -> dict[str, list[np.ndarray]]:
    """For each split and class, its scans [n, 8, 8] in 0..1; no scan is in both splits."""
    digits = load_digits()
    splits = {"train": [], "val": []}
    for label in range(CLASSES):
        scans = rng.permutation(digits.images[digits.target == label] / 16.0)
        cut = round(len(scans) * VALIDATION_SHARE)
        splits["val"].append(scans[:cut])
        splits["train"].append(scans[cut:])
    return splits


def class_frequencies(imbalance: float) -> np.ndarray:
    """Frequencies that fall geometrically from digit 0 to digit 9, by the factor ``imbalance`` in all."""
    weights = imbalance ** -np.linspace(0, 1, CLASSES)
    return weights / weights.sum()


def stamp(scan: np.ndarray, size: int) -> np.ndarray:
    """The scan enlarged to ``size`` pixels and cropped to its ink: opacity in 0..1."""
    ink = np.clip(cv2.resize(scan, (size, size), interpolation=cv2.INTER_CUBIC), 0, 1)
    rows, columns = (np.flatnonzero((ink > 0.3).any(axis=axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def overlaps(box: np.ndarray, others: list[np.ndarray]) -> bool:
    for other in others:
        sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
        smaller = min(np.prod(box[2:] - box[:2]), np.prod(other[2:] - other[:2]))
        if (sides > 0).all() and np.prod(sides) > OVERLAP * smaller:
            return True
    return False


def compose(rng: np.random.Generator, scans: list[np.ndarray], options: argparse.Namespace):
    """One image [size, size, 3] uint8 and its (label, box) pairs; boxes are x1, y1, x2, y2 in pixels."""
    side = options.image_size
    background = rng.uniform(0, 0.4, 3)
    shade = cv2.resize(rng.uniform(-0.1, 0.1, (4, 4)), (side, side), interpolation=cv2.INTER_CUBIC)
    canvas = background + shade[..., None] + rng.normal(0, 0.03, (side, side, 1))
    objects: list[tuple[int, np.ndarray]] = []
    for label in rng.choice(CLASSES, rng.integers(*options.digits_per_image, endpoint=True), p=options.frequencies):
        scan = scans[label][rng.integers(len(scans[label]))]
        ink = stamp(scan, int(rng.integers(*options.digit_size, endpoint=True)))
        size = np.array(ink.shape[::-1])
        for _ in range(20):
            corner = rng.integers(0, side - size, endpoint=True)
            box = np.concatenate([corner, corner + size])
            if not overlaps(box, [b for _, b in objects]):
                x1, y1, x2, y2 = box
                color = background + rng.uniform(0.4, 0.6, 3)
                region = canvas[y1:y2, x1:x2]
                region += ink[..., None] * (color - region)
                objects.append((int(label), box))
                break
    return np.round(255 * np.clip(canvas, 0, 1)).astype(np.uint8), objects


def write_split(folder: Path, name: str, count: int, rng: np.random.Generator, scans: list, options) -> None:
    images, annotations = [], []
    (folder / name).mkdir()
    for image_id in tqdm(range(1, count + 1), desc=name, unit="image"):
        image, objects = compose(rng, scans, options)
        file_name = f"{image_id:06d}.png"
        if not cv2.imwrite(str(folder / name / file_name), image):
            raise OSError(f"cannot write {folder / name / file_name}")
        images.append(
            {"id": image_id, "file_name": file_name, "width": options.image_size, "height": options.image_size}
        )
        for label, (x1, y1, x2, y2) in ((label, box.tolist()) for label, box in objects):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": label + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": label + 1, "name": str(label)} for label in range(CLASSES)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / f"instances_{name}.json").write_text(json.dumps(document))


def make_digits(options: argparse.Namespace) -> None:
    output = Path(options.output)
    if output.exists() and not options.overwrite:
        raise SystemExit(f"{output} exists: remove it, choose another --output, or pass --overwrite")
    if output.exists() and not (output / "annotations" / "instances_train.json").is_file():
        raise SystemExit(f"{output} is no data set of this tool: --overwrite does not touch it")
    options.frequencies = class_frequencies(options.imbalance)
    # Written next to the target and moved there at the end, so that an interrupted run leaves no partial data set.
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "annotations").mkdir(parents=True)
    rng = np.random.default_rng(options.seed)
    splits = split_scans(rng)
    write_split(partial, "train", options.train_images, rng, splits["train"], options)
    write_split(partial, "val", options.val_images, rng, splits["val"], options)
    if output.exists():
        shutil.rmtree(output)
    partial.rename(output)
    print(f"{output}: {options.train_images} training and {options.val_images} validation images")
