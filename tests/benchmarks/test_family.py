"""The family benchmark: what it compares, what it refuses, what it writes."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest

from paddle_focal.benchmarks import __main__ as benchmark
from paddle_focal.benchmarks import comparison, family, measuring, tables

SHAPES = {
    "ppyoloe": (67200, 80), "picodet": (136_000, 80), "rtdetr": (4, 300, 80), "gfl": (44_800, 80), "tood": (89_600, 80),
    "centernet": (16, 80, 128, 128),
}  # fmt: skip


def test_sizes_are_those_of_shipped_configurations():
    assert {name: case.shape for name, case in family.CASES.items()} == SHAPES
    assert tuple(SHAPES) == benchmark.FAMILY_CASES
    assert family.CONTENDERS == benchmark.FAMILY_CONTENDERS
    assert family.CASES["gfl"].logits_mib == pytest.approx(44_800 * 80 * 4 / 2**20)


@pytest.mark.parametrize("name", ["ppyoloe", "rtdetr"])
def test_a_batch_of_scores(name):
    batch = family.CASES[name].batch(500)
    label, score, dense = (one.numpy() for one in (batch.label, batch.score, batch.dense))
    classes = dense.shape[-1]
    assert batch.logit.shape == list(dense.shape)
    assert not batch.logit.stop_gradient
    assert 0.005 < (label < classes).mean() < 0.04
    assert ((score > 0) == (label < classes)).all()
    np.testing.assert_array_equal(dense.sum(-1), score)
    own = np.nonzero(label < classes)
    np.testing.assert_array_equal(dense[(*own, label[own])], score[own])


def test_a_heatmap():
    heatmap = family.CASES["centernet"].batch(2).dense.numpy()
    assert heatmap.shape == (2, 80, 128, 128)
    assert 12 <= (heatmap == 1).sum() <= 14  # seven an image, if none falls on another
    assert 0.0005 < ((heatmap > 0) & (heatmap < 1)).mean() < 0.01


@pytest.mark.parametrize("name", ["ppyoloe", "picodet", "tood", "centernet"])
def test_all_contenders_agree(name, capsys):
    assert family.admitted(name, family.CONTENDERS) == family.CONTENDERS
    assert capsys.readouterr().out == ""


def test_a_wrong_loss_stops_the_benchmark(monkeypatch):
    results = {
        "stock": (2.0, np.ones(4)),
        "native": (2.0, np.array([1, 1, 1, 1.003])),
        "composite": (2.0003, np.ones(4)),
    }
    monkeypatch.setattr(family.Run, "results", lambda self: results[self._contender])
    assert family.admitted("ppyoloe", ("stock", "native", "floor")) == ("stock", "native", "floor")  # 0.00075
    with pytest.raises(SystemExit, match="composite is WRONG: ppyoloe differs from PaddleDetection's by"):
        family.admitted("ppyoloe", ("stock", "composite"))
    results["native"] = (2.0, np.array([1, 1, 1, 1.005]))
    with pytest.raises(SystemExit, match="native is WRONG"):
        family.admitted("ppyoloe", ("native",))


def test_a_stock_loss_that_fails_is_left_out(monkeypatch, capsys):
    def fail(batch):
        raise TypeError("no promotion\nof types")

    monkeypatch.setitem(family.CASES, "gfl", family.FamilyCase((10, 3), fail, family._quality))
    assert family.admitted("gfl", family.CONTENDERS) == ("native", "composite", "floor")
    assert capsys.readouterr().out == "  stock skipped: no promotion\n"


def test_a_run():
    batch = family.Batch(paddle.zeros([2, 3]))
    batch.logit.stop_gradient = False
    case = family.FamilyCase((2, 3), lambda b: (2 * b.logit).sum(), lambda b, backend: (len(backend) * b.logit).sum())
    for contender, slope in (("stock", 2 / 7), ("native", 6 / 7)):
        for _ in range(2):  # nothing is left over
            loss, gradient = family.Run(case, contender, batch).results()
            assert loss == 0
            np.testing.assert_allclose(gradient, np.full((2, 3), slope), rtol=1e-6)
    floor = family.Run(case, "floor", batch)
    floor.forward()
    floor.backward()
    assert floor._copy.shape == [2, 3]
    floor.clear()
    assert floor._copy is None


MARKDOWN = """\
# Losses of the focal family, forward and backward of loss / 7

