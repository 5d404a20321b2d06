"""The benchmarks of RetinaNet's loss stage and of its training step."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from paddle_focal.benchmarks import __main__ as benchmark
from paddle_focal.benchmarks import comparison, head, measuring, retina, step, tables
from paddle_focal.benchmarks.result import Statistics

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--images", "1", "--size", "128", "160", "--classes", "5", "--boxes", "3", "--rounds", "1")


def run(tmp_path, *arguments):
    output = tmp_path / "of/benchmarks"  # which is not there yet
    command = [sys.executable, "tools/benchmark.py", *arguments, *SMALL, "--output", str(output)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    document = json.loads((output / f"{arguments[0]}.json").read_text())
    assert "1 x 128 x 160, 5 classes, 3 boxes an image" in document["environment"]["batch"]
    table = [line for line in (output / f"{arguments[0]}.md").read_text().splitlines() if line.startswith("|")]
    return document["results"], table


def test_head(tmp_path):
    rows, table = run(tmp_path, "head", "--threads", "1")
    assert [row["contender"] for row in rows] == ["stock", "drop-in", "FocalRetinaHead", "floor"]
    for row in rows:
        assert row["forward_ms"]["median"] + row["backward_ms"]["median"] == pytest.approx(row["both_ms"]["median"])
        assert row["peak_extra_per_logits"] >= 1
    assert len(table) == 2 + 4


@pytest.mark.slow
def test_step(tmp_path):
    rows, table = run(tmp_path, "step", "--steps", "1", "--contenders", "FocalRetinaHead", "floor")
    for row in rows:
        assert list(row["stage_ms"]) == ["backbone", "neck", "head", "loss", "backward", "optimizer"]
        assert sum(row["stage_ms"].values()) == pytest.approx(row["step_ms"]["median"])
        assert row["peak_mib"] > 300
    assert rows[1]["stage_ms"]["loss"] < rows[0]["stage_ms"]["loss"]
    assert "| floor | " in table[-1]


@pytest.mark.parametrize(
    ("contender", "classes"),
    [
        ("stock", ("RetinaHead", "FocalLoss")),
        ("drop-in", ("RetinaHead", "SigmoidFocalLoss")),
        ("FocalRetinaHead", ("FocalRetinaHead", "SigmoidFocalLoss")),
    ],
)
def test_contenders_are_a_head_and_a_loss(workspace_copy, contender, classes):
    head = retina.create_head(contender, 3)
    assert (type(head).__name__, type(head.loss_class).__name__) == classes


@pytest.mark.parametrize("name", ["head", "step"])
def test_a_process_of_its_own_measures_the_same(monkeypatch, name):
    options = benchmark.parse_arguments([name, *SMALL])
    if name == "step":
        options.threads, options.steps, options.device = 3, 4, "gpu"
        arguments = ["step", "--worker", *step._arguments("floor", options)]
    else:
        called = []
        monkeypatch.setattr(measuring, "last_line_of_fresh_process", lambda *line: called.append(line) or "1.5")
        assert head._memory_in_fresh_process("floor", options) == 1.5
        (arguments,) = called
    passed = benchmark.parse_arguments(list(arguments))
    assert head.batch_of(passed) == head.batch_of(options)
    assert passed.contenders == ["floor"]
    if name == "step":
        assert (passed.worker, passed.threads, passed.steps, passed.device) == (True, 3, 4, "gpu")
    else:
        assert passed.only_memory


def test_boxes_are_the_same_every_time():
    batch = retina.Batch(2, 128, 160, 5, 3)
    first, second = ({k: np.stack(v) for k, v in batch.targets().items()} for _ in range(2))
    for key in ("gt_bbox", "gt_class"):
        np.testing.assert_array_equal(first[key], second[key])


def test_a_step_takes_as_long_as_its_stages_together(monkeypatch, tmp_path, capsys):
    turn = json.dumps({"seconds": [dict.fromkeys(step.STAGES, 0.5)], "peak_mib": 1234.4})
    monkeypatch.setattr(measuring, "last_line_of_fresh_process", lambda *_: turn)
    arguments = ["step", *SMALL, "--contenders", "floor", "--output", str(tmp_path)]
    step.run(benchmark.parse_arguments(arguments))
    assert " 3.00 s, peak 1,234 MiB\n" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "step.json").read_text())["results"]
    assert row["step_ms"]["median"] == pytest.approx(3000)


def test_ratios():
    def stage(name, milliseconds):
        times = dict.fromkeys(("forward_ms", "backward_ms", "both_ms"), Statistics(*[milliseconds] * 3))
        return {"contender": name, "threads": 1, **times, "peak_extra_mib": 8.0, "peak_extra_per_logits": 2.0}

    _, *table = comparison.table([stage("stock", 8.0), stage("FocalRetinaHead", 2.0)], ("contender", "threads"))
    assert [row[5] for row in table] == ["1", "4"]  # times as fast as ppdet's

    def whole(name, milliseconds, peak):
        stages = dict.fromkeys(step.STAGES, milliseconds / len(step.STAGES))
        return {"contender": name, "step_ms": {"median": milliseconds}, "stage_ms": stages, "peak_mib": peak}

    _, *table = step._table([whole("stock", 3000.0, 500.0), whole("floor", 2000.0, 400.0)])
    assert [row[1:5] for row in table] == [["3.00", "1.500", "500", "1.250"], ["2.00", "1.000", "400", "1.000"]]


def test_a_wrong_loss_stage_stops_the_benchmark(workspace_copy):
    batch = retina.Batch(1, 128, 128, 3, 2)
    outputs, targets = batch.head_outputs(), batch.targets()
    names = ("stock", "FocalRetinaHead")
    heads = {name: retina.create_head(name, batch.classes) for name in names}
    heads["FocalRetinaHead"].loss_class.gamma = 2.01
    with pytest.raises(SystemExit, match=r"FocalRetinaHead is WRONG: relative error 0.0"):
        head._check({name: head.StageRun(heads[name], outputs, targets) for name in names})


HEAD_MARKDOWN = """\
# RetinaNet's loss stage, forward and backward

