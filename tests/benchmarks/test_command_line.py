from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from paddle_focal.benchmarks import __main__ as benchmark
from paddle_focal.benchmarks import cases, contenders

ROOT = Path(__file__).resolve().parents[2]


def test_command_line(tmp_path):
    command = [sys.executable, "tools/benchmark.py", "loss", "--cases", "sweep1e4", "--threads", "1", "2"]
    options = ["--rounds", "2", "--contenders", "composite", "memcpy", "--output", str(tmp_path / "out")]
    result = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "sweep1e4, float32: [125, 80], gamma 2, threads: 2" in result.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["loss.json", "loss.md", "loss.png"]

    document = json.loads((tmp_path / "out/loss.json").read_text())
    assert document["environment"].keys() >= {"date", "cpu", "cores", "python", "paddle", "numpy", "backends", "rounds"}
    rows = {(row["threads"], row["contender"]): row for row in document["results"]}
    assert set(rows) == {(threads, name) for threads in (1, 2) for name in ("composite", "memcpy")}
    for row in rows.values():
        assert row["skipped"] is row["wrong"] is None
        for passes in ("forward_ms", "backward_ms", "both_ms"):
            assert 0 < row[passes]["p20"] <= row[passes]["median"] <= row[passes]["p80"]
        assert row["peak_extra_per_logits"] >= (1 if row["contender"] == "composite" else 0)

    markdown = (tmp_path / "out/loss.md").read_text()
    assert "Logits [125, 80], 0.0381 MiB; gamma 2." in markdown
    tables = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(tables) == (2 + 2) + (2 + 4)  # a header and a rule above each table's rows
    assert cv2.imread(str(tmp_path / "out/loss.png")).std() > 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required"),
        (["loss", "--cases", "huge"], "argument --cases: invalid choice: 'huge' (choose from "),
        (["loss", "--contenders", "jax"], "argument --contenders: invalid choice: 'jax'"),
        (["loss", "--dtypes", "int8"], "argument --dtypes: invalid choice: 'int8'"),
        (["loss", "--rounds", "0"], "argument --rounds: must be at least 1, but got 0"),
        (["loss", "--threads", "0"], "argument --threads: must be at least 1, but got 0"),
        (["loss", "--all", "--cases", "tiny"], "not allowed with argument"),
        (["memory", "jax", "tiny", "float32", "1"], "argument contender: invalid choice: 'jax'"),
        (["memory", "native", "huge", "float32", "1"], "argument case: invalid choice: 'huge'"),
        (["memory", "native", "tiny", "int8", "1"], "argument dtype: invalid choice: 'int8'"),
        (["memory", "native", "tiny", "float32", "0"], "argument threads: must be at least 1, but got 0"),
        (["family", "--cases", "yolox"], "argument --cases: invalid choice: 'yolox'"),
        (["family", "--contenders", "drop-in"], "argument --contenders: invalid choice: 'drop-in'"),
        (["head", "--contenders", "native"], "argument --contenders: invalid choice: 'native'"),
        (["head", "--size", "800"], "argument --size: expected 2 arguments"),
        (["head", "--threads", "0"], "argument --threads: must be at least 1, but got 0"),
        (["head", "--rounds", "0"], "argument --rounds: must be at least 1, but got 0"),
        (["step", "--architecture", "yolox"], "argument --architecture: invalid choice: 'yolox'"),
        (["step", "--contenders", "native"], "argument --contenders: invalid choice: 'native'"),
        (
            ["step", "--contenders", "plugin"],
            "argument --contenders: retinanet has no 'plugin' (choose from stock, drop",
        ),
        (["head", "--contenders", "plugin"], "argument --contenders: invalid choice: 'plugin'"),
        (["step", "--threads", "0"], "argument --threads: must be at least 1, but got 0"),
        (["step", "--rounds", "0"], "argument --rounds: must be at least 1, but got 0"),
        (["step", "--steps", "0"], "argument --steps: must be at least 1, but got 0"),
        (["step", "--images", "0"], "argument --images: must be at least 1, but got 0"),
        (["step", "--size", "800", "0"], "argument --size: must be at least 1, but got 0"),
        (["step", "--classes", "0"], "argument --classes: must be at least 1, but got 0"),
        (["step", "--boxes", "0"], "argument --boxes: must be at least 1, but got 0"),
    ],
)
def test_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit):
        benchmark.parse_arguments(arguments)
    assert message in capsys.readouterr().err


