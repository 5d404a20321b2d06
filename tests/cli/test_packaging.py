"""What an installed package has: commands, and configurations by name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("ppdet")

import paddle_focal
from paddle_focal import configurations
from paddle_focal.cli import main as command
from paddle_focal.errors import ToolError

ROOT = Path(__file__).resolve().parents[2]
NAME = "retinanet_r18_fpn_digits"


def test_configurations_by_name(tmp_path, monkeypatch):
    assert configurations.find(NAME) == str(ROOT / "configs" / f"{NAME}.yml")
    monkeypatch.chdir(tmp_path)
    Path(NAME).touch()  # what lies there comes first
    assert configurations.find(NAME) == NAME
    assert configurations.find("fcos_digits.yml") == str(ROOT / "configs/fcos_digits.yml")
    listed = "paddle-focal configs lists those that there are by name"
    for name, hint in (("missing.yml", ""), ("fcos_digit", "Did you mean fcos_digits? ")):
        with pytest.raises(ToolError) as error:
            configurations.find(name)
        assert str(error.value) == f"no such configuration file: {name}. {hint}{listed}"


def test_commands(capsys):
    assert command.main(["--help"]) == 0
    usage = capsys.readouterr().out
    tools = {path.stem.replace("_", "-") for path in (ROOT / "tools").glob("*.py")}
    assert set(command.COMMANDS) >= tools - {"export-model"} | {"export"}
    assert all(f"  {name} " in usage for name in command.COMMANDS)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "sys.modules['paddle'] = None",
            "paddle_focal needs Paddle .*paddle.*, which does not come along.* `pip install paddlepaddle`",
        ),
        (
            "sys.modules['paddle'] = types.SimpleNamespace(__version__='2.5.2')",
            "paddle_focal needs Paddle 2.6 or later, but this is 2.5.2.",
        ),
    ],
)
def test_without_paddle(code, message):
    code = f"import sys, types; {code}; import paddle_focal.losses"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert re.search(f"^ImportError: {message}", result.stderr, re.MULTILINE), result.stderr


@pytest.mark.parametrize(
    ("paddle", "said"),
    [
        ("import sys, warnings; warnings.warn('no ccache'); sys.exit('after zlib: ' + str('zlib' in sys.modules))",
         "after zlib: True"),
        ("import nothing", "ModuleNotFoundError: No module named 'nothing'"),
    ],
)  # fmt: skip
def test_how_paddle_is_imported(tmp_path, paddle, said):
    """After zlib and without its warnings; what it lacks itself is not said to be Paddle."""
    (tmp_path / "paddle.py").write_text(paddle)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-c", "import paddle_focal.losses"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.stderr.splitlines()[-1] == said
    assert "ccache" not in result.stderr


@pytest.fixture
def source(tmp_path) -> Path:
    """The files of the checkout, in a folder of their own."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if files.returncode:
        pytest.skip("this is no checkout")
    for name in files.stdout.splitlines():
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "source" / name)
    return tmp_path / "source"


@pytest.mark.slow
def test_wheel_and_sdist(source, tmp_path):
    """The wheel in a folder of its own serves the commands there; the sdist has all that the tests need."""
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    environment = {**os.environ, "PADDLE_FOCAL_BUILD": "0"}
    for build in ("sdist", "bdist_wheel"):
        subprocess.run(
            [sys.executable, "-W", "ignore", "setup.py", "-q", build, "-d", tmp_path / "dist"],
            cwd=source, env=environment, check=True, capture_output=True,
        )  # fmt: skip
    (archive,) = (tmp_path / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        packed = {name.partition("/")[2] for name in sdist.getnames()}
    assert packed >= {name for name in files if not name.startswith(".")}
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert wheel.name == f"paddle_focal-{paddle_focal.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as built:
        built.extractall(tmp_path / "installed")
    assert (tmp_path / "installed/paddle_focal/cli/startup/sitecustomize.py").exists()
    assert (tmp_path / "installed/paddle_focal/py.typed").exists()
    environment["PYTHONPATH"] = str(tmp_path / "installed")
    run = [sys.executable, "-W", "ignore", "-m", "paddle_focal"]
    digits = ["make-digits", "--train-images", "40", "--val-images", "10"]
    for arguments in (digits, ["check-data", "-c", NAME]):
        result = subprocess.run(
            [*run, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
        )
        assert result.returncode == 0, result.stdout + result.stderr
    assert "No errors, 0 warnings" in result.stdout


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++"), reason="there is no C++ compiler")
def test_wheel_with_the_library(source, tmp_path):
    """One file serves every Paddle and every Python that is here, without a compiler."""
    platform = f"manylinux_2_17_{os.uname().machine}"
    command = [sys.executable, "-W", "ignore", "setup.py", "-q", "bdist_wheel", "--plat-name", platform, "-d", tmp_path]
    environment = {**os.environ, "PADDLE_FOCAL_BUILD": "1", "PADDLE_FOCAL_CUDA": "0"}
    subprocess.run(command, cwd=source, env=environment, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"paddle_focal-{paddle_focal.__version__}-py3-none-{platform}.whl"
    with zipfile.ZipFile(wheel) as built:
        built.extractall(tmp_path / "installed")
    code = (
        "import paddle, paddle_focal; print(paddle_focal.__file__); print(paddle_focal.backend_report());"
        "logit = paddle.to_tensor([[0.97, 0.91, 0.03], [0.55, 0.43, 0.71]], stop_gradient=False);"
        "loss = paddle_focal.sigmoid_focal_loss(logit, paddle.to_tensor([0, 1]), normalizer=2.0, backend='native');"
        "loss.backward(); print(round(float(loss), 6), round(float(logit.grad[0, 0]), 6))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "PATH": "/none"}
    pythons = [Path(sys.executable), ROOT / ".venv-paddle2.6/bin/python"]
    for python in filter(Path.exists, pythons):
        result = subprocess.run([python, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        place, _, report, *_, numbers = result.stdout.splitlines()
        assert place.startswith(str(tmp_path))
        assert report.startswith("cpu: native (")
        assert numbers == "0.657825 -0.006999"
