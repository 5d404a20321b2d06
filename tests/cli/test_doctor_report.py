"""The doctor's whole report, of machines that are made up."""

from __future__ import annotations

import io
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from paddle_focal.cli import diagnosis as doctor
from paddle_focal.ops.registry import SIGMOID

WITH_TWO_GPUS = """\
paddle_focal 9.8.7 in /site/paddle_focal
Python 3.99.1, Some-OS
Paddle 3.3.1, CUDA 12.6, commit 0123456789
Devices: CPU with 3 cores, card 0, card 1
numpy 2.2
opencv-python 4.11

native: yes
composite: yes
static graphs: no operator is built, which neither training nor export needs
Operators of another Python, Paddle or state of the sources, not loaded: _operator-a.so, _operator-b.so
ppdet: as found

Self-test on the cpu, native, float32: right, largest relative error 2.0e-05, allowed 2e-05
Self-test on the cpu, native, float64: WRONG, largest relative error 1.1e-12, allowed 1e-12
Self-test on the cpu, composite, float32: WRONG, largest relative error nan, allowed 2e-05
Self-test on the cpu, composite, float64: right, largest relative error 1.0e-12, allowed 1e-12
Self-test on the gpu, native: left out
Self-test on the gpu, composite, float32: right, largest relative error 0.0e+00, allowed 2e-05
Self-test on the gpu, composite, float64: right, largest relative error 0.0e+00, allowed 1e-12

PROBLEM: of ppdet
PROBLEM: a clash
PROBLEM: the native backend computes wrong numbers in float64 on the cpu
PROBLEM: the composite backend computes wrong numbers in float32 on the cpu
4 problems found
"""
WITHOUT_GPU = """\
paddle_focal 9.8.7 in /site/paddle_focal
Python 3.99.1, Some-OS
Paddle 3.3.1, for the CPU, commit 0123456789
Devices: CPU with 3 cores
numpy 2.2
opencv-python 4.11

native: yes
composite: yes
static graphs: the operator is built
ppdet: as found

Self-test on the cpu, native, float32: WRONG, largest relative error 3.0e-05, allowed 2e-05
Self-test on the cpu, native, float64: right, largest relative error 0.0e+00, allowed 1e-12
Self-test on the cpu, composite, float32: right, largest relative error 0.0e+00, allowed 2e-05
Self-test on the cpu, composite, float64: right, largest relative error 0.0e+00, allowed 1e-12

PROBLEM: the native backend computes wrong numbers in float32 on the cpu
1 problem found
"""


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Makes a machine up; its figures are the same with each Paddle."""

    def set_up(gpus: int, errors: dict, problems: list[str], stale: list[str] = (), is_cuda: bool = True) -> None:
        cuda = SimpleNamespace(device_count=lambda: gpus, get_device_name="card {}".format)
        paddle = SimpleNamespace(
            __version__="3.3.1",
            version=SimpleNamespace(cuda=lambda: "12.6", commit="0123456789abcdef"),
            is_compiled_with_cuda=lambda: is_cuda,
            device=SimpleNamespace(cuda=cuda),
        )
        package = SimpleNamespace(
            __version__="9.8.7",
            __file__="/site/paddle_focal/__init__.py",
            backend_report=lambda: "which backend serves\nnative: yes\ncomposite: yes",
        )
        mine = [] if stale else ["_operator-mine.so"]
        for name in (*stale, *mine, "other.so", "_operator-c.txt"):
            (tmp_path / name).touch()
        build = SimpleNamespace(PACKAGE=tmp_path, operator_name=lambda: "_operator-mine.so")
        for name, stand_in in (("paddle", paddle), ("paddle_focal", package), ("build", build)):
            monkeypatch.setattr(doctor, name, stand_in)
        monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.99.1")
        monkeypatch.setattr(doctor.platform, "platform", lambda: "Some-OS")
        monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda process: {1, 2, 5}, raising=False)
        monkeypatch.setattr(doctor, "_version", {"numpy": "2.2", "opencv-python": "4.11"}.get)
        monkeypatch.setattr(doctor, "_ppdet", lambda found: found.extend(problems[:1]) or "ppdet: as found")
        monkeypatch.setattr(doctor, "_clashes", lambda: iter(problems[1:]))
        monkeypatch.setattr(doctor, "_largest_error", lambda *case: errors.get(case, 0.0))
        monkeypatch.setattr(
            doctor, "reason_against", lambda place, loss: "none" if place == "gpu" and loss is SIGMOID else None
        )

    return set_up


def test_of_much_that_is_wrong(machine, capsys):
    errors = {
        ("cpu", "native", "float32"): 2e-5,
        ("cpu", "native", "float64"): 1.1e-12,
        ("cpu", "composite", "float32"): math.nan,
        ("cpu", "composite", "float64"): 1e-12,
    }
    machine(2, errors, ["of ppdet", "a clash"], stale=["_operator-b.so", "_operator-a.so"])
    assert doctor.report() == 1
    assert capsys.readouterr() == (WITH_TWO_GPUS, "")


def test_of_one_problem(machine, capsys):
    machine(1, {("cpu", "native", "float32"): 3e-5}, [], is_cuda=False)
    assert doctor.report() == 1
    assert capsys.readouterr() == (WITHOUT_GPU, "")


def test_a_paddle_with_cuda_on_a_machine_without_gpu(machine, capsys):
    machine(0, {}, [])
    assert doctor.report() == 0
    output = capsys.readouterr().out
    assert "CUDA 12.6" in output
    assert "Devices: CPU with 3 cores\n" in output
    assert "on the gpu" not in output
    assert output.endswith("allowed 1e-12\n\n0 problems found\n")


def test_packages():
    assert (
        *("numpy", "paddledet", "opencv-python-headless", "opencv-python"),
        *("pycocotools", "scikit-learn", "matplotlib"),
    ) == doctor.PACKAGES
    assert doctor._version("numpy") == np.__version__
    assert doctor._version("a package that nobody has") is None


def test_clashes(monkeypatch):
    names = ("paddlepaddle", "paddlepaddle-gpu", "opencv-python", "opencv-python-headless", "sklearn")
    monkeypatch.setattr(doctor, "_version", dict.fromkeys(names, "1.0").get)
    assert list(doctor._clashes()) == [
        "paddlepaddle and paddlepaddle-gpu are both installed, one over the other: uninstall both, install one",
        "opencv-python and opencv-python-headless are both installed: uninstall both, install one",
        "paddledet asks for the empty package sklearn; it imports scikit-learn: pip install scikit-learn",
    ]
    for name in ("paddlepaddle", "paddlepaddle-gpu", "opencv-python", "opencv-python-headless"):
        monkeypatch.setattr(doctor, "_version", {name: "1.0"}.get)
        assert list(doctor._clashes()) == [], name


class TestPpdet:
    def test_that_is_there(self, monkeypatch):
        pytest.importorskip("ppdet")
        monkeypatch.setitem(sys.modules, "ppdet", SimpleNamespace(__file__="/site/ppdet/__init__.py"))
        monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: {"ppdet": object()}[name])
        problems = []
        assert doctor._ppdet(problems) == "ppdet: /site/ppdet"
        assert problems == []

    def test_that_is_not(self, monkeypatch):
        monkeypatch.setattr(doctor.importlib.util, "find_spec", {"ppdet": None}.__getitem__)
        problems = []
        said = "ppdet: not installed; the losses work without it, tools and FocalRetinaHead need it"
        assert doctor._ppdet(problems) == said
        assert problems == []

    def test_that_cannot_be_imported(self, monkeypatch):
        compatibility = pytest.importorskip("paddle_focal.detection.compatibility")

        def fail():
            raise ImportError("needs another package")

        monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: object())
        monkeypatch.setattr(compatibility, "import_ppdet", fail)
        problems = []
        assert doctor._ppdet(problems) == "ppdet: cannot be imported, see below"
        assert problems == ["needs another package"]


def test_each_line_is_shown_at_once(monkeypatch):
    """The self-test takes a while."""

    class Stream(io.StringIO):
        flushed = 0

        def flush(self):
            self.flushed += 1

    stream = Stream()
    monkeypatch.setattr(doctor, "_report", lambda problems: iter(["a", "b", "c"]))
    monkeypatch.setattr(sys, "stdout", stream)
    assert doctor.report() == 0
    assert stream.flushed == 3
    assert stream.getvalue() == "a\nb\nc\n\n0 problems found\n"