Milliseconds are medians [20th, 80th percentile]. Peak memory is above that of the outputs of the convolutions, 0.0735 \
MiB of logits; it includes their gradient. The floor is the mean of the outputs.

- cpu: of a test
- rounds: 3
- batch: 1 x 128 x 160, 5 classes, 3 boxes an image

| contender | threads | forward ms | backward ms | both ms | x stock | peak MiB | x logits |
|---|---|---|---|---|---|---|---|
| stock | 1 | 6 [6, 6] | 2 [2, 2] | 8 [8, 8] | 1 | 0.294 | 4.00 |
| FocalRetinaHead | 1 | 1 [1, 1] | 1 [1, 1] | 2 [2, 2] | 4 | 0.0735 | 1.00 |
| stock | 2 | 6 [6, 6] | 2 [2, 2] | 8 [8, 8] | 1 | 0.294 | 4.00 |
| FocalRetinaHead | 2 | 1 [1, 1] | 1 [1, 1] | 2 [2, 2] | 4 | 0.0735 | 1.00 |
"""


def test_what_the_head_benchmark_writes(monkeypatch, workspace_copy, tmp_path, capsys):
    logits = 9 * (16 * 20 + 8 * 10 + 4 * 5 + 2 * 3 + 1 * 2) * 5 * 4 / 2**20
    calls = {"stock": [(0.006, 0.002)] * 3, "FocalRetinaHead": [(0.001, 0.001)] * 3}
    settled, threads, memory = [], [], {"stock": 4 * logits, "FocalRetinaHead": logits}

    def interleave(runs, rounds, settle):
        assert set(runs) == set(calls)
        settled.append((rounds, settle))
        return calls

    monkeypatch.setattr(measuring, "interleave", interleave)
    monkeypatch.setattr(head, "_memory_in_fresh_process", lambda name, options: memory[name])
    monkeypatch.setattr(tables, "environment", lambda: {"cpu": "of a test"})
    monkeypatch.setattr(paddle.base.core, "set_num_threads", threads.append)
    monkeypatch.setattr(head.StageRun, "results", lambda self: [np.ones(1)])
    names = ("--contenders", *calls, "--threads", "1", "2")
    folder = tmp_path / "not/there"
    head.run(benchmark.parse_arguments(["head", *SMALL, "--rounds", "3", *names, "--output", str(folder)]))
    assert settled == [(3, measuring.SETTLE)] * 2
    assert threads == [1, 2]
    assert (folder / "head.md").read_text() == HEAD_MARKDOWN
    assert sorted(path.name for path in folder.iterdir()) == ["head.json", "head.md"]
    document = json.loads((folder / "head.json").read_text())
    batch = "1 x 128 x 160, 5 classes, 3 boxes an image"
    assert document["environment"] == {"cpu": "of a test", "rounds": 3, "batch": batch}
    time = {name: {"median": value, "p20": value, "p80": value} for name, value in (("f", 1), ("b", 1), ("both", 2))}
    second = document["results"][1]
    assert (second["contender"], second["threads"]) == ("FocalRetinaHead", 1)
    for name, key in (("forward_ms", "f"), ("backward_ms", "b"), ("both_ms", "both")):
        assert second[name] == pytest.approx(time[key])
    assert second["peak_extra_mib"] == pytest.approx(logits)
    assert second["peak_extra_per_logits"] == pytest.approx(1)
    text = capsys.readouterr().out
    assert f"{batch}: 0.0735 MiB of logits" in text
    assert "  FocalRetinaHead  threads: 2  2 [2, 2] ms" in text
    assert text.endswith(HEAD_MARKDOWN[HEAD_MARKDOWN.index("| contender") :])
    settled.clear()
    head.run(benchmark.parse_arguments(["head", *SMALL, *names[:3], "--threads", "1", "--output", str(folder)]))
    assert settled == [(1, 0)]  # a single thread leaves no idle ones behind


def test_the_memory_of_a_stage(monkeypatch, capsys):
    """That of the head which is named, after a call on a small batch, which loads what the first call loads."""
    stages = []

    class Stage:
        def __init__(self, head, outputs, targets):
            stages.append((head, tuple(outputs[0][0].shape), calls := []))
            self.forward, self.backward = (lambda: calls.append("forward")), (lambda: calls.append("backward"))

    def peak(function):
        before = [list(calls) for _, _, calls in stages]
        function()
        assert before == [["forward", "backward"], []]
        return 12.5

    threads = []
    monkeypatch.setattr(paddle.base.core, "set_num_threads", threads.append)
    monkeypatch.setattr(head, "create_head", lambda name, classes: (name, classes))
    monkeypatch.setattr(head, "StageRun", Stage)
    monkeypatch.setattr(measuring, "peak_extra_mib", peak)
    benchmark.main(["head", "--only-memory", *SMALL, "--contenders", "drop-in", "--threads", "1", "3"])
    assert capsys.readouterr().out == "12.5\n"
    assert threads == [3]
    assert [(one, shape) for one, shape, _ in stages] == [
        (("drop-in", 5), (1, 45, 16, 16)),
        (("drop-in", 5), (1, 45, 16, 20)),
    ]
    assert [calls for _, _, calls in stages] == [["forward", "backward"]] * 2


STEP_MARKDOWN = """\
# A training step of RetinaNet R50-FPN

