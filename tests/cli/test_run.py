"""``paddle-focal run``: PaddleDetection's losses are replaced in every Python below it, or that Python says why not."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from paddle_focal.cli import run

ROOT = Path(__file__).resolve().parents[2]
TRAIN = "from ppdet.core.workspace import global_config\nprint(global_config)"
#: Copies its environment for a child in another folder, as PaddleX does.
STARTER = """
import os, subprocess, sys
environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "0"}
sys.exit(subprocess.run([sys.executable, "train.py"], env=environment, cwd=sys.argv[1]).returncode)
"""


@pytest.fixture
def python(tmp_path):
    """A function that runs a Python with the startup folder, a ppdet and a paddle_focal, both of which only say so."""

    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    write("ppdet/__init__.py", "from ppdet import core, modeling")
    write("ppdet/core/__init__.py", "")
    write("ppdet/core/workspace.py", "global_config = []")
    write("ppdet/modeling.py", "from ppdet.core.workspace import global_config\nglobal_config.append('stock')")
    write("paddle_focal/__init__.py", "")
    write("paddle_focal/detection/__init__.py", "import ppdet")
    write(
        "paddle_focal/detection/registration.py",
        "from ppdet.core.workspace import global_config\n"
        "def replace(names=None):\n    global_config.append(('replaced', names))",
    )
    write("tools/train.py", TRAIN)
    write("start.py", STARTER)
    shutil.copytree(run.STARTUP, tmp_path / "paddle_focal/cli/startup", ignore=shutil.ignore_patterns("__pycache__"))

    def start(*arguments: str, behind: str = "", **environment: str) -> subprocess.CompletedProcess:
        path = [str(tmp_path / "paddle_focal/cli/startup"), behind, str(tmp_path)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), **environment}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    return start


def test_a_child_of_a_child(python, tmp_path):
    """When ppdet is whole, and not before."""
    result = python("start.py", str(tmp_path / "tools"))
    assert (result.stdout, result.stderr, result.returncode) == ("['stock', ('replaced', None)]\n", "", 0)


def test_only_what_is_named(python):
    result = python("tools/train.py", PADDLE_FOCAL_REPLACE="PPYOLOEHead,FocalLoss")
    assert result.stdout == "['stock', ('replaced', ['PPYOLOEHead', 'FocalLoss'])]\n"


def test_the_plugin_may_come_first(python):
    code = f"import paddle_focal.detection\n{TRAIN}"
    assert python("-c", code).stdout == "['stock', ('replaced', None)]\n"


def test_it_is_the_commands_own_paddle_focal(python, tmp_path):
    """Even where another one is installed, or none."""
    (tmp_path / "other/paddle_focal").mkdir(parents=True)
    (tmp_path / "other/paddle_focal/__init__.py").write_text("")
    result = python("-c", "import paddle_focal; print(paddle_focal.__file__)", behind=str(tmp_path / "other"))
    assert result.stdout == f"{tmp_path}/paddle_focal/__init__.py\n"


def test_without_ppdet_nothing_happens(python, tmp_path):
    code = "import sys; print([name for name in sys.modules if name.startswith('paddle')], sys.path[1])"
    assert python("-c", code).stdout == f"[] {tmp_path}\n"


def test_no_training_with_stock_losses(python, tmp_path):
    (tmp_path / "paddle_focal/detection/registration.py").write_text("raise ValueError('in words')")
    result = python("start.py", str(tmp_path / "tools"))
    assert (result.stdout, result.returncode) == ("", 1)
    said = f"PaddleDetection's losses cannot be replaced in {sys.executable}: in words"
    assert result.stderr.splitlines()[-1] == f"ImportError: paddle-focal run: {said}"
    again = "try:\n    import ppdet\nexcept ImportError:\n    pass\nimport ppdet.core.workspace"
    assert python("-c", again).returncode == 1


def test_the_sitecustomize_behind_it(python, tmp_path):
    (tmp_path / "behind").mkdir()
    (tmp_path / "behind/sitecustomize.py").write_text("import sys\nprint(sys.modules[__name__].__file__)")
    result = python("tools/train.py", behind=str(tmp_path / "behind"))
    assert result.stdout == f"{tmp_path}/behind/sitecustomize.py\n['stock', ('replaced', None)]\n"


@pytest.fixture
def started(monkeypatch):
    """What the process becomes, and the signals that have their default before."""
    seen = []
    monkeypatch.setattr(run.signal, "signal", lambda number, handler: seen.append((number, handler)))
    monkeypatch.setattr(run.os, "execvpe", lambda *given: seen.append(given))
    return seen


@pytest.mark.parametrize(
    ("flags", "names", "before", "path"),
    [
        ([], {}, {}, str(run.STARTUP)),
        (["--"], {}, {"PYTHONPATH": ""}, str(run.STARTUP)),
        (["--names", "A,B"], {"PADDLE_FOCAL_REPLACE": "A,B"}, {"PYTHONPATH": "/a:/b"}, f"{run.STARTUP}:/a:/b"),
    ],
)
def test_what_the_process_becomes(started, monkeypatch, flags, names, before, path):
    """With the environment from before Paddle was imported."""
    monkeypatch.setattr(run, "ENVIRONMENT", {"HOME": "/h", **before})
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run.main([*flags, "python", "tools/train.py", "-c", "a.yml", "--names"])
    program = ("python", ["python", "tools/train.py", "-c", "a.yml", "--names"])
    ignored = [(signal.SIGPIPE, signal.SIG_DFL), (signal.SIGXFSZ, signal.SIG_DFL)]
    assert started == [*ignored, (*program, {"HOME": "/h", "PYTHONPATH": path, **names})]


@pytest.mark.parametrize(
    ("program", "status", "said"), [("none/such", 127, "No such file or directory"), (".", 126, "Permission denied")]
)
def test_programs_that_cannot_be_run(monkeypatch, capsys, program, status, said):
    monkeypatch.setattr(run.signal, "signal", lambda *_: None)
    assert run.main([program, "-c"]) == status
    assert capsys.readouterr() == ("", f"paddle-focal run: {program}: {said}\n")


def test_no_program(capsys):
    with pytest.raises(SystemExit) as end:
        run.main(["--names", "A"])
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith("error: there is no COMMAND\n")


@pytest.mark.slow
def test_with_ppdet_itself(tmp_path):
    """The command from a folder of its own, a starter, and a tools/train.py that makes what its configuration says."""
    pytest.importorskip("ppdet")
    (tmp_path / "start.py").write_text(STARTER)
    (tmp_path / "config.yml").write_text("PPYOLOEHead: {fpn_strides: [32], gamma: 1.5}")
    (tmp_path / "train.py").write_text(
        "from ppdet.core.workspace import create, load_config\n"
        "from ppdet.modeling.shape_spec import ShapeSpec\n"
        "load_config('config.yml')\n"
        "head = create('PPYOLOEHead', input_shape=[ShapeSpec(channels=8, stride=32)])\n"
        "print(type(head).__name__, type(head).__module__, head.loss_class.gamma)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-m", "paddle_focal", "run"]

    def start(*program: str) -> subprocess.CompletedProcess:
        return subprocess.run([*command, *program], cwd=tmp_path, env=environment, capture_output=True, text=True)

    said = "Focal losses of paddle_focal in .*PPYOLOEHead"
    result = start(sys.executable, "start.py", ".")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "PPYOLOEHead paddle_focal.detection.replaced 1.5"
    assert re.search(said, result.stdout)
    assert start("sh", "-c", "kill -INT $$").returncode == -signal.SIGINT
    result = start(sys.executable, "-c", "import paddle_focal.detection")
    assert re.search(said, result.stdout)
