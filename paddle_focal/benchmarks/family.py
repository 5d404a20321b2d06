"""The family benchmark: losses against PaddleDetection's own, each at the size of a shipped configuration."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import Tensor

import paddle_focal
from paddle_focal import ops
from paddle_focal.benchmarks import comparison, measuring, tables
from paddle_focal.benchmarks.cases import NORMALIZER
from paddle_focal.benchmarks.comparison import REFERENCE
from paddle_focal.detection.compatibility import import_ppdet

import_ppdet()

from ppdet.modeling.heads.ppyoloe_head import PPYOLOEHead
from ppdet.modeling.heads.tood_head import TOODHead
from ppdet.modeling.losses.ctfocal_loss import CTFocalLoss
from ppdet.modeling.losses.gfocal_loss import QualityFocalLoss
from ppdet.modeling.losses.varifocal_loss import VarifocalLoss

CONTENDERS = (REFERENCE, "native", "composite", "floor")
#: Share of the labels that belong to an object.
FOREGROUND = 0.02
#: Largest relative errors of loss and gradient against PaddleDetection's, which computes in float32 and clips.
ALLOWED = (1e-4, 1e-3)


@dataclass(frozen=True)
class Batch:
    """Logits, and what each contender makes its targets of."""

    logit: Tensor
    label: Tensor | None = None  # class indices
    score: Tensor | None = None
    dense: Tensor | None = None  # scores of all classes; or a heatmap


@dataclass(frozen=True)
class FamilyCase:
    """One loss at one size.

    Attributes:
        shape: of the logits; classes come last, but for heatmaps.
        stock: PaddleDetection's loss of a batch, from the logits on.
        ours: this package's, of a batch and the name of a backend.
        is_heatmap: whether targets are a heatmap.
    """

    shape: tuple[int, ...]
    stock: Callable[[Batch], Tensor]
    ours: Callable[[Batch, str], Tensor]
    is_heatmap: bool = False

    @property
    def logits_mib(self) -> float:
        return 4 * float(np.prod(self.shape)) / measuring.MIB

    def batch(self, rows: int | None = None) -> Batch:
        """The inputs, or the first ``rows`` of them."""
        rng = np.random.default_rng(0)
        shape = (min(rows or self.shape[0], self.shape[0]), *self.shape[1:])
        logit = paddle.to_tensor(2 * rng.standard_normal(shape, "float32") - 4, stop_gradient=False)
        if self.is_heatmap:
            return Batch(logit, dense=_heatmap(rng, shape))
        *labels, classes = shape
        label = np.where(rng.random(labels) < FOREGROUND, rng.integers(0, classes, labels), classes)
        score = rng.uniform(0.05, 1, labels).astype("float32") * (label < classes)
        dense = (np.arange(classes) == label[..., None]) * score[..., None]
        return Batch(logit, *(paddle.to_tensor(one) for one in (label, score, dense)))


def _heatmap(rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    """Peaks of seven objects an image, with what a Gaussian leaves around them."""
    heatmap = np.zeros(shape, "float32")
    images, classes, height, width = shape
    y, x = np.mgrid[:height, :width]
    for image in range(images):
        for _ in range(7):
            center, sigma = (rng.integers(height), rng.integers(width)), rng.uniform(1, 6)
            peak = np.exp(-((y - center[0]) ** 2 + (x - center[1]) ** 2) / (2 * sigma**2)).astype("float32")
            peak[peak < np.finfo("float32").eps] = 0
            of_class = heatmap[image, rng.integers(classes)]
            np.maximum(of_class, peak, out=of_class)
    return paddle.to_tensor(heatmap)


def _ppyoloe(batch: Batch) -> Tensor:
    one_hot = F.one_hot(batch.label, batch.logit.shape[1] + 1)[:, :-1]
    return PPYOLOEHead._varifocal_loss(F.sigmoid(batch.logit), batch.dense, one_hot)


def _picodet(batch: Batch) -> Tensor:
    return VarifocalLoss(use_sigmoid=False, reduction="sum")(F.sigmoid(batch.logit), batch.dense)


def _rtdetr(batch: Batch) -> Tensor:
    from ppdet.modeling.transformers.utils import varifocal_loss_with_logits  # which PaddleDetection 2.6 has not

    one_hot = F.one_hot(batch.label, batch.logit.shape[2] + 1)[..., :-1]
    return varifocal_loss_with_logits(batch.logit, batch.dense, one_hot) * batch.logit.shape[1]  # it takes the mean


def _gfl(batch: Batch) -> Tensor:
    return QualityFocalLoss(reduction="sum")(batch.logit, (batch.label, batch.score))


def _tood(batch: Batch) -> Tensor:
    return TOODHead._focal_loss(F.sigmoid(batch.logit), batch.dense, alpha=-1)


def _centernet(batch: Batch) -> Tensor:
    return CTFocalLoss()(F.sigmoid(batch.logit).clip(1e-4, 1 - 1e-4), batch.dense)


def _varifocal(batch: Batch, backend: str) -> Tensor:
    return paddle_focal.varifocal_loss(batch.logit, batch.label, batch.score, backend=backend)


def _quality(batch: Batch, backend: str) -> Tensor:
    return paddle_focal.quality_focal_loss(batch.logit, batch.label, batch.score, backend=backend)


def _gaussian(batch: Batch, backend: str) -> Tensor:
    peaks = ops.count_ones(batch.dense).clip(min=1)  # as GaussianFocalLoss(normalizer="peaks") has it
    return paddle_focal.gaussian_focal_loss(batch.logit, batch.dense, peaks, backend=backend)


CASES = {
    "ppyoloe": FamilyCase((8 * 8400, 80), _ppyoloe, _varifocal),
    "picodet": FamilyCase((136_000, 80), _picodet, _varifocal),
    "rtdetr": FamilyCase((4, 300, 80), _rtdetr, _varifocal),
    "gfl": FamilyCase((44_800, 80), _gfl, _quality),
    "tood": FamilyCase((89_600, 80), _tood, _quality),
    "centernet": FamilyCase((16, 80, 128, 128), _centernet, _gaussian, is_heatmap=True),
}


class Run:
    """One contender on one batch. The floor is a copy of the logits."""

    def __init__(self, case: FamilyCase, contender: str, batch: Batch) -> None:
        self._case, self._contender, self._batch = case, contender, batch
        self._loss, self._copy = None, None

    def forward(self) -> None:
        if self._contender == "floor":
            self._copy = self._batch.logit.detach().clone()
            return
        is_stock = self._contender == REFERENCE
        loss = self._case.stock(self._batch) if is_stock else self._case.ours(self._batch, self._contender)
        self._loss = loss / NORMALIZER

    def backward(self) -> None:
        if self._loss is not None:
            self._loss.backward()

    def clear(self) -> None:
        self._loss = self._copy = None
        self._batch.logit.clear_gradient(set_to_zero=False)

    def results(self) -> tuple[float, np.ndarray]:
        """The loss and its gradient."""
        self.forward()
        self.backward()
        results = float(self._loss), self._batch.logit.grad.numpy()
        self.clear()
        return results


def run(options: argparse.Namespace) -> None:
    """Times the contenders in turns, measures each one's memory in a process of its own, and writes the results."""
    rows = []
    for name in options.cases:
        case = CASES[name]
        print(f"{name}: {list(case.shape)}, {tables.number(case.logits_mib)} MiB of logits")
        contenders = admitted(name, options.contenders)
        memory = {one: _memory_in_fresh_process(name, one) for one in contenders}
        batch = case.batch()
        runs = {one: Run(case, one, batch) for one in contenders}
        settle = measuring.SETTLE if max(options.threads) > 1 else 0
        for threads in options.threads:
            paddle.base.core.set_num_threads(threads)
            for one, calls in measuring.interleave(runs, options.rounds, settle).items():
                setting = {"case": name, "contender": one, "threads": threads}
                rows.append(comparison.row(setting, calls, memory[one], case.logits_mib))
                print(f"  {one:10} threads: {threads}  {tables.interval(rows[-1]['both_ms'])} ms")
    facts = {**tables.environment(), "rounds": options.rounds}
    facts.update((name, f"logits of shape {list(CASES[name].shape)}") for name in options.cases)
    lines = [
        "# Losses of the focal family, forward and backward of loss / 7",
        "",
        "Milliseconds are medians [20th, 80th percentile]. Stock is PaddleDetection's own loss, from the logits on, "
        "with its dense targets there already; it is left out where it fails. Peak memory is above that of the inputs; "
        "it includes the gradient of the logits. The floor is a copy of the logits.",
    ]
    comparison.write(Path(options.output), "family", lines, facts, rows, ("case", "contender", "threads"))


