"""The check that labels are in their range, on whatever device they are."""

from __future__ import annotations

import math
import os

from paddle import Tensor


def is_wanted_everywhere() -> bool:
    """Whether to look at the labels where that waits for the device, too."""
    return os.environ.get("PADDLE_FOCAL_CHECK") == "1"


def check(label: Tensor, classes: int, ignore_index: int) -> None:
    """Raises a ValueError that names the first label out of range."""
    indexed = not label.is_floating_point()
    valid = (label >= 0).logical_and(label <= (classes if indexed else 1.0))
    if indexed:
        valid = valid.logical_or(label == ignore_index)
    if math.prod(label.shape) == 0 or bool(valid.all()):
        return
    value = label.flatten()[valid.logical_not().flatten()][0].astype("int64" if indexed else "float64").item()
    accepted = f"in [0, {classes}] ({classes} is background) or ignore_index {ignore_index}" if indexed else "in [0, 1]"
    raise ValueError(f"label must be {accepted}, but it contains {value}")
