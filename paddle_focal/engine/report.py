"""The results of an evaluation as files: ``metrics.json`` and ``predictions.png``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from pycocotools.coco import COCO

from paddle_focal import fonts
from paddle_focal.data.annotations import evenly_spaced
from paddle_focal.files import write_whole

#: The twelve numbers of COCO's table, in its order.
COCO_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")

#: The lowest score at which a detection is drawn, as in PaddleDetection's tools/infer.py.
DRAW_THRESHOLD = 0.5
#: Of the room for an image, which has space beside it for labels, and ends at some size.
_ASPECTS = (0.25, 2.5)
_TRUTH, _DETECTION = "#2ca02c", "#d62728"


def coco_metrics(results: Mapping[str, Sequence[float]]) -> dict[str, float | None]:
    """Ppdet's results as names and values: ``bbox_AP``, ``bbox_AP50``, ... None where there is no such ground truth."""
    stats = results.get("bbox", [0.0] * len(COCO_METRICS))  # ppdet has no entry where nothing was detected
    return {f"bbox_{name}": float(value) if value > -1 else None for name, value in zip(COCO_METRICS, stats)}


def voc_metrics(results: Mapping[str, Sequence[float]]) -> dict[str, float | None]:
    """Ppdet's result as ``bbox_mAP``; None where there is no ground truth."""
    (value,) = results["bbox"]
    return {"bbox_mAP": float(value) if value is not None and np.isfinite(value) else None}


def write_metrics(metrics: Mapping[str, float | None], path: Path) -> None:
    write_whole(path, lambda partial: partial.write_text(json.dumps(metrics, indent=2) + "\n"))


def draw_predictions(truth: COCO, image_folder: str, found: Sequence[dict], path: Path, count: int = 12) -> None:
    """Validation images, evenly spaced over the set, with ground truth and detections.

    Args:
        truth: the annotations of the validation set.
        image_folder: the folder that its file names are relative to.
        found: detections, as in a COCO results file.
        path: the PNG to write.
        count: number of images.
    """
    images = sorted(truth.imgs)
    titles = {images[i]: truth.imgs[images[i]]["file_name"] for i in evenly_spaced(len(images), count)}
    draw_images(truth, titles, image_folder, found, "Validation images", path)


def draw_images(
    truth: COCO, titles: Mapping[int, str], image_folder: str, found: Sequence[dict], heading: str, path: Path
) -> None:
    """Images side by side with their ground truth and detections.

    Args:
        truth: the annotations.
        titles: the text above each image to draw, by the image's id.
        image_folder: the folder that the file names are relative to.
        found: detections, as in a COCO results file.
        heading: what the images are.
        path: the PNG to write.
    """
    columns = min(4, len(titles))
    rows = -(-len(titles) // columns)
    lines = max(title.count("\n") + 1 for title in titles.values())
    aspects = [truth.imgs[image_id]["height"] / truth.imgs[image_id]["width"] for image_id in titles]
    aspect = np.clip(np.median(aspects), *_ASPECTS)
    names = {key: str(category["name"]) for key, category in truth.cats.items()}
    with fonts.in_figures(names, titles.values()) as names:
        figure = Figure(figsize=(3.2 * columns, (3.2 * aspect + 0.2 * lines) * rows + 0.5), layout="constrained")
        figure.suptitle(
            f"{heading}: ground truth (green), detections with score >= {DRAW_THRESHOLD} (red)", fontsize=11
        )
        for axes, (image_id, title) in zip(np.ravel(figure.subplots(rows, columns, squeeze=False)), titles.items()):
            image = cv2.imread(os.path.join(image_folder, truth.imgs[image_id]["file_name"]))
            axes.set_title(fonts.printable(title), fontsize=8, parse_math=False)
            if image is None:  # ppdet has left it out of the evaluation, with a warning
                continue
            axes.imshow(image[..., ::-1])
            for box in truth.imgToAnns[image_id]:
                _draw_box(axes, box["bbox"], names[box["category_id"]], _TRUTH, below=True)
            for box in found:
                if box["image_id"] == image_id and box["score"] >= DRAW_THRESHOLD:
                    name = f"{names[box['category_id']]} {box['score']:.2f}"
                    _draw_box(axes, box["bbox"], name, _DETECTION, below=False)
        for axes in figure.axes:
            axes.axis("off")
        _move_labels_into_images(figure)
        write_whole(path, lambda partial: figure.savefig(partial, dpi=110))


def _draw_box(axes, box: Sequence[float], text: str, color: str, below: bool) -> None:
    x, y, width, height = box
    axes.add_patch(matplotlib.patches.Rectangle((x, y), width, height, fill=False, edgecolor=color, linewidth=1.3))
    corner, alignment = (y + height, "top") if below else (y, "bottom")
    label = {"facecolor": color, "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
    x, corner = np.clip(x, *axes.get_xlim()), np.clip(corner, *sorted(axes.get_ylim()))
    axes.text(x, corner, text, color="white", fontsize=7, va=alignment, bbox=label, parse_math=False)


def _move_labels_into_images(figure: Figure) -> None:
    """Those that reach out of their image, as far as it is large enough for them; the others are drawn beside it."""
    figure.draw_without_rendering()  # lays it out
    figure.set_layout_engine("none")  # for good
    for axes in figure.axes:
        image = axes.get_window_extent()
        for text in axes.texts:
            label = text.get_bbox_patch().get_window_extent()
            right = _inwards(label.intervalx, image.intervalx) if label.width < image.width else 0
            up = _inwards(label.intervaly, image.intervaly) if 3 * label.height < image.height else 0
            if right or up:
                place = np.add(axes.transData.transform(text.get_position()), (right, up))
                text.set_position(axes.transData.inverted().transform(place))


def _inwards(interval: Sequence[float], room: Sequence[float]) -> float:
    """The way of an interval into one that is longer."""
    return max(room[0] - interval[0], 0) + min(room[1] - interval[1], 0)
