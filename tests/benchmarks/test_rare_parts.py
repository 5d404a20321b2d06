"""What the benchmarks do with PyTorch and on GPUs, by stand-ins, and what they print, word for word."""

from __future__ import annotations

import random
import resource
import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from benchmark_results import result

from paddle_focal.benchmarks import __main__ as benchmark
from paddle_focal.benchmarks import cases, comparison, contenders, figure, loss, measuring, truth
from paddle_focal.benchmarks.cases import Case
from paddle_focal.benchmarks.result import Statistics


class Tensor(np.ndarray):
    """As much of PyTorch's as the contenders use."""

    def movedim(self, source, target):
        return np.moveaxis(self, source, target)

    def to(self, dtype):
        return self.astype(dtype)

    def unsqueeze(self, axis):
        return np.expand_dims(self, axis)

    def gather(self, axis, index):
        return np.take_along_axis(self, index, axis)

    def exp(self):
        return np.exp(self)


def binary_cross_entropy_with_logits(logit, target, reduction):
    assert reduction == "none"
    return np.maximum(logit, 0) - logit * target + np.log1p(np.exp(-np.abs(logit)))


@pytest.fixture
def torch(monkeypatch):
    functional = SimpleNamespace(
        one_hot=lambda label, classes: np.eye(classes, dtype=int)[label].view(Tensor),
        binary_cross_entropy_with_logits=binary_cross_entropy_with_logits,
        log_softmax=lambda logit, axis: logit - np.log(np.exp(logit).sum(axis, keepdims=True)),
    )
    nn = SimpleNamespace(functional=functional)
    torch = SimpleNamespace(nn=nn, arange=np.arange, sigmoid=lambda logit: 1 / (1 + np.exp(-logit)))
    for name, module in (("torch", torch), ("torch.nn", nn), ("torch.nn.functional", functional)):
        monkeypatch.setitem(sys.modules, name, module)
    return torch


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ["sigmoid", "softmax"])
def test_the_formulas_of_torch(torch, name, compiled):
    case = Case("", (2, 5, 30), 1, 1.5, loss=name)
    inputs = cases.make_inputs(case, "float64", foreground=0.5)
    function = contenders._IN_TORCH[name](case, compiled)
    value = function(inputs.logit.view(Tensor), inputs.label.view(Tensor))
    assert value == pytest.approx(truth.true_loss(inputs), rel=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_torch_compiles(torch, monkeypatch, dtype):
    calls = []
    torch.set_num_threads = lambda count: calls.append(("threads", count))
    torch.compiler = SimpleNamespace(reset=lambda: calls.append("reset"))
    torch.compile = lambda function, dynamic: calls.append((function, dynamic)) or "compiled"
    torch.int16, torch.bfloat16 = np.dtype("int16"), np.dtype("int16")
    torch.from_numpy = lambda array: SimpleNamespace(
        clone=lambda: torch.from_numpy(array), view=lambda kind: torch.from_numpy(array), requires_grad_=lambda: array
    )
    monkeypatch.setitem(contenders._IN_TORCH, "sigmoid", lambda case, compiled: ("function", compiled))
    run = contenders.CONTENDERS["torch-compile"].prepare(cases.make_inputs(Case("", (5, 3)), dtype), 3)
    assert calls == [("threads", 3), "reset", (("function", True), False)]
    assert run._function == "compiled"
    bits = np.array([0x3F80, 0xC040], np.uint16)
    values = bits.view(np.int16) if dtype == "bfloat16" else np.array([1.0, -3.0], np.float32)
    gradient = SimpleNamespace(view=lambda kind: gradient, numpy=lambda: values)
    np.testing.assert_array_equal(cases.as_float64(run._as_array(gradient)), [1, -3])


def test_paddle_2_6_keeps_its_gradient_tensor():
    class Logit:
        cleared = ()

        def clear_gradient(self, set_to_zero):
            self.cleared = (*self.cleared, set_to_zero)

        @property
        def grad(self):
            return None

        @grad.setter
        def grad(self, value):
            raise ValueError

    run = contenders.LossRun(None, Logit(), None, None)
    run.clear()
    assert run._logit.cleared == (False,)


class TestMeasuring:
    def test_the_waits(self):
        assert (measuring.SETTLE, measuring.WAKE) == (0.25, 0.02)

    def test_a_sample(self, monkeypatch):
        made = []
        monkeypatch.setattr(
            measuring, "make_inputs", lambda *arguments, **more: made.append((arguments, more)) or 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            measuring.check_sample(contenders.CONTENDERS["composite"], Case("", (5000, 7)), "float16", 1)
        assert made == [((Case("sample", (2000, 7)), "float16"), {"foreground": 0.05})]

    def test_an_error_in_words(self):
        with pytest.raises(measuring.WrongError) as error:
            measuring._check("gradient", 0.01234, 1e-6)
        assert str(error.value) == "relative error of the gradient 0.012, allowed 1e-06"
        measuring._check("gradient", 1e-6, 1e-6)

    def test_memory_is_counted_in_the_units_of_linux(self):
        assert measuring.peak_mib() == pytest.approx(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, rel=0.1)
        with open("/proc/meminfo") as file:
            (kibibytes,) = (line.split()[1] for line in file if line.startswith("MemAvailable:"))
        assert measuring.available_bytes() == pytest.approx(1024 * int(kibibytes), rel=0.3)

    def test_a_fresh_process(self, monkeypatch):
        ran = []
        done = SimpleNamespace(returncode=0, stdout="a\nb\n")
        monkeypatch.setattr(measuring.subprocess, "run", lambda command, **more: ran.append((command, more)) or done)
        assert measuring.last_line_of_fresh_process("head", "--worker") == "b"
        command = [sys.executable, "-W", "ignore", "-m", "paddle_focal.benchmarks", "head", "--worker"]
        assert ran == [(command, {"capture_output": True, "text": True})]

    def test_the_turns_are_the_same_every_time(self, monkeypatch):
        turns, order, expected = [], list("abcd"), []
        monkeypatch.setattr(measuring, "_wake", turns.append)
        monkeypatch.setattr(measuring, "_time_once", lambda run: (1.0, 2.0))
        measuring.interleave({name: name for name in order}, rounds=5, settle=0)
        shuffle = random.Random(0).shuffle
        for _ in range(5):
            shuffle(order)
            expected += order
        assert turns == expected


class TestLoss:
    def test_what_is_printed(self, tmp_path, monkeypatch, capsys):
        def interleave(runs, *_):
            return {name: [(0.001, 0.003)] for name in runs}

        monkeypatch.setattr(measuring, "interleave", interleave)
        monkeypatch.setattr(measuring, "available_bytes", lambda: 10 * 2**20)
        memory = {"composite": None, "memcpy": 1234.56}
        monkeypatch.setattr(loss, "_memory_in_fresh_process", lambda name, *_: memory[name])
        names = ("ppdet", "composite", "memcpy")
        arguments = ["--cases", "tiny", "--threads", "1", "--dtypes", "float16", "--output", str(tmp_path / "of/it")]
        benchmark.main(["loss", *arguments, "--contenders", *names])
        assert capsys.readouterr().out == (
            "\ntiny, float16: [4842, 10], gamma 2, threads: 1\n"
            "  ppdet          skipped: does not compute float16 on the CPU\n"
            "  composite      4 [4, 4] ms = forward 1 + backward 3\n"
            "  memcpy         4 [4, 4] ms = forward 1 + backward 3\n"
            "  memcpy         peak memory 1,234.6 MiB above the inputs, 13367.72 x logits\n"
        )

    def test_a_run_is_cleared_after_it_was_checked(self, tmp_path, monkeypatch):
        calls = []
        run = SimpleNamespace(**{part: partial(calls.append, part) for part in ("forward", "backward", "clear")})
        memcpy = replace(contenders.CONTENDERS["memcpy"], prepare=lambda *_: run)
        monkeypatch.setitem(contenders.CONTENDERS, "memcpy", memcpy)
        monkeypatch.setattr(measuring, "interleave", lambda *_: calls.append("times") or {"memcpy": [(1.0, 2.0)]})
        monkeypatch.setattr(loss, "_memory_in_fresh_process", lambda *_: None)
        arguments = ["--cases", "tiny", "--threads", "1", "--output", str(tmp_path)]
        benchmark.main(["loss", *arguments, "--contenders", "memcpy"])
        assert calls == ["forward", "backward", "clear", "times"]

    def test_memory_that_is_not_there(self, monkeypatch):
        monkeypatch.setattr(measuring, "available_bytes", lambda: 2000 * 2**20)
        assert loss._reason_to_skip("native", "float32", 5000 * 2**20) == (
            "needs about 5,000 MiB of memory, 2,000 MiB are available"
        )
        assert loss._reason_to_skip("native", "float32", 2000 * 2**20) is None

    def test_a_reason_is_one_line(self, monkeypatch):
        def fail(*_):
            raise RuntimeError("no\n  compiler ")

        monkeypatch.setattr(measuring, "check_sample", fail)
        assert loss._reason_against_sample("native", Case("", (5, 3)), "float32", 1) == ("no compiler", None)


class TestFigure:
    def test_how_it_looks(self):
        many = {"peak_extra_mib": 8.0, "peak_extra_per_logits": 2.0, "case": "sweep1e3", "shape": [12, 80]}
        drawn = figure.draw([result("native", 2.0, **many), result("memcpy", 1.0, threads=4, **many)])
        time, sweep, memory = drawn.axes
        assert drawn.get_size_inches().tolist() == [15, 4.8]
        assert drawn.get_layout_engine().__class__.__name__ == "ConstrainedLayoutEngine"
        assert time.patches[0].get_height() == pytest.approx(0.368)
        assert memory.patches[0].get_height() == pytest.approx(0.7)
        for text in (*time.texts, *memory.texts):
            assert (text.get_fontsize(), text.xyann, text.anncoords) == (8, (4, 0), "offset points")
            assert text.get_va() == "center"
        for axes in (time, sweep):
            assert {text.get_fontsize() for text in axes.get_legend().get_texts()} == {8}
        assert [text.get_text() for text in time.get_legend().get_texts()] == ["1 thread", "4 threads"]
        assert [patch.get_facecolor() for patch in time.get_legend().get_patches()] == [
            (0, 0, 0, pytest.approx(0.725)),
            (0, 0, 0, 1),
        ]
        assert [(line.get_marker(), line.get_markersize()) for line in sweep.lines] == [("o", 4)]
        for axes in (time, memory):
            assert axes.get_axisbelow() is True
            assert {line.get_alpha() for line in axes.get_xgridlines() if line.get_visible()} == {0.3}
            assert not any(line.get_visible() for line in axes.get_ygridlines())
        assert {line.get_alpha() for line in sweep.get_ygridlines() if line.get_visible()} == {0.3}
        (whiskers,) = (one for one in time.containers if hasattr(one, "has_xerr") and one[1][0].get_ydata()[0] < 0.5)
        assert whiskers[2][0].get_linewidth()[0] == 0.8
        assert [cap.get_markersize() for cap in whiskers[1]] == [4, 4]  # twice the size of a cap

    def test_nothing_measured(self):
        for panel in figure.draw([]).axes:
            (text,) = panel.texts
            assert (text.get_position(), text.get_ha(), text.get_va()) == ((0.5, 0.5), "center", "center")
            assert text.get_transform() is panel.transAxes


def test_the_memory_of_a_head_in_words(monkeypatch, capsys):
    head = pytest.importorskip("paddle_focal.benchmarks.head")
    called = []
    monkeypatch.setattr(measuring, "last_line_of_fresh_process", lambda *line: called.append(line) or "1234.56")
    size = ("--images", "3", "--size", "64", "96", "--classes", "5", "--boxes", "4")
    assert head._memory_in_fresh_process("floor", benchmark.parse_arguments(["head", *size])) == 1234.56
    assert capsys.readouterr().out == "  floor            peak memory 1,235 MiB above the outputs of the convolutions\n"
    assert called == [("head", "--only-memory", "--contenders", "floor", *size)]


def test_a_wrong_stage_in_words():
    head = pytest.importorskip("paddle_focal.benchmarks.head")

    def runs(name, value):
        stock = SimpleNamespace(results=lambda: [np.array(4.0), np.array([1.0, -1.0])])
        return {"stock": stock, name: SimpleNamespace(results=lambda: [np.array(4.0), np.array([1.0, value])])}

    head._check(runs("drop-in", -1.00019))  # of the sum, 2
    head._check(runs("floor", 5.0))
    head._check({"drop-in": None})
    with pytest.raises(SystemExit) as stop:
        head._check(runs("drop-in", -1.05))
    assert stop.value.code == "drop-in is WRONG: relative error 0.025 against ppdet, allowed 1e-04"
    with pytest.raises(SystemExit):
        head._check(runs("drop-in", -1.00021))
    times = dict.fromkeys(("forward_ms", "backward_ms", "both_ms"), Statistics(1.0, 1.0, 1.0))
    row = {"contender": "stock", "threads": 2, **times, "peak_extra_mib": 2.0, "peak_extra_per_logits": 3.0}
    columns = ["forward ms", "backward ms", "both ms", "x stock", "peak MiB", "x logits"]
    assert next(iter(comparison.table([row], ("contender", "threads")))) == ["contender", "threads", *columns]
