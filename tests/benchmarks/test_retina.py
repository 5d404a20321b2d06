"""The benchmark of RetinaNet's loss stage."""

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
from paddle_focal.benchmarks import comparison, head, measuring, retina, tables
from paddle_focal.benchmarks.result import Statistics

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--images", "1", "--size", "128", "160", "--classes", "5", "--boxes", "3", "--rounds", "1")


def test_head(tmp_path):
    output = tmp_path / "of/benchmarks"  # which is not there yet
    command = [sys.executable, "tools/benchmark.py", "head", *SMALL, "--threads", "1", "--output", str(output)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    document = json.loads((output / "head.json").read_text())
    assert "1 x 128 x 160, 5 classes, 3 boxes an image" in document["environment"]["batch"]
    table = [line for line in (output / "head.md").read_text().splitlines() if line.startswith("|")]
    rows = document["results"]
    assert [row["contender"] for row in rows] == ["stock", "drop-in", "FocalRetinaHead", "floor"]
    for row in rows:
        assert row["forward_ms"]["median"] + row["backward_ms"]["median"] == pytest.approx(row["both_ms"]["median"])
        assert row["peak_extra_per_logits"] >= 1
    assert len(table) == 2 + 4


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


def test_a_process_of_its_own_measures_the_same(monkeypatch):
    options = benchmark.parse_arguments(["head", *SMALL])
    called = []
    monkeypatch.setattr(measuring, "last_line_of_fresh_process", lambda *line: called.append(line) or "1.5")
    assert head._memory_in_fresh_process("floor", options) == 1.5
    passed = benchmark.parse_arguments(list(called[0]))
    assert head.batch_of(passed) == head.batch_of(options)
    assert (passed.contenders, passed.only_memory) == (["floor"], True)


def test_boxes_are_the_same_every_time():
    batch = retina.Batch(2, 128, 160, 5, 3)
    first, second = ({k: np.stack(v) for k, v in batch.targets().items()} for _ in range(2))
    for key in ("gt_bbox", "gt_class"):
        np.testing.assert_array_equal(first[key], second[key])


def test_ratios():
    def stage(name, milliseconds):
        times = dict.fromkeys(("forward_ms", "backward_ms", "both_ms"), Statistics(*[milliseconds] * 3))
        return {"contender": name, "threads": 1, **times, "peak_extra_mib": 8.0, "peak_extra_per_logits": 2.0}

    _, *table = comparison.table([stage("stock", 8.0), stage("FocalRetinaHead", 2.0)], ("contender", "threads"))
    assert [row[5] for row in table] == ["1", "4"]  # times as fast as ppdet's


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
    for output in (*outputs[0], *outputs[1]):
        output.stop_gradient = False
    targets = {"gt_bbox": [paddle.full([2, 4], 100.0)]}
    assert float(retina.create_head("floor", 5).get_loss(outputs, targets)["loss"]) == 8
