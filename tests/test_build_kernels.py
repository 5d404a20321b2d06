"""Who gets kernels when the package is built from source, and for which GPUs."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from paddle_focal import build


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """The packages and GPUs of a machine, to be filled in; pip hides the former from ``sys.path``."""
    machine = SimpleNamespace(packages=tmp_path / "packages", gpus="")
    machine.packages.mkdir()
    monkeypatch.delenv("PADDLE_FOCAL_CUDA", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "of a build")])
    monkeypatch.setattr(build.site, "getusersitepackages", lambda: str(tmp_path / "of a user"))
    monkeypatch.setattr(build.sysconfig, "get_path", lambda kind: str(machine.packages))

    def run(command, **options):
        assert command == ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
        if not machine.gpus:
            raise FileNotFoundError("nvidia-smi")
        return SimpleNamespace(stdout=machine.gpus)

    monkeypatch.setattr(build.subprocess, "run", run)
    return machine


@pytest.mark.parametrize(
    ("variable", "paddle", "gpus", "wants"),
    [
        (None, "paddlepaddle_gpu-3.3.1", "", True),
        (None, "paddlepaddle-3.3.1", "9.0\n", False),
        (None, None, "", False),
        (None, None, "9.0\n", True),
        (None, None, "NVIDIA-SMI has failed\n", False),
        ("", "paddlepaddle-3.3.1", "", False),
        ("0", "paddlepaddle_gpu-2.6.2", "9.0\n", False),
        ("1", "paddlepaddle-3.3.1", "", True),
    ],
)
def test_who_gets_kernels(machine, monkeypatch, variable, paddle, gpus, wants):
    if variable is not None:
        monkeypatch.setenv("PADDLE_FOCAL_CUDA", variable)
    if paddle:
        (machine.packages / f"{paddle}.dist-info").mkdir()
    machine.gpus = gpus
    assert build._wants_kernels() is wants


@pytest.mark.parametrize(
    ("gpus", "variable", "compiled"),
    [("", None, [75, 90, 120]), ("9.0\n9.0\n8.7\n", None, [87, 90]), ("9.0\n", "1", [75, 90, 120])],
)
def test_for_which_gpus(machine, monkeypatch, tmp_path, gpus, variable, compiled):
    """Those that are here; where there is none, or kernels are insisted on, as for a wheel, for all that nvcc knows."""
    machine.gpus, asked = gpus, []

    def ask(nvcc, *arguments):
        asked.append(arguments)
        if "-o" in arguments:
            Path(arguments[arguments.index("-o") + 1]).write_bytes(b"kernels")
        return "sm_75\nsm_87\nsm_90\nsm_120\n"

    monkeypatch.setattr(build, "_find_nvcc", lambda: "nvcc")
    monkeypatch.setattr(build, "_ask_nvcc", ask)
    if variable:
        monkeypatch.setenv("PADDLE_FOCAL_CUDA", variable)
    build.build_kernels(tmp_path)
    options = [option for option in asked[-1] if option.startswith("-gencode=")]
    machine_code = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in compiled]
    assert options == [*machine_code, f"-gencode=arch=compute_{compiled[0]},code=compute_{compiled[0]}"]


def test_who_gets_kernels_is_0_1_or_unset(monkeypatch):
    monkeypatch.setenv("PADDLE_FOCAL_CUDA", "yes")
    with pytest.raises(build.BuildError, match="PADDLE_FOCAL_CUDA must be 0, 1 or unset, but is 'yes'"):
        build._wants_kernels()
