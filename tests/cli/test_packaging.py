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

from paddle_focal.cli import main as command
from paddle_focal.engine import configurations
from paddle_focal.errors import ToolError

ROOT = Path(__file__).resolve().parents[2]
NAME = "retinanet_r18_fpn_digits"


def test_configurations_by_name(tmp_path, monkeypatch):
    assert configurations.find(NAME) == str(ROOT / "configs" / f"{NAME}.yml")
    monkeypatch.chdir(tmp_path)
    Path(NAME).touch()  # what lies there comes first
    assert configurations.find(NAME) == NAME
    names = [path.stem for path in sorted((ROOT / "configs").glob("*.yml"))]
    with pytest.raises(ToolError) as error:
        configurations.find("missing.yml")
    expected = f"no such configuration file: missing.yml. By name there are: {', '.join(names)}"
    assert str(error.value) == expected


def test_commands(capsys):
    assert command.main(["--help"]) == 0
    usage = capsys.readouterr().out
    tools = {path.stem.replace("_", "-") for path in (ROOT / "tools").glob("*.py")}
    assert set(command.COMMANDS) >= tools - {"export-model"} | {"export"}
    assert all(f"  {name} " in usage for name in command.COMMANDS)
    assert command.main(["trian"]) == 2
    assert "there is no command 'trian'" in capsys.readouterr().err


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
    code = f"import sys, types; {code}; import paddle_focal"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert re.search(f"^ImportError: {message}", result.stderr, re.MULTILINE), result.stderr


def test_wheel_and_sdist(tmp_path):
    """The wheel in a folder of its own serves the commands there; the sdist has all that the tests need."""
    source = tmp_path / "source"
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if files.returncode:
        pytest.skip("this is no checkout")
    for name in files.stdout.splitlines():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    environment = {**os.environ, "PADDLE_FOCAL_BUILD": "0"}
    for build in ("sdist", "bdist_wheel"):
        subprocess.run(
            [sys.executable, "-W", "ignore", "setup.py", "-q", build, "-d", tmp_path / "dist"],
            cwd=source, env=environment, check=True, capture_output=True,
        )  # fmt: skip
    (archive,) = (tmp_path / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        packed = {name.partition("/")[2] for name in sdist.getnames()}
    assert packed >= {name for name in files.stdout.splitlines() if not name.startswith(".")}
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as built:
        built.extractall(tmp_path / "installed")
    environment["PYTHONPATH"] = str(tmp_path / "installed")
    run = [sys.executable, "-W", "ignore", "-m", "paddle_focal"]
    digits = ["make-digits", "--train-images", "40", "--val-images", "10"]
    for arguments in (digits, ["check-data", "-c", NAME]):
        result = subprocess.run(
            [*run, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
        )
        assert result.returncode == 0, result.stdout + result.stderr
    assert "No errors, 0 warnings" in result.stdout
