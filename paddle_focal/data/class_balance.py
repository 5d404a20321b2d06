"""Per-class alpha from how often each class occurs."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Callable

import numpy as np

from paddle_focal.arguments import check_number
from paddle_focal.data.checks.boxes import check_boxes
from paddle_focal.data.checks.coco_file import no_garbage_collection, read_coco
from paddle_focal.data.checks.data_report import DataReport

#: For each method, the weight of a class with n objects, up to a common factor.
METHODS: Mapping[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "inverse_frequency": lambda count, beta: 1 / count,
    "effective_number": lambda count, beta: -1 / np.expm1(count * math.log(beta)),
    "frequency": lambda count, beta: count,
}


def class_alpha(
    counts: Mapping[str, int], method: str = "inverse_frequency", alpha: float = 0.25, beta: float = 0.999
) -> dict[str, float]:
    r"""Alpha of each class from its number of objects.

    In a class of weight w, objects count w times as much, relative to background, as with ``alpha`` alone:

    .. math:: \frac{\alpha_c}{1 - \alpha_c} = w_c \frac{\alpha}{1 - \alpha}

    so that every alpha lies between 0 and 1, and all are ``alpha`` where the classes are equally frequent. The weights
    have the mean 1 over the classes that occur, and are proportional to

    - 'inverse_frequency': 1 / n;
    - 'effective_number': (1 - beta) / (1 - beta^n), the inverse of the effective number of objects (Cui et al.,
      "Class-Balanced Loss Based on Effective Number of Samples", arXiv:1901.05555, eq. 2);
    - 'frequency': n.

    Args:
        counts: objects of each class, by its name, in the order of the classes.
        method: one of the three.
        alpha: in (0, 1), the balance of a class of average weight.
        beta: in (0, 1), for 'effective_number'.

    Returns:
        dict: alpha by class name, in the same order: ``list(class_alpha(counts).values())`` is an ``alpha`` for
        :func:`paddle_focal.sigmoid_focal_loss`. A class without objects gets ``alpha`` itself, with a warning that
        names it.

    Raises:
        ValueError: an unknown method, an alpha or beta out of range, a negative count, or no objects at all.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, but got {method!r}")
    between = "a number between 0 and 1, both excluded"
    alpha = check_number("alpha", alpha, between, lambda number: 0 < number < 1)
    beta = check_number("beta", beta, between, lambda number: 0 < number < 1)
    count = np.array(list(counts.values()), float)
    if not (count >= 0).all():
        raise ValueError(f"counts must be >= 0, but got {dict(counts)}")
    occurs = count > 0
    if not occurs.any():
        raise ValueError(f"counts must have objects of at least one class, but got {dict(counts)}")
    if not occurs.all():
        missing = ", ".join(str(name) for name, there in zip(counts, occurs) if not there)
        warnings.warn(f"no objects of {missing}: alpha is {alpha:g} there", stacklevel=2)
    weight = np.ones_like(count)
    weight[occurs] = METHODS[method](count[occurs], beta)
    weight[occurs] /= weight[occurs].mean()
    odds = weight * alpha / (1 - alpha)
    return dict(zip(counts, (odds / (1 + odds)).tolist()))


@no_garbage_collection()
def count_objects(annotations: str | Path) -> dict[str, int]:
    """Objects of each class in a COCO annotation file, in PaddleDetection's order of the classes.

    They are the boxes that PaddleDetection trains on if all image files are there, without crowds.

    Raises:
        ValueError: two categories share a name, or something is wrong with the file that would make training fail or
            use wrong labels, as the check of a data set says it.
    """
    report = DataReport()
    coco = read_coco(annotations, report)
    objects = check_boxes(coco, report) if coco else []
    if report.errors:
        raise ValueError(f"{annotations} cannot be trained on:" + "".join(f"\n- {error}" for error in report.errors))
    names = {category["id"]: str(category["name"]) for category in coco.categories}
    if len(set(names.values())) < len(names):
        raise ValueError(f"{annotations} has two categories of one name: {list(names.values())}")
    counts = Counter(annotation["category_id"] for annotation in objects)
    return {name: counts[number] for number, name in names.items()}
