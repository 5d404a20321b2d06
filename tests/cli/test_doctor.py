from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import oracle
import pytest

from paddle_focal import __version__, build
from paddle_focal.cli import diagnosis as doctor
from paddle_focal.losses import sigmoid as functional
from paddle_focal.ops import BACKENDS


@pytest.mark.parametrize("figure", doctor.FIGURES)
def test_figures_are_the_oracles(figure):
    logit, target, gamma, loss, gradient = figure
    expected_loss, expected_gradient = oracle.loss_and_gradient([logit], [target], 0.25, gamma)
    assert loss == pytest.approx(expected_loss[0], rel=1e-15)
    assert gradient == pytest.approx(expected_gradient[0], rel=1e-15)


def test_report():
    command = [sys.executable, "-m", "paddle_focal", "doctor"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout.startswith(f"paddle_focal {__version__} in {Path(doctor.__file__).parents[1]}\n")
    for backend in BACKENDS:
        assert f"Self-test on the cpu, {backend}" in result.stdout
    assert build.operator_name() not in result.stdout  # which only those that are not loaded are listed by
    if importlib.util.find_spec("ppdet"):
        assert re.search(r"^ppdet: .*/ppdet$", result.stdout, re.MULTILINE)
    assert result.stdout.endswith("\n0 problems found\n")


@pytest.mark.parametrize("factor", [1.0001, float("nan")])
def test_wrong_numbers(monkeypatch, capsys, factor):
    right = functional.sigmoid_focal_loss
    monkeypatch.setattr("paddle_focal.sigmoid_focal_loss", lambda *a, **o: right(*a, **o) * factor)
    assert doctor.report() == 1
    output = capsys.readouterr().out
    assert "composite, float32: WRONG, largest relative error" in output
    assert "PROBLEM: the composite backend computes wrong numbers in float64 on the cpu" in output


@pytest.mark.parametrize("factor", [0.999, 1.001])
def test_a_loss_that_is_wrong_with_a_right_gradient(monkeypatch, capsys, factor):
    right = functional.sigmoid_focal_loss

    class Wrong:
        def __init__(self, loss):
            self._loss, self.backward = loss, loss.backward

        def item(self):
            return self._loss.item() * factor

    monkeypatch.setattr("paddle_focal.sigmoid_focal_loss", lambda *a, **o: Wrong(right(*a, **o)))
    assert doctor.report() == 1
    assert "composite, float32: WRONG, largest relative error 1.0e-03" in capsys.readouterr().out


def test_clashes(monkeypatch, capsys):
    installed = {"paddlepaddle": "3.3.1", "paddlepaddle-gpu": "2.6.2", "sklearn": "0.0"}
    monkeypatch.setattr(doctor, "_version", installed.get)
    assert doctor.report() == 1
    output = capsys.readouterr().out
    assert "PROBLEM: paddlepaddle and paddlepaddle-gpu are both installed" in output
    assert "pip install scikit-learn" in output
    assert "2 problems found" in output


def test_scikit_learn_beside_the_empty_package_is_no_clash(monkeypatch):
    installed = {"sklearn": "0.0", "scikit-learn": "1.5.2", "opencv-python": "4.10"}
    monkeypatch.setattr(doctor, "_version", installed.get)
    assert list(doctor._clashes()) == []