def admitted(name: str, contenders: tuple[str, ...]) -> tuple[str, ...]:
    """The contenders without PaddleDetection's own loss where that fails, as some do on newer Paddles.

    Raises:
        SystemExit: a contender's loss or gradient is not PaddleDetection's.
    """
    case = CASES[name]
    batch = case.batch(2 if case.is_heatmap else 2000)
    try:
        loss, gradient = Run(case, REFERENCE, batch).results()
    except (ImportError, TypeError) as error:
        print(f"  {REFERENCE} skipped: {str(error).splitlines()[0]}")
        return tuple(one for one in contenders if one != REFERENCE)
    for contender in contenders:
        if contender in (REFERENCE, "floor"):
            continue
        ours, slopes = Run(case, contender, batch).results()
        errors = abs(ours / loss - 1), np.abs(slopes - gradient).sum() / np.abs(gradient).sum()
        if not all(error <= allowed for error, allowed in zip(errors, ALLOWED)):
            raise SystemExit(f"{contender} is WRONG: {name} differs from PaddleDetection's by {errors}")
    return tuple(contenders)


def print_memory(options: argparse.Namespace) -> None:
    """Peak extra MiB of one forward and backward pass."""
    case, contender = CASES[options.cases[0]], options.contenders[0]

    def call(run: Run) -> None:
        run.forward()
        run.backward()

    call(Run(case, contender, case.batch(1)))
    measured = Run(case, contender, case.batch())
    print(measuring.peak_extra_mib(lambda: call(measured)))


def _memory_in_fresh_process(name: str, contender: str) -> float:
    arguments = ["family", "--only-memory", "--cases", name, "--contenders", contender]
    return float(measuring.last_line_of_fresh_process(*arguments))
