"""Whether pycocotools can evaluate with the ids of a COCO file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paddle_focal.data.checks.coco_file import Coco
from paddle_focal.data.checks.data_report import DataReport, some


def check_ids(coco: Coco, report: DataReport) -> None:
    """Check the ids of a file that serves evaluation.

    Args:
        coco: the file's contents.
        report: receives what is found.
    """
    for kind in ("images", "categories"):
        _check_sorted(kind, [entry["id"] for entry in getattr(coco, kind)], report)
    numbers = [_as_number(annotation["id"]) for annotation in coco.annotations]
    wrong = [repr(a["id"]) for a, number in zip(coco.annotations, numbers) if number is None]
    if wrong:
        report.error(
            f"{len(wrong):,} of {len(numbers):,} annotations have an id that is no number, with which evaluation "
            f"fails: {some(wrong)}"
        )
    zeros = [repr(a["id"]) for a, number in zip(coco.annotations, numbers) if number == 0]
    if zeros:
        report.warn(
            f"annotation id {some(zeros)} means 'not found' to pycocotools, as which this object counts however well "
            "it is detected: number annotations from 1"
        )


def _check_sorted(kind: str, ids: Sequence, report: DataReport) -> None:
    """NumPy sorts them, as numbers of one type."""
    changed = set(ids) - set(np.unique(ids).tolist())
    if changed:
        report.error(
            f"{len(changed):,} ids of {kind} do not survive in NumPy, so that evaluation loses them: "
            + some(sorted(changed))
        )


def _as_number(number) -> float | None:
    """What the id becomes in pycocotools' array of matches."""
    try:
        return float(number)
    except (ValueError, OverflowError):
        return None