Seconds are medians, and of each stage its share. The floor has the mean of the head's outputs for its loss. Peak \
memory is that of the whole process, or on a GPU that of Paddle's allocator.

- cpu: of a test
- batch: 1 x 128 x 160, 5 classes, 3 boxes an image
- threads: 4
- device: cpu
- steps: 6

| contender | step s | of the floor | peak MiB | of the floor | backbone | neck | head | loss | backward | optimizer |
|---|---|---|---|---|---|---|---|---|---|---|
| stock | 4.00 | 1.600 | 1,500 | 1.500 | 12.5% | 12.5% | 12.5% | 50.0% | 7.5% | 5.0% |
| floor | 2.50 | 1.000 | 1,000 | 1.000 | 20.0% | 20.0% | 20.0% | 20.0% | 12.0% | 8.0% |
"""


def test_what_the_step_benchmark_writes(monkeypatch, tmp_path, capsys):
    turns = []

    def fresh_process(*arguments):
        options = benchmark.parse_arguments(list(arguments))
        (name,) = options.contenders
        turns.append(name)
        rest = {"backbone": 0.5, "neck": 0.5, "head": 0.5, "backward": 0.3, "optimizer": 0.2}
        seconds = {stage: rest.get(stage, {"stock": 2.0, "floor": 0.5}[name]) for stage in step.STAGES}
        peak = {"stock": 1300.0, "floor": 800.0}[name] + 100 * turns.count(name)
        return json.dumps({"seconds": [seconds] * options.steps, "peak_mib": peak})

    monkeypatch.setattr(measuring, "last_line_of_fresh_process", fresh_process)
    monkeypatch.setattr(tables, "environment", lambda: {"cpu": "of a test"})
    arguments = ["--rounds", "3", "--steps", "2", "--threads", "4", "--contenders", "stock", "floor"]
    folder = tmp_path / "not/there"
    step.run(benchmark.parse_arguments(["step", *SMALL, *arguments, "--output", str(folder)]))
    assert sorted(turns) == ["floor"] * 3 + ["stock"] * 3
    assert all(set(turns[i : i + 2]) == {"stock", "floor"} for i in (0, 2, 4))
    assert (folder / "step.md").read_text() == STEP_MARKDOWN
    document = json.loads((folder / "step.json").read_text())
    batch = "1 x 128 x 160, 5 classes, 3 boxes an image"
    facts = {"cpu": "of a test", "batch": batch, "threads": 4, "device": "cpu", "steps": 6}
    assert document["environment"] == facts
    stock, floor = document["results"]
    assert stock["step_ms"] == pytest.approx({"median": 4000, "p20": 4000, "p80": 4000})
    assert stock["stage_ms"] == pytest.approx(
        {"backbone": 500, "neck": 500, "head": 500, "loss": 2000, "backward": 300, "optimizer": 200}
    )
    assert (floor["contender"], floor["peak_mib"]) == ("floor", 1000)
    text = capsys.readouterr().out
    assert text.startswith(f"{batch}, threads: 4\n")
    assert "  stock            4.00, 4.00 s, peak 1,400 MiB\n" in text
    assert text.endswith(STEP_MARKDOWN[STEP_MARKDOWN.index("| contender") :])


def test_a_table_without_what_it_compares_with():
    times = {name: Statistics(2.0, 1.0, 3.0) for name in ("forward_ms", "backward_ms", "both_ms")}
    row = {"contender": "floor", "threads": 1, **times, "peak_extra_mib": 8.0, "peak_extra_per_logits": 2.0}
    _, cells = comparison.table([row], ("contender", "threads"))
    assert cells == [
        "floor",
        "1",
        *["2 [1, 3]"] * 3,
        "-",
        "8",
        "2.00",
    ]
    whole = {"contender": "stock", "step_ms": {"median": 2e3}, "stage_ms": dict.fromkeys(step.STAGES, 1.0)}
    assert list(step._table([{**whole, "peak_mib": 5.0}]))[1][:5] == ["stock", "2.00", "-", "5", "-"]


def test_a_stopwatch():
    watch = step.Stopwatch()
    times = iter([10.0, 11.5, 14.0, 20.0, 20.25])
    watch._now = lambda: next(times)
    watch.start()
    watch.stop("first")
    watch.stop("second")
    assert watch.seconds == {"first": 1.5, "second": 2.5}
    watch.start()
    watch.stop("first")
    assert watch.seconds == {"first": 0.25}


def test_a_batch():
    batch = retina.Batch(2, 130, 160, 5, 3)
    assert batch.maps == [(17, 20), (9, 10), (5, 5), (3, 3), (2, 2)]
    places = 17 * 20 + 9 * 10 + 5 * 5 + 3 * 3 + 2 * 2
    assert batch.logits_mib == pytest.approx(2 * places * 9 * 5 * 4 / 2**20)
    logits, deltas = batch.head_outputs()
    assert [tuple(logit.shape) for logit in logits] == [(2, 45, *size) for size in batch.maps]
    assert [tuple(delta.shape) for delta in deltas] == [(2, 36, *size) for size in batch.maps]
    assert not any(output.stop_gradient for output in (*logits, *deltas))
    assert (float(logits[0].mean()), float(logits[0].std())) == pytest.approx((-4, 2), abs=0.1)
    assert (float(deltas[0].mean()), float(deltas[0].std())) == pytest.approx((0, 0.1), abs=0.01)
    targets = batch.targets()
    for boxes, classes in zip(targets["gt_bbox"], targets["gt_class"]):
        assert boxes.shape == [3, 4]
        assert classes.shape == [3, 1]
        extent = boxes.numpy()[:, 2:] - boxes.numpy()[:, :2]
        assert (extent >= 0.05 * np.array([160, 130]) - 1e-3).all()
        assert (extent <= 0.4 * np.array([160, 130]) + 1e-3).all()
        assert (boxes.numpy() >= 0).all()
        assert (boxes.numpy() <= [160, 130, 160, 130]).all()
        assert ((classes.numpy() >= 0) & (classes.numpy() < 5)).all()
    assert (targets["gt_bbox"][0] != targets["gt_bbox"][1]).any()


def test_the_floor_is_the_mean_of_the_outputs(workspace_copy):
    outputs = [[paddle.ones([2, 3]), paddle.full([4], 2.0)], [paddle.full([1], 5.0)]]
    assert float(retina.create_head("floor", 5).get_loss(outputs, None)["loss"]) == 8
