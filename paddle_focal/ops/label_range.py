"""Checks that labels and probabilities are in range, on any device."""

from __future__ import annotations

import math
import os

from paddle import Tensor

from paddle_focal.ops.loss import LossParams, highest_label


def is_wanted_everywhere() -> bool:
    """Whether to check labels even where that waits for the device."""
    return os.environ.get("PADDLE_FOCAL_CHECK") == "1"


def check(params: LossParams) -> None:
    """Raises a ValueError that names the first label out of range."""
    label, score, spec = params.label, params.score, params.spec
    loss, classes, ignore_index = spec.loss, spec.shape[spec.axis], spec.ignore_index
    if params.label.is_floating_point():
        return check_unit_interval(loss.label, label)
    highest = highest_label(loss, classes)
    valid = (label >= 0).logical_and(label <= highest).logical_or(label == ignore_index)
    background = f" ({classes} is background)" if loss.has_background else ""
    _check("label", label, valid, f"in [0, {highest}]{background} or ignore_index {ignore_index}")
    if score is not None:  # of labels that are no class, it is not read
        unread = (label < 0).logical_or(label >= classes)
        _check("score", score, _in_unit_interval(score).logical_or(unread), "in [0, 1]")


def check_unit_interval(name: str, values: Tensor) -> None:
    """Raises a ValueError that names the first value outside [0, 1]."""
    _check(name, values, _in_unit_interval(values), "in [0, 1]")


def _in_unit_interval(values: Tensor) -> Tensor:
    return (values >= 0).logical_and(values <= 1.0)


def _check(name: str, values: Tensor, valid: Tensor, accepted: str) -> None:
    if math.prod(values.shape) == 0 or bool(valid.all()):
        return
    values = values.flatten().astype("float64" if values.is_floating_point() else "int64")
    raise ValueError(f"{name} must be {accepted}, but it contains {values[valid.logical_not().flatten()][0].item()}")
