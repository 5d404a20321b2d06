"""The head benchmark: RetinaNet's loss stage, from the outputs of the convolutions to their gradient."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import paddle

from paddle_focal.benchmarks import comparison, measuring, tables
from paddle_focal.benchmarks.architectures import FLOOR
from paddle_focal.benchmarks.comparison import REFERENCE
from paddle_focal.benchmarks.retina import Batch, create_head

ALLOWED = 1e-4  # ppdet's own float32 rounding


class StageRun:
    """The loss stage of one head, on outputs that all heads share."""

    def __init__(self, head: paddle.nn.Layer, outputs: list[list[paddle.Tensor]], targets: dict) -> None:
        self._head, self._outputs, self._targets = head, outputs, targets
        self._loss = None

    def forward(self) -> None:
        self._loss = self._head.get_loss(self._outputs, self._targets)["loss"]

    def backward(self) -> None:
        self._loss.backward()

    def clear(self) -> None:
        self._loss = None
        for output in (*self._outputs[0], *self._outputs[1]):
            output.clear_gradient(set_to_zero=False)

    def results(self) -> list[np.ndarray]:
        """The loss and the gradients."""
        self.forward()
        self.backward()
        outputs = (*self._outputs[0], *self._outputs[1])
        # ppdet gives a level without foreground no gradient at all.
        gradients = [np.zeros(o.shape, "float32") if o.grad is None else o.grad.numpy() for o in outputs]
        results = [np.asarray(float(self._loss)), *gradients]
        self.clear()
        return results


def run(options: argparse.Namespace) -> None:
    """Times the stages in turns, measures each one's memory in a process of its own, and writes the results."""
    batch = batch_of(options)
    print(f"{batch}: {tables.number(batch.logits_mib)} MiB of logits")
    rows = []
    outputs, targets = batch.head_outputs(), batch.targets()
    runs = {name: StageRun(create_head(name, batch.classes), outputs, targets) for name in options.contenders}
    _check(runs)
    memory = {name: _memory_in_fresh_process(name, options) for name in runs}
    settle = measuring.SETTLE if max(options.threads) > 1 else 0
    for threads in options.threads:
        paddle.base.core.set_num_threads(threads)
        for name, calls in measuring.interleave(runs, options.rounds, settle).items():
            setting = {"contender": name, "threads": threads}
            rows.append(comparison.row(setting, calls, memory[name], batch.logits_mib))
            print(f"  {name:16} threads: {threads}  {tables.interval(rows[-1]['both_ms'])} ms")
    _write(rows, batch, options)


def batch_of(options: argparse.Namespace) -> Batch:
    return Batch(options.images, *options.size, options.classes, options.boxes)


def print_memory(options: argparse.Namespace) -> None:
    """Peak extra MiB of one forward and backward pass."""
    batch = batch_of(options)
    paddle.base.core.set_num_threads(max(options.threads))
    head = create_head(options.contenders[0], batch.classes)
    small = Batch(1, 128, 128, batch.classes, 1)
    warm_up = StageRun(head, small.head_outputs(), small.targets())
    warm_up.forward()
    warm_up.backward()
    stage = StageRun(head, batch.head_outputs(), batch.targets())

    def call() -> None:
        stage.forward()
        stage.backward()

    print(measuring.peak_extra_mib(call))


def _memory_in_fresh_process(name: str, options: argparse.Namespace) -> float:
    size = [str(length) for length in options.size]
    arguments = ["--contenders", name, "--images", str(options.images), "--size", *size]
    arguments += ["--classes", str(options.classes), "--boxes", str(options.boxes)]
    mib = float(measuring.last_line_of_fresh_process("head", "--only-memory", *arguments))
    print(f"  {name:16} peak memory {tables.number(mib)} MiB above the outputs of the convolutions")
    return mib


def _check(runs: dict[str, StageRun]) -> None:
    """Stops the benchmark if a loss stage differs from ppdet's own."""
    if REFERENCE not in runs:
        return
    expected = runs[REFERENCE].results()
    for name in runs.keys() - {REFERENCE, FLOOR}:
        for ours, theirs in zip(runs[name].results(), expected):
            error = np.abs(ours - theirs).sum() / max(np.abs(theirs).sum(), 1e-30)
            if not error <= ALLOWED:
                raise SystemExit(f"{name} is WRONG: relative error {error:.2g} against ppdet, allowed {ALLOWED:.0e}")


def _write(rows: list[dict], batch: Batch, options: argparse.Namespace) -> None:
    facts = {**tables.environment(), "rounds": options.rounds, "batch": str(batch)}
    lines = [
        "# RetinaNet's loss stage, forward and backward",
        "",
        "Milliseconds are medians [20th, 80th percentile]. Peak memory is above that of the outputs of the "
        f"convolutions, {tables.number(batch.logits_mib)} MiB of logits; it includes their gradient. The floor is the "
        "mean of the outputs.",
    ]
    comparison.write(Path(options.output), "head", lines, facts, rows, ("contender", "threads"))