def test_every_case_and_help(capsys):
    assert set(benchmark.parse_arguments(["loss", "--all"]).cases) == set(cases.CASES)
    assert list(benchmark.parse_arguments(["loss"]).cases) == list(cases.DEFAULT_CASES)
    with pytest.raises(SystemExit):
        benchmark.parse_arguments(["--help"])
    assert "memory" not in capsys.readouterr().out.split("\n\n")[0]


BATCH = {
    "architecture": "retinanet",
    "output": "output/benchmark",
    "contenders": ("stock", "drop-in", "FocalRetinaHead", "floor"),
    "images": 2,
    "size": (800, 1344),
    "classes": 80,
    "boxes": 10,
}


STEP = {"device": "cpu", "threads": 2, "rounds": 3, "steps": 2, "worker": False}


def of(architecture, images, side):
    names = ("stock", "plugin", "floor")
    return {"architecture": architecture, "contenders": names, "images": images, "size": (side, side)}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            "loss",
            {
                "output": "output/benchmark",
                "cases": cases.DEFAULT_CASES,
                "contenders": tuple(contenders.CONTENDERS),
                "dtypes": ("float32",),
                "threads": (1, 2),
                "rounds": 10,
            },
        ),
        ("head", {**BATCH, "threads": (1, 2), "rounds": 5, "only_memory": False}),
        (
            "family",
            {
                "output": "output/benchmark",
                "cases": benchmark.FAMILY_CASES,
                "contenders": ("stock", "native", "composite", "floor"),
                "threads": (1, 2),
                "rounds": 5,
                "only_memory": False,
            },
        ),
        ("step", {**BATCH, **STEP}),
        ("step --architecture ppyoloe", {**BATCH, **STEP, **of("ppyoloe", 8, 640)}),
        ("step --architecture picodet", {**BATCH, **STEP, **of("picodet", 32, 320)}),
        ("step --architecture rtdetr", {**BATCH, **STEP, **of("rtdetr", 4, 640)}),
    ],
)
def test_what_is_measured_by_default(command, expected):
    options = vars(benchmark.parse_arguments(command.split()))
    options.pop("run")
    assert options == expected


@pytest.mark.parametrize("command", ["loss", "head", "step", "family"])
def test_help_names_every_flag_and_default(command, capsys):
    with pytest.raises(SystemExit) as stop:
        benchmark.main([command, "--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"benchmark.py {command}" in text or f"{command} [-h]" in text
    for flag in ("--output", "--contenders", "--threads", "--rounds"):
        assert flag in text
    assert "--worker" not in text
    assert "--only-memory" not in text


@pytest.mark.parametrize(
    ("arguments", "module", "called"),
    [
        (["head"], "head", "run"),
        (["head", "--only-memory"], "head", "print_memory"),
        (["family"], "family", "run"),
        (["family", "--only-memory"], "family", "print_memory"),
        (["step"], "step", "run"),
        (["step", "--worker"], "step", "print_steps"),
    ],
)
def test_commands_lead_to_their_benchmarks(monkeypatch, arguments, module, called):
    pytest.importorskip("ppdet")
    from paddle_focal.benchmarks import family, head, step

    calls = []
    for part in (family, head, step):
        for name in ("run", "print_memory", "print_steps"):
            if hasattr(part, name):
                monkeypatch.setattr(part, name, lambda options, call=(part, name): calls.append(call))
    benchmark.main(arguments)
    assert calls == [({"family": family, "head": head, "step": step}[module], called)]


def test_memory_prints_mib_for_the_loss_benchmark(capsys):
    benchmark.main(["memory", "composite", "tiny", "float32", "1"])
    logits = 4_842 * 10 * 4 / 2**20
    assert logits <= float(capsys.readouterr().out) < 100 * logits
