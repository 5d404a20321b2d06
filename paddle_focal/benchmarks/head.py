"""The head benchmark: RetinaNet's loss stage, from the outputs of the convolutions to their gradient."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import paddle

from paddle_focal.benchmarks import measuring, tables
from paddle_focal.benchmarks.result import Statistics, statistics
from paddle_focal.benchmarks.retina import FLOOR, Batch, create_head
from paddle_focal.files import write_whole

REFERENCE = "stock"
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
            forward, backward = zip(*calls)
            rows.append(
                {
                    "contender": name,
                    "threads": threads,
                    "forward_ms": statistics(forward),
                    "backward_ms": statistics(backward),
                    "both_ms": statistics([sum(call) for call in calls]),
                    "peak_extra_mib": memory[name],
                    "peak_extra_per_logits": memory[name] / batch.logits_mib,
                }
            )
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
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    facts = {**tables.environment(), "rounds": options.rounds, "batch": str(batch)}
    plain = [{k: vars(v) if isinstance(v, Statistics) else v for k, v in row.items()} for row in rows]
    document = json.dumps({"environment": facts, "results": plain}, indent=1) + "\n"
    write_whole(folder / "head.json", lambda path: path.write_text(document))
    text = "\n".join(_markdown(rows, batch, facts)) + "\n"
    write_whole(folder / "head.md", lambda path: path.write_text(text))
    print("\n".join(tables.table(_table(rows))))


def _markdown(rows: list[dict], batch: Batch, facts: dict) -> Iterable[str]:
    yield "# RetinaNet's loss stage, forward and backward"
    yield ""
    yield (
        "Milliseconds are medians [20th, 80th percentile]. Peak memory is above that of the outputs of the "
        f"convolutions, {tables.number(batch.logits_mib)} MiB of logits; it includes their gradient. The floor is the "
        "mean of the outputs."
    )
    yield ""
    yield from tables.facts_in_words(facts)
    yield ""
    yield from tables.table(_table(rows))


def _table(rows: list[dict]) -> Iterable[list[str]]:
    yield ["contender", "threads", "forward ms", "backward ms", "both ms", f"x {REFERENCE}", "peak MiB", "x logits"]
    for row in rows:
        reference = [r for r in rows if (r["contender"], r["threads"]) == (REFERENCE, row["threads"])]
        ratio = tables.number(reference[0]["both_ms"].median / row["both_ms"].median) if reference else "-"
        times = [tables.interval(row[name]) for name in ("forward_ms", "backward_ms", "both_ms")]
        memory = [tables.number(row["peak_extra_mib"]), f"{row['peak_extra_per_logits']:.2f}"]
        yield [row["contender"], str(row["threads"]), *times, ratio, *memory]
