"""How the native operator is compiled: its name, its compilers, its commands."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import paddle
import pytest

from paddle_focal import build

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("cuda", "flavour"), [("False", "cpu"), (False, "cpu"), ("11.8", "cuda11.8"), ("12.6", "cuda12.6")]
)
def test_the_library_is_named_after_what_paddle_is_compiled_for(monkeypatch, cuda, flavour):
    monkeypatch.setattr(paddle.version, "cuda", lambda: cuda)
    name = build.library_name()
    assert name.split("-")[3:-1] == [flavour]
    assert name.startswith("_C-py")


@pytest.mark.parametrize(
    ("major", "minor", "kept"), [("2", "6", False), ("3", "2", False), ("3", "3", True), ("4", "0", True)]
)
def test_own_memory_is_for_paddles_that_keep_its_deleters(monkeypatch, major, minor, kept):
    monkeypatch.setattr(paddle.version, "major", major)
    monkeypatch.setattr(paddle.version, "minor", minor)
    assert build._deleters_are_kept() is kept


@pytest.mark.parametrize(
    ("variables", "found"),
    [({}, "path"), ({"CUDA_HOME": "home"}, "home"), ({"CUDA_PATH": "other"}, "other"), ({"CUDA_HOME": "none"}, None)],
)
def test_where_nvcc_is_looked_for(monkeypatch, tmp_path, variables, found):
    for place in ("path", "home", "other"):
        (tmp_path / place / "bin").mkdir(parents=True)
        (tmp_path / place / "bin/nvcc").touch(mode=0o755)
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, place in variables.items():
        monkeypatch.setenv(name, str(tmp_path / place))
    monkeypatch.setenv("PATH", str(tmp_path / "path/bin"))
    assert build._find_nvcc() == (str(tmp_path / found / "bin/nvcc") if found else None)


def test_how_the_library_is_compiled_and_linked(monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(build, "_run", commands.append)
    monkeypatch.setattr(build, "_find_compiler", lambda: "c++")
    library = tmp_path / "library.so"
    build._compile("c++", None, library)
    *compiled, linked = commands
    sources = [command[command.index("-c") + 1] for command in compiled]
    assert sorted(map(Path, sources)) == sorted((ROOT / "paddle_focal/csrc").rglob("*.cc"))
    objects = [command[command.index("-o") + 1] for command in compiled]
    assert len(set(objects)) == len(objects)
    assert all({"c++", "-O3", "-fPIC", "-fopenmp"} <= set(command) for command in compiled)
    assert linked[:2] == ["c++", "-shared"]
    assert set(objects) <= set(linked)
    assert linked[-2:] == ["-o", str(library)]
    assert "-fopenmp" not in linked  # Paddle's serves
    assert any(option.startswith("-L") for option in linked)
    assert any(option.startswith("-Wl,-rpath,") for option in linked)


def test_how_kernels_are_compiled(monkeypatch, tmp_path):
    """With nvcc, and with the definition by which the rest knows of them."""
    commands = []
    monkeypatch.setattr(build, "_run", commands.append)
    monkeypatch.setattr(build, "_architectures", lambda nvcc: ["-arch=sm_80"])
    monkeypatch.setattr(build, "_flags_of_paddle", lambda nvcc: (SimpleNamespace(**PADDLE), [f"-DNVCC={nvcc}"]))
    build._compile("c++", "nvcc", tmp_path / "library.so")
    compiled = {Path(command[command.index("-c") + 1]): command for command in commands[:-1]}
    kernels = sorted((ROOT / "paddle_focal/csrc").rglob("*.cu"))
    assert kernels
    assert set(kernels) < set(compiled)
    for source in kernels:
        place = f"-I{ROOT / 'paddle_focal/csrc'}"
        assert compiled[source][:6] == ["nvcc", "-std=c++17", "-O3", "-Xcompiler=-fPIC", "-arch=sm_80", place]
    for source in compiled.keys() - set(kernels):
        assert compiled[source][0] == "c++"
        assert "-DNVCC=nvcc" in compiled[source]
    assert commands[-1][-5:] == [
        "-Lof_paddle",
        "-Wl,-rpath,at_run_time",
        "-lpaddle",
        "-o",
        str(tmp_path / "library.so"),
    ]


PADDLE = {"library_dirs": ["of_paddle"], "runtime_library_dirs": ["at_run_time"], "extra_link_args": ["-lpaddle"]}


def test_lint_looks_at_every_source(monkeypatch):
    commands = []
    monkeypatch.setattr(build, "_run", commands.append)
    build.check()
    assert sorted(Path(command[-1]) for command in commands) == sorted((ROOT / "paddle_focal/csrc").rglob("*.cc"))
    assert all({"-Wall", "-Wextra", "-Werror", "-fsyntax-only"} <= set(command) for command in commands)
