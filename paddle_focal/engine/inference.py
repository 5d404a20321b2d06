"""Detecting objects in images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
from PIL import Image
from ppdet.data.source.category import get_categories
from ppdet.engine import Trainer

from paddle_focal.data.formats.pictures import SUFFIXES
from paddle_focal.detection.compatibility import any_ending, drawable
from paddle_focal.engine import class_names, weights
from paddle_focal.engine.logs import logger
from paddle_focal.engine.reading import guarded
from paddle_focal.errors import ToolError
from paddle_focal.files import write_whole

_NAMED = 3  # files


def find_images(image: str | None, folder: str | None) -> list[str]:
    """The images that the command line names: a single one, or those of a folder, sorted by name.

    Raises:
        ToolError: there is none, or some cannot be read.
    """
    if image is None and folder is None:
        raise ToolError("Name an image with --infer_img, or a folder of images with --infer_dir")
    if image is None and not Path(folder).is_dir():
        raise ToolError(f"--infer_dir names no folder that is there: {folder}")
    paths = [Path(image)] if image else _images_in(Path(folder))
    broken = "".join(f"\n- {path}: {reason}" for path in paths if (reason := _reason_against(path)))
    if broken:
        raise ToolError(f"Images that cannot be read:{broken}")
    if several := [f"{path.name} ({frames})" for path in paths if (frames := _frames(path)) > 1]:
        logger.warning("Only the first frame is used of images that have several: %s", _some(several))
    return [str(path) for path in paths]


def _images_in(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not images:
        raise ToolError(f"There is no image ({', '.join(SUFFIXES)}) in {folder}")
    if others := [path.name for path in files if path not in images]:
        logger.info("%d files of %s are left out, as no images end so: %s", len(others), folder, _some(others))
    return images


def _reason_against(path: Path) -> str | None:
    try:
        with Image.open(path) as image:
            image.verify()
    except Exception as error:  # decoders raise errors of many types
        return str(error) or type(error).__name__
    return None if cv2.haveImageReader(str(path)) else f"OpenCV {cv2.__version__} does not know its format"


def _frames(path: Path) -> int:
    with Image.open(path) as image:
        is_photo = image.format == "MPO"  # a JPEG with a preview, as cameras and telephones write it
        return 1 if is_photo else getattr(image, "n_frames", 1)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def infer(config, images: Sequence[str], output_dir: str, draw_threshold: float = 0.5, visualize: bool = True) -> Path:
    """Detect objects with the ``weights`` of the configuration.

    Args:
        config: a configuration that has been loaded.
        images: paths.
        output_dir: gets ``predictions.json``, and each image with its boxes drawn.
        draw_threshold: the lowest score at which a box is drawn.
        visualize: whether to draw.

    Returns:
        Path: ``predictions.json``, a list of boxes with ``file_name``, ``category_id`` and ``category`` as in the
        annotation file, ``bbox`` ``[x, y, width, height]`` in pixels and ``score``; every box that the model gives,
        whatever its score.
    """
    trainer = Trainer(config, mode="test")
    class_names.settle(config, trainer.dataset)
    weights.load_into(trainer, config.weights)
    category_ids, names = get_categories(config.metric, trainer.dataset.get_anno())
    with any_ending(), drawable(names), guarded():
        results = trainer.predict(list(images), draw_threshold, output_dir, visualize=visualize)
    files = trainer.dataset.get_imid2path()
    boxes = []
    for result in results:
        rows = iter(result["bbox"].tolist())
        for image, count in zip(result["im_id"].flatten().tolist(), result["bbox_num"].tolist()):
            for category, score, left, top, right, bottom in (next(rows) for _ in range(count)):
                category_id = category_ids[int(category)]
                box = {"file_name": files[image], "category_id": category_id, "category": names[category_id]}
                boxes.append({**box, "bbox": [left, top, right - left, bottom - top], "score": score})
    path = Path(output_dir, "predictions.json")
    write_whole(path, lambda partial: partial.write_text(json.dumps(boxes, indent=1) + "\n"))
    logger.info("%s: %d boxes of any score in %d images", path, len(boxes), len(images))
    return path