Milliseconds are medians [20th, 80th percentile]. Stock is PaddleDetection's own loss, from the logits on, with its \
dense targets there already; it is left out where it fails. Peak memory is above that of the inputs; it includes the \
gradient of the logits. The floor is a copy of the logits.

- cpu: of a test
- rounds: 3
- rtdetr: logits of shape [4, 300, 80]

| case | contender | threads | forward ms | backward ms | both ms | x stock | peak MiB | x logits |
|---|---|---|---|---|---|---|---|---|
| rtdetr | stock | 1 | 6 [6, 6] | 2 [2, 2] | 8 [8, 8] | 1 | 0.732 | 2.00 |
| rtdetr | native | 1 | 1 [1, 1] | 1 [1, 1] | 2 [2, 2] | 4 | 0.366 | 1.00 |
| rtdetr | stock | 2 | 6 [6, 6] | 2 [2, 2] | 8 [8, 8] | 1 | 0.732 | 2.00 |
| rtdetr | native | 2 | 1 [1, 1] | 1 [1, 1] | 2 [2, 2] | 4 | 0.366 | 1.00 |
"""


def test_what_it_writes(monkeypatch, tmp_path, capsys):
    calls = {"stock": [(0.006, 0.002)] * 3, "native": [(0.001, 0.001)] * 3}
    settled, threads = [], []

    def interleave(runs, rounds, settle):
        assert set(runs) == set(calls)
        settled.append((rounds, settle))
        return calls

    logits = 4 * 300 * 80 * 4 / 2**20
    monkeypatch.setattr(measuring, "interleave", interleave)
    monkeypatch.setattr(family, "admitted", lambda name, contenders: tuple(contenders))
    memory = {"stock": "2", "native": "1"}
    asked = []

    def fresh_process(*arguments):
        asked.append(arguments[:-1])
        return str(float(memory[arguments[-1]]) * logits)

    monkeypatch.setattr(measuring, "last_line_of_fresh_process", fresh_process)
    monkeypatch.setattr(tables, "environment", lambda: {"cpu": "of a test"})
    monkeypatch.setattr(paddle.base.core, "set_num_threads", threads.append)
    arguments = ["family", "--cases", "rtdetr", "--contenders", *calls, "--threads", "1", "2", "--rounds", "3"]
    family.run(benchmark.parse_arguments([*arguments, "--output", str(tmp_path)]))
    assert settled == [(3, measuring.SETTLE)] * 2
    assert threads == [1, 2]
    assert asked == [("family", "--only-memory", "--cases", "rtdetr", "--contenders")] * 2
    assert (tmp_path / "family.md").read_text() == MARKDOWN
    document = json.loads((tmp_path / "family.json").read_text())
    assert document["environment"] == {"cpu": "of a test", "rounds": 3, "rtdetr": "logits of shape [4, 300, 80]"}
    assert document["results"][1]["both_ms"] == pytest.approx({"median": 2, "p20": 2, "p80": 2})
    text = capsys.readouterr().out
    assert text.startswith("rtdetr: [4, 300, 80], 0.366 MiB of logits\n  stock      threads: 1  8 [8, 8] ms\n")
    assert text.endswith(MARKDOWN[MARKDOWN.index("| case") :])


def test_memory_of_one_contender(monkeypatch, capsys):
    sizes = []

    class Run:
        def __init__(self, case, contender, batch):
            sizes.append((contender, batch.logit.shape[0]))

        def forward(self):
            sizes.append("forward")

        def backward(self):
            sizes.append("backward")

    def peak(call):
        sizes.append("measured")
        call()
        return 1.25

    monkeypatch.setattr(family, "Run", Run)
    monkeypatch.setattr(measuring, "peak_extra_mib", peak)
    benchmark.main(["family", "--only-memory", "--cases", "rtdetr", "--contenders", "native"])
    calls = ["forward", "backward"]
    assert sizes == [("native", 1), *calls, ("native", 4), "measured", *calls]
    assert capsys.readouterr().out == "1.25\n"


def test_a_reference_of_another_setting_is_none():
    times = dict.fromkeys(("forward_ms", "backward_ms", "both_ms"), comparison.statistics([0.002]))
    rows = [
        {
            "case": case,
            "contender": contender,
            "threads": threads,
            **times,
            "peak_extra_mib": 1,
            "peak_extra_per_logits": 1,
        }
        for case, contender, threads in (("a", "stock", 1), ("b", "native", 1), ("a", "native", 2))
    ]
    _, *cells = comparison.table(rows, ("case", "contender", "threads"))
    assert [row[6] for row in cells] == ["1", "-", "-"]
