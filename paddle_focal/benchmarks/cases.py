"""The inputs of the loss benchmark."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from paddle_focal.benchmarks.losses import LOSSES
from paddle_focal.ops.loss import highest_label

NORMALIZER = 7
FOREGROUND = 0.001  # share of the labels that belong to an object
ITEM_SIZE = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
ANCHORS = 201_600  # RetinaNet's, on an image of 800 x 1344: 9 at each of 22,400 locations


@dataclass(frozen=True)
class Case:
    """One problem size.

    Attributes:
        name: what the command line calls it.
        shape: shape of the logits.
        axis: the class axis; the labels have the shape of the logits without it.
        gamma: focusing parameter.
        loss: a key of LOSSES. If the loss has no background, the last class serves as background.
        contenders: the only ones that take part; None for all.
    """

    name: str
    shape: tuple[int, ...]
    axis: int = -1
    gamma: float = 2.0
    loss: str = "sigmoid"
    contenders: tuple[str, ...] | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def classes(self) -> int:
        return self.shape[self.axis]

    @property
    def label_shape(self) -> tuple[int, ...]:
        return tuple(n for i, n in enumerate(self.shape) if i != self.axis % len(self.shape))

    def bytes(self, dtype: str) -> int:
        return self.size * ITEM_SIZE[dtype]

    def shrunk(self, longest: int) -> Case:
        """The problem with all axes but that of the classes cut to ``longest``; equal problems give equal ones."""
        class_axis = self.axis % len(self.shape)
        shape = tuple(n if i == class_axis else min(n, longest) for i, n in enumerate(self.shape))
        return replace(self, name="sample", shape=shape, contenders=None)


_LISTED = (
    Case("tiny", (4_842, 10)),
    Case("batch1", (ANCHORS, 80)),
    Case("batch2", (2 * ANCHORS, 80)),
    Case("batch8", (8 * ANCHORS, 80)),
    Case("classes10", (2 * ANCHORS, 10)),
    Case("classes1203", (2 * ANCHORS, 1203)),
    Case("axis2", (2, 9, 80, 22_400), axis=2),
    Case("gamma0", (2 * ANCHORS, 80), gamma=0.0),
    Case("gamma1", (2 * ANCHORS, 80), gamma=1.0),
    Case("gamma1.5", (2 * ANCHORS, 80), gamma=1.5),
    Case("softmax", (2 * ANCHORS, 81), loss="softmax"),
)
_SWEEP = tuple(
    Case(f"sweep1e{power}", (10**power // 80, 80), contenders=None if power < 8 else ("native", "memcpy"))
    for power in range(3, 9)
)
CASES = {case.name: case for case in _LISTED + _SWEEP}
SWEEP = tuple(case.name for case in _SWEEP)
DEFAULT_CASES = ("tiny", "batch2", "axis2", "gamma1.5", "softmax", *SWEEP)


@dataclass(frozen=True)
class Inputs:
    """Logits and class indices as arrays; bfloat16, which NumPy lacks, is stored as its bits in uint16."""

    case: Case
    logit: np.ndarray
    label: np.ndarray


def make_inputs(case: Case, dtype: str, foreground: float = FOREGROUND, seed: int = 0) -> Inputs:
    """Logits like those of a detector that calls nearly everything background, the same for every contender."""
    rng = np.random.default_rng(seed)
    logit = rng.standard_normal(case.shape, np.float32)
    logit *= 2
    logit -= 4
    logit = (logit.view(np.uint32) >> 16).astype(np.uint16) if dtype == "bfloat16" else logit.astype(dtype, copy=False)
    background = highest_label(LOSSES[case.loss].description, case.classes)
    label = np.full(math.prod(case.label_shape), background)
    chosen = rng.choice(label.size, max(1, round(foreground * label.size)), replace=False)
    label[chosen] = rng.integers(background, size=chosen.size)
    return Inputs(case, logit, label.reshape(case.label_shape))


def as_float64(values: np.ndarray) -> np.ndarray:
    """The numbers of an array; a uint16 array holds the bits of bfloat16."""
    if values.dtype == np.uint16:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float64)
