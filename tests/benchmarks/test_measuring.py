from __future__ import annotations

import gc
import os
import sys
import time

import numpy as np
import pytest

from paddle_focal.benchmarks import cases, contenders, measuring
from paddle_focal.benchmarks.cases import Case
from paddle_focal.benchmarks.result import Statistics, statistics


def test_statistics():
    assert statistics([0.001, 0.002, 0.003, 0.004, 0.011]) == Statistics(
        pytest.approx(3), pytest.approx(1.8), pytest.approx(5.4)
    )


def test_peak_memory_sees_an_allocation():
    kept = []
    assert measuring.peak_extra_mib(lambda: kept.append(np.ones(8 * 2**20))) == pytest.approx(64, abs=4)
    assert measuring.peak_extra_mib(lambda: np.ones(8 * 2**20).sum()) == pytest.approx(64, abs=4)
    assert measuring.peak_extra_mib(lambda: None) == pytest.approx(0, abs=1)


def test_contenders_take_turns_by_chance(monkeypatch):
    turns = []
    monkeypatch.setattr(measuring, "_wake", lambda run: turns.append(run))
    monkeypatch.setattr(measuring, "_time_once", lambda run: (1.0, 2.0))
    seconds = measuring.interleave(dict(zip("abc", "abc")), rounds=20, settle=0)
    assert seconds == {name: [(1.0, 2.0)] * 20 for name in "abc"}
    rounds = {"".join(turns[i : i + 3]) for i in range(0, 60, 3)}
    assert len(rounds) > 2
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert gc.isenabled()


class Slow:
    """A run whose passes take a known time."""

    def __init__(self):
        self.calls = []

    def forward(self):
        self.calls.append("forward")
        time.sleep(0.01)

    def backward(self):
        self.calls.append("backward")
        time.sleep(0.03)

    def clear(self):
        self.calls.append("clear")


def test_a_call_is_timed_in_two_parts_and_cleared():
    run = Slow()
    forward, backward = measuring._time_once(run)
    assert run.calls == ["forward", "backward", "clear"]
    assert 0.01 <= forward < 0.03 <= backward


def test_each_part_is_timed_on_its_own(monkeypatch):
    monkeypatch.setattr(measuring.time, "perf_counter", iter([1.0, 3.0, 8.0]).__next__)
    assert measuring._time_once(contenders.CopyRun(np.zeros(1), 1)) == (2.0, 5.0)


def test_garbage_is_collected_before_each_call(monkeypatch):
    events = []
    monkeypatch.setattr(measuring.gc, "collect", lambda: events.append("collect"))
    monkeypatch.setattr(measuring, "_wake", lambda run: events.append("wake"))
    monkeypatch.setattr(measuring, "_time_once", lambda run: events.append("call") or (1.0, 2.0))
    measuring.interleave({"a": None, "b": None}, rounds=2, settle=0)
    assert events == ["collect", *["collect", "wake", "call"] * 4]


def test_the_cores_are_woken_and_the_others_have_settled(monkeypatch):
    slept = []
    monkeypatch.setattr(measuring.time, "sleep", slept.append)
    monkeypatch.setattr(measuring, "WAKE", 0.05)
    run = Slow()
    seconds = measuring.interleave({"slow": run}, rounds=3, settle=1.5)
    assert slept.count(1.5) == 3
    assert len(seconds["slow"]) == 3
    assert run.calls.count("forward") > 3 + 3


def test_no_garbage_is_collected_while_a_call_runs():
    enabled = []

    class Watched(Slow):
        def forward(self):
            enabled.append(gc.isenabled())

        backward = forward

    with pytest.raises(ZeroDivisionError):
        measuring.interleave({"watched": Watched(), "failing": type("", (Slow,), {"forward": lambda _: 1 / 0})()}, 2, 0)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    measuring.interleave({"watched": Watched()}, 1, 0)
    assert set(enabled) == {False}


def test_memory_of_the_machine():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < measuring.available_bytes() < total
    kept = np.ones(2**24)
    peak = measuring.peak_mib()
    assert kept.nbytes / 2**20 < peak < total / 2**20


def test_the_last_line_of_a_fresh_process(monkeypatch):
    def script(code):
        monkeypatch.setattr(measuring.sys, "executable", "/bin/sh")
        monkeypatch.setattr(
            measuring.subprocess, "run", lambda command, **options: run([python, "-c", code], **options)
        )

    python, run = sys.executable, measuring.subprocess.run
    script("print('first'); print('last')")
    assert measuring.last_line_of_fresh_process("head") == "last"
    script("import sys; print('x' * 600 + 'out of memory ', file=sys.stderr); sys.exit(3)")
    with pytest.raises(RuntimeError, match=r"^exit code 3: x{487}out of memory$"):
        measuring.last_line_of_fresh_process("head")


@pytest.mark.parametrize("compiled", [False, True])
def test_memory_of_a_loss_is_that_of_a_call_that_is_not_the_first(monkeypatch, compiled):
    """The first call of a process, or of a shape that is compiled, also loads libraries."""
    prepared, measured = [], []

    class Run(Slow):
        def __init__(self, inputs, threads):
            super().__init__()
            prepared.append((inputs.case.shape, threads, self))

    def peak(function):
        function()
        measured.append(prepared[-1][2].calls)
        return 12.0

    monkeypatch.setattr(measuring, "peak_extra_mib", peak)
    contender = contenders.Contender("", Run, 1, compiled=compiled)
    assert measuring.loss_memory(contender, Case("", (500, 7)), "float32", 2) == 12.0
    if compiled:
        assert [(shape, threads) for shape, threads, _ in prepared] == [((500, 7), 2)]
        assert measured == [["forward", "backward", "clear", "forward", "backward"]]
    else:
        assert [(shape, threads) for shape, threads, _ in prepared] == [((8, 7), 2), ((500, 7), 2)]
        assert prepared[0][2].calls == ["forward", "backward"]
        assert measured == [["clear", "forward", "backward"]]


def test_contenders_without_a_loss_pass_every_gate():
    copy = contenders.CONTENDERS["memcpy"]
    measuring.check_sample(copy, Case("", (5, 3)), "float32", 1)
    measuring.check_loss(copy, "float32", copy.prepare(cases.make_inputs(Case("", (5, 3)), "float32"), 1), 1.0)
