"""The step benchmark: a whole training step of a detector, each contender in a process of its own."""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path

import numpy as np
import paddle

from paddle_focal.benchmarks import detectors, measuring, tables
from paddle_focal.benchmarks.architectures import ARCHITECTURES, FLOOR, Architecture
from paddle_focal.benchmarks.detectors import Batch, workspace
from paddle_focal.benchmarks.result import statistics
from paddle_focal.engine import runtime
from paddle_focal.files import write_whole

STAGES = ("backbone", "neck", "head", "loss", "backward", "optimizer")


class Stopwatch:
    """Seconds of the stages of a step, which follow one another without gaps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = 0.0

    def start(self) -> None:
        self.seconds = {}
        self._last = self._now()

    def stop(self, stage: str) -> None:
        now = self._now()
        self.seconds[stage] = now - self._last
        self._last = now

    @staticmethod
    def _now() -> float:
        if paddle.get_device() != "cpu":
            paddle.device.synchronize()
        return time.perf_counter()


class TrainingStep:
    """Forward, backward and optimizer step of a detector as a contender has it, from random weights."""

    def __init__(self, architecture: Architecture, contender: str, batch: Batch) -> None:
        detectors.configure(architecture, contender, batch.classes)
        paddle.seed(0)
        self._model = workspace.create(workspace.global_config["architecture"])
        self._model.train()
        schedule = workspace.create("LearningRate")(1000)
        self._optimizer = workspace.create("OptimizerBuilder")(schedule, self._model)
        self._inputs = batch.inputs()
        self.watch = Stopwatch()
        self._watch_stages(architecture.loss_stage, contender)

    def _watch_stages(self, loss_stage: str, contender: str) -> None:
        for name in ("backbone", "neck"):
            getattr(self._model, name).register_forward_post_hook(lambda *_, name=name: self.watch.stop(name))
        owner, _, method = loss_stage.rpartition(".")
        layer = attrgetter(owner)(self._model)
        get_loss = detectors.mean_of_outputs if contender == FLOOR else getattr(layer, method)

        def watched(*outputs, **others):
            self.watch.stop("head")
            losses = get_loss(*outputs, **others)
            self.watch.stop("loss")
            return losses

        setattr(layer, method, watched)

    def __call__(self) -> dict[str, float]:
        """Seconds of each stage."""
        self.watch.start()
        loss = self._model(self._inputs)["loss"]
        loss.backward()
        self.watch.stop("backward")
        self._optimizer.step()
        self._optimizer.clear_grad()
        self.watch.stop("optimizer")
        return self.watch.seconds


def print_steps(options: argparse.Namespace) -> None:
    """Runs one untimed step, then the timed ones; prints the seconds of every stage of each, and the peak memory."""
    paddle.set_device(options.device)
    runtime.use_all_cores()
    paddle.base.core.set_num_threads(options.threads)
    step = TrainingStep(ARCHITECTURES[options.architecture], options.contenders[0], _batch_of(options))
    step()
    seconds = [step() for _ in range(options.steps)]
    on_gpu = options.device != "cpu"
    peak = paddle.device.cuda.max_memory_allocated() / measuring.MIB if on_gpu else measuring.peak_mib()
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))


def run(options: argparse.Namespace) -> None:
    """Measures the contenders in turns, each turn in a new process, and writes the results."""
    title, batch = ARCHITECTURES[options.architecture].title, _batch_of(options)
    print(f"{title}, {batch}, threads: {options.threads}")
    seconds, peaks = defaultdict(list), defaultdict(list)
    order, shuffle = list(options.contenders), random.Random(0).shuffle
    for _ in range(options.rounds):
        shuffle(order)
        for name in order:
            line = measuring.last_line_of_fresh_process("step", "--worker", *_arguments(name, options))
            turn = json.loads(line)
            seconds[name] += turn["seconds"]
            peaks[name].append(turn["peak_mib"])
            totals = ", ".join(f"{sum(step.values()):.2f}" for step in turn["seconds"])
            print(f"  {name:16} {totals} s, peak {turn['peak_mib']:,.0f} MiB", flush=True)
    rows = [
        {
            "contender": name,
            "step_ms": vars(statistics([sum(step.values()) for step in seconds[name]])),
            "stage_ms": {s: statistics([step[s] for step in seconds[name]]).median for s in STAGES},
            "peak_mib": float(np.median(peaks[name])),
        }
        for name in options.contenders
    ]
    facts = {
        **tables.environment(),
        "detector": title,
        "batch": str(batch),
        "threads": options.threads,
        "device": options.device,
    }
    _write(rows, {**facts, "steps": options.rounds * options.steps}, Path(options.output))


def _batch_of(options: argparse.Namespace) -> Batch:
    return Batch(options.images, *options.size, options.classes, options.boxes)


def _arguments(name: str, options: argparse.Namespace) -> list[str]:
    named = ("architecture", "images", "classes", "boxes", "threads", "steps", "device")
    arguments = [text for key in named for text in (f"--{key}", str(getattr(options, key)))]
    return [*arguments, "--contenders", name, "--size", *map(str, options.size)]


def _write(rows: list[dict], facts: dict, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document = json.dumps({"environment": facts, "results": rows}, indent=1) + "\n"
    write_whole(folder / "step.json", lambda path: path.write_text(document))
    text = "\n".join(_markdown(rows, facts)) + "\n"
    write_whole(folder / "step.md", lambda path: path.write_text(text))
    print("\n".join(tables.table(_table(rows))))


def _markdown(rows: list[dict], facts: dict) -> Iterable[str]:
    yield f"# A training step of {facts['detector']}"
    yield ""
    yield (
        "Seconds are medians, and of each stage its share. The floor has the mean of the head's outputs for its loss. "
        "Peak memory is that of the whole process, or on a GPU that of Paddle's allocator."
    )
    yield ""
    yield from tables.facts_in_words(facts)
    yield ""
    yield from tables.table(_table(rows))


def _table(rows: list[dict]) -> Iterable[list[str]]:
    floor = next((row for row in rows if row["contender"] == FLOOR), None)
    yield ["contender", "step s", "of the floor", "peak MiB", "of the floor", *STAGES]
    for row in rows:
        step, stages = row["step_ms"]["median"], row["stage_ms"]
        shares = [f"{stages[stage] / sum(stages.values()):.1%}" for stage in STAGES]
        time_ratio = f"{step / floor['step_ms']['median']:.3f}" if floor else "-"
        peak_ratio = f"{row['peak_mib'] / floor['peak_mib']:.3f}" if floor else "-"
        yield [row["contender"], f"{step / 1e3:.2f}", time_ratio, f"{row['peak_mib']:,.0f}", peak_ratio, *shares]
