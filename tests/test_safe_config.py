from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ppdet")

from paddle_focal.cli import train as training
from paddle_focal.errors import ToolError
from paddle_focal.safe_config import check_config, check_option

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = "paddle_focal: !!python/object/apply:paddle_focal.detection.register []\n"


def config(folder: Path, text: str, name: str = "config.yml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yml")), ids=lambda path: path.stem)
def test_our_own(path):
    check_config(str(path))


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['touch harmed']",
        "a: {b: [1, !!python/name:os.system ]}",
        "? !!python/object/new:os.system ['true']\n: 1",
        "a: &x !!python/module:os\nb: *x",
        "a: !!python/object/apply:paddle_focal.detection.register [1]",
        "a: !!python/object/apply:paddle_focal.detection.registration.register []",
    ],
)
def test_code_is_refused(tmp_path, text):
    path = config(tmp_path, PLUGIN + text)
    with pytest.raises(ToolError, match=r"config.yml, line \d: the tag !!python/.* would run Python.*--trust-config"):
        check_config(path)


def test_code_in_a_base_is_refused(tmp_path):
    (tmp_path / "base").mkdir()
    config(tmp_path / "base", "_BASE_: ['../config.yml']\na: !!python/name:os.system", "b.yml")  # a circle, too
    with pytest.raises(ToolError, match=r"base/b.yml, line 2"):
        check_config(config(tmp_path, "_BASE_: [base/b.yml]"))


def test_code_in_a_base_of_the_home_folder_is_refused(tmp_path, monkeypatch):
    """PaddleDetection expands the ``~`` of a base."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    config(home, "a: !!python/name:os.system", "b.yml")
    with pytest.raises(ToolError, match=r"home/b.yml, line 1: the tag !!python/name:os.system would run"):
        check_config(config(tmp_path, "_BASE_: ['~/b.yml']"))


def test_every_base_is_looked_at(tmp_path):
    """Also the base of a base, the last of several, and one with a path of its own."""
    (tmp_path / "else").mkdir()
    harmless = config(tmp_path / "else", "a: 1", "harmless.yml")
    config(tmp_path / "else", "_BASE_: [harmless.yml, c.yml]", "b.yml")
    config(tmp_path / "else", "a: !!python/name:os.system", "c.yml")
    with pytest.raises(ToolError, match=r"else/c.yml, line 1"):
        check_config(config(tmp_path, f"_BASE_: ['{harmless}', else/b.yml]"))


def test_what_runs_nothing_is_accepted(tmp_path):
    check_config(config(tmp_path, PLUGIN + "lr: !CosineDecay {max_epochs: 3}\na: &x [1]\nb: *x\n"))
    check_config(config(tmp_path, "a: !!python/name:os.system"), is_trusted=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_BASE_: [none.yml]", r"none.yml, which is a _BASE_ of \S+\.yml, cannot be read: No such file"),
        ("_BASE_: [.]", "cannot be read: Is a directory"),
        ("_BASE_: none.yml", r"must have a list of files as its _BASE_: \[FILE, ...\]"),
        ("_BASE_: [{a: b}]", "must have a list of files"),
        ("_BASE_: [b.yml]", "is based on itself: look at the _BASE_"),
        ("a: [1", "is not valid YAML"),
        ("", "has no sections: it must be lines of KEY: VALUE"),
        ("epoch 12", "has no sections"),
    ],
)
@pytest.mark.parametrize("is_trusted", [False, True])
def test_bad_files(tmp_path, text, message, is_trusted):
    path = config(tmp_path, text)
    config(tmp_path, f"_BASE_: ['../{tmp_path.name}/{Path(path).name}']", "b.yml")
    with pytest.raises(ToolError, match=message):
        check_config(path, is_trusted)


def test_files_of_another_kind(tmp_path):
    path = Path(config(tmp_path, "a: 1"))
    path.write_bytes("a: 中".encode("gbk"))
    with pytest.raises(ToolError, match=r"is no text in UTF-8: 'utf-8' codec can't decode"):
        check_config(str(path))
    with pytest.raises(ToolError, match=r"must end in .yml or .yaml, which \S*/a.txt does not"):
        check_config(config(tmp_path, "a: 1", "a.txt"))


def test_options():
    check_option("a", "!CosineDecay {max_epochs: 3}")
    with pytest.raises(ToolError, match=r"-o a=x, line 1: the tag !!python/name:os.system"):
        check_option("a=x", "!!python/name:os.system")


def test_tools_refuse_and_trust(tmp_path, capsys):
    path = config(tmp_path, "a: !!python/name:os.system")
    with pytest.raises(SystemExit) as end:
        training.parse_arguments(["-c", path])
    assert end.value.code == 2
    assert training.parse_arguments(["-c", path, "--trust-config"]).trust_config


def test_tools_refuse_and_trust_what_slim_adds(tmp_path, capsys):
    arguments = ["-c", "retinanet_r18_fpn_digits", "--slim_config", config(tmp_path, "slim: !!python/name:os.system")]
    with pytest.raises(SystemExit) as end:
        training.parse_arguments(arguments)
    assert end.value.code == 2
    assert "config.yml, line 1: the tag !!python/name:os.system would run" in capsys.readouterr().err
    assert training.parse_arguments([*arguments, "--trust-config"]).slim_config == arguments[-1]


def test_tools_refuse_and_trust_options(capsys):
    arguments = ["-c", "retinanet_r18_fpn_digits", "-o", "epoch=1", "a=!!python/name:os.system"]
    with pytest.raises(SystemExit) as end:
        training.parse_arguments(arguments)
    assert end.value.code == 2
    assert training.parse_arguments([*arguments, "--trust-config"]).opt == {"epoch": 1, "a": os.system}


def test_nothing_runs_before_the_check(tmp_path):
    path = config(tmp_path, f"a: !!python/object/apply:os.system ['touch {tmp_path}/harmed']")
    command = [sys.executable, "-W", "ignore", "tools/eval.py", "-c", path]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert "would run Python code" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "harmed").exists()
