"""Whether the readers make batches that the network can take, judged by the sizes of the images."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import cv2
import numpy as np
import paddle
from ppdet.core import workspace
from ppdet.data import transform

from paddle_focal.data.checks.data_report import DataReport, some

#: Transforms that leave the size of an image as it is, and those that set it by its size alone. After any other one
#: nothing is known.
_KEEPING = {"Decode", "Permute", "NormalizeImage", "RandomFlip", "RandomDistort", "Lighting", "AugmentHSV"}
_RESIZING = {"Resize", "Pad"}
_KEEPING_BATCHES = {"PadGT", "PadRGT"}


def check_reader(config, name: str, sizes: Collection[tuple[int, int]], report: DataReport) -> None:
    """Check a reader whose transforms do not change the size of an image by chance.

    Args:
        config: PaddleDetection's, loaded.
        name: 'TrainReader' or 'EvalReader'.
        sizes: width and height of the images, each once.
        report: receives the lines to add to the configuration.
    """
    reader = config[name]
    resized = _after_samples(reader.get("sample_transforms") or [], sizes)
    stride = _padding(reader.get("batch_transforms") or [])
    if resized is None or stride is None:
        return
    if vanishing := [_by(size) for size, made in sorted(resized.items()) if made == (0, 0)]:
        report.error(
            f"{name} would leave less than half a pixel of a side of images of {some(vanishing)} pixels: take them "
            "out, or cut them into pieces"
        )
        return
    padded = stride > 0 or any("PadBatch" in transforms for transforms in reader.get("batch_transforms") or [])
    cure = f"add to the configuration\n{name}:\n  batch_transforms:\n    - PadBatch: {{pad_to_stride: 32}}"
    if len(set(resized.values())) > 1 and not padded and reader["batch_size"] > 1:
        examples = [f"{_by(size)} becomes {_by(made)}" for size, made in _different(resized)]
        report.error(
            f"{name} makes batches of images of different sizes, which do not fit together: {some(examples)}; {cure}"
        )
        return
    lost = _sides_lost(
        config, {-(-side // stride) * stride if stride else side for made in resized.values() for side in made}
    )
    if lost:
        report.error(
            f"{name} makes images with sides of {some(sorted(lost))} pixels, which are another length after they were "
            f"halved in the backbone and doubled in the neck; {cure}"
        )


def _after_samples(
    transforms: Sequence[Mapping], sizes: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], tuple[int, int]] | None:
    """Each size with what the transforms make of it; None if that is left to chance."""
    steps = [(name, options) for entry in transforms for name, options in entry.items()]
    if not {name for name, _ in steps} <= _KEEPING | _RESIZING:
        return None
    resizing = [getattr(transform, name)(**(options or {})) for name, options in steps if name in _RESIZING]
    return {size: _resized(size, resizing) for size in sizes}


def _resized(size: tuple[int, int], transforms: Sequence) -> tuple[int, int]:
    width, height = size
    sample = {"image": np.zeros((height, width, 1), np.uint8), "im_shape": np.array([height, width], np.float32)}
    sample["scale_factor"] = np.ones(2, np.float32)
    try:
        for one in transforms:
            sample = one(sample)
    except cv2.error:  # a side of 0 pixels
        return 0, 0
    height, width = sample["image"].shape[:2]
    return width, height


def _padding(transforms: Sequence[Mapping]) -> int | None:
    """The stride to whose multiples batches are padded, 0 if they are not; None if their size is left to chance."""
    steps = {name: options or {} for entry in transforms for name, options in entry.items()}
    if not set(steps) <= _KEEPING_BATCHES | {"PadBatch"}:
        return None
    return steps.get("PadBatch", {}).get("pad_to_stride", 0)


def _different(resized: Mapping[tuple[int, int], tuple[int, int]]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """One example of each size that is made."""
    return sorted({made: (size, made) for size, made in resized.items()}.values())


def _sides_lost(config, sides: Iterable[int]) -> set[int]:
    """The sides that a feature pyramid cannot add up, as its levels are not twice as long as the next ones."""
    section = config.get(config.architecture) or {}
    if section.get("neck") != "FPN":
        return set()
    # Parameters are counted by name, and the run's own must begin at 0.
    with paddle.utils.unique_name.guard():
        levels = [level.stride for level in workspace.create(section["backbone"]).out_shape]
    pairs = list(zip(levels, levels[1:]))
    return {side for side in sides if any(-(-side // fine) != 2 * -(-side // coarse) for fine, coarse in pairs)}


def _by(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))
