"""How a tool ends that cannot go on: one sentence on the terminal, and the traceback in a file."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("ppdet")

from ppdet.core import workspace
from ppdet.data.source.voc import VOCDataSet
from ppdet.data.transform.operators import Permute
from small_runs import SmallRuns

from paddle_focal import _interrupt
from paddle_focal.cli.arguments import ending_in_words
from paddle_focal.data.checks import preflight
from paddle_focal.engine import logs, mistakes
from paddle_focal.errors import ToolError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(workspace_copy, tmp_path):
    """The output folder of the configuration that is loaded."""
    workspace.global_config.update(save_dir=str(tmp_path / "output"), filename="run")
    return tmp_path / "output/run"


@ending_in_words()
def tool(error: BaseException) -> None:
    raise error


def last_words(caplog, error: BaseException) -> str:
    with pytest.raises(SystemExit) as end:
        tool(error)
    assert end.value.code == 1
    return caplog.messages[-1]


def test_an_error_in_words_is_all(folder, caplog):
    assert last_words(caplog, ToolError("no such file")) == "no such file"
    assert not folder.exists()


def test_any_other_exception(folder, caplog):
    assert last_words(caplog, ValueError("a\n  b")) == (
        "ValueError: a b. If that does not say what to change, please report it with the traceback in "
        f"{folder}/error.log and what paddle-focal doctor prints."
    )
    last_words(caplog, KeyError("c"))
    text = (folder / "error.log").read_text()
    assert text.index("ValueError: a\n  b") < text.index("KeyError: 'c'")
    assert text.count("Traceback (most recent call last)") == 2


def test_the_log_of_the_tool_takes_the_traceback(small_runs: SmallRuns, monkeypatch, caplog):
    def fail(*_):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(preflight, "check_data", fail)
    with pytest.raises(SystemExit):
        small_runs.train()
    log = small_runs.folder / "train.log"
    assert caplog.messages[-1].startswith("ZeroDivisionError: division by zero. If that does not say what to change")
    assert f"the traceback in {log} and what" in caplog.messages[-1]
    assert "in fail\n    raise ZeroDivisionError" in log.read_text()
    assert not (small_runs.folder / "error.log").exists()
    assert logs.file() is None


@pytest.mark.parametrize("workers", [0, 1])
def test_the_log_takes_the_traceback_of_what_fails_while_data_is_read(
    small_runs: SmallRuns, monkeypatch, caplog, workers
):
    def of_mine(*_):
        raise ZeroDivisionError("of mine")

    monkeypatch.setattr(Permute, "apply", of_mine)
    with pytest.raises(SystemExit):
        small_runs.train(f"worker_num={workers}")
    log = small_runs.folder / "train.log"
    assert caplog.messages[-1].startswith(f"The transform Permute failed on {small_runs.data}/train/")
    assert caplog.messages[-1].endswith(f"\nThere is no complete checkpoint yet.\nFor more see the traceback in {log}")
    assert 'in of_mine\n    raise ZeroDivisionError("of mine")\nZeroDivisionError: of mine\n' in log.read_text()
    assert log.read_text().count("Traceback (most recent call last)") == 1


def test_before_there_is_an_output_folder(workspace_copy, tmp_path, monkeypatch, caplog):
    for name in ("save_dir", "filename"):
        workspace_copy.pop(name, None)
    monkeypatch.chdir(tmp_path)
    assert "the traceback in error.log" in last_words(caplog, ValueError())
    assert "Traceback" in (tmp_path / "error.log").read_text()


def test_where_nothing_can_be_written(folder, caplog, capsys):
    folder.parent.write_bytes(b"")  # in place of the folder
    assert "please report it with the lines above" in last_words(caplog, ValueError("a"))
    assert "in tool\n    raise error\nValueError: a" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_what_ends_a_process_is_left_alone(folder, error):
    with pytest.raises(type(error)) as end:
        tool(error)
    assert end.value is error


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("", "ValueError"),
        ("C++ Traceback:\n0 x\n---\nError Message Summary:\n----------\nOut of memory\n", "ValueError: Out of memory"),
        ("x" * 500, f"ValueError: {'x' * 400} ..."),
    ],
)
def test_one_line(message, line):
    assert mistakes.in_one_line(ValueError(message)) == line


OBJECT = "<object><name>{}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
XML = "<annotation><size><width>20</width><height>20</height></size>{}</annotation>"


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        (
            XML.format(OBJECT.format("dog")),
            "2.xml has the class 'dog', which is not among cat, cow ({}/labels.txt)",
        ),
        (
            XML[:30],
            "2.xml is no annotation file as PASCAL VOC has them: ParseError: unclosed token: line 1, column 27",
        ),
        (
            "<annotation/>",
            "2.xml is no annotation file as PASCAL VOC has them: AttributeError: 'NoneType' object has no attribute "
            "'find'",
        ),
    ],
)
def test_annotations_of_pascal_voc(folder, tmp_path, caplog, xml, words):
    (tmp_path / "labels.txt").write_text("cat\ncow\n")
    (tmp_path / "1.xml").write_text(XML.format(OBJECT.format("cow")))
    (tmp_path / "2.xml").write_text(xml)
    for name in ("1.png", "2.png"):
        (tmp_path / name).touch()
    (tmp_path / "all.txt").write_text("1.png 1.xml\n2.png 2.xml\n")
    dataset = VOCDataSet(str(tmp_path), "", "all.txt", label_list="labels.txt")
    with pytest.raises(SystemExit), ending_in_words():
        dataset.parse_dataset()
    assert caplog.messages[-1] == f"{tmp_path}/{words.format(tmp_path)}"
    assert not folder.exists()


@pytest.mark.parametrize("text", ["1.png\n", "\n", "1.png 1.xml\n\n"])
def test_lists_of_pascal_voc(folder, tmp_path, caplog, text):
    (tmp_path / "1.xml").write_text(XML.format(OBJECT.format("cow")))
    (tmp_path / "1.png").touch()
    (tmp_path / "all.txt").write_text(text)
    with pytest.raises(SystemExit), ending_in_words():
        VOCDataSet(str(tmp_path), "", "all.txt").parse_dataset()
    assert caplog.messages[-1].startswith(
        f"{tmp_path}/all.txt must name an image and an XML file in each line, but has "
    )


AS_EXTENSIONS_DO = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    raise ImportError
"""


@pytest.mark.parametrize("command", [["tools/train.py"], ["-m", "paddle_focal", "train"]])
@pytest.mark.parametrize(("paddle", "words"), [(AS_EXTENSIONS_DO, ""), ("raise KeyboardInterrupt", "Interrupted\n")])
def test_ctrl_c_while_paddle_is_imported(tmp_path, command, paddle, words):
    (tmp_path / "paddle.py").write_text(paddle)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    result = subprocess.run(
        [sys.executable, *command, "-c", "fcos_digits"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == -signal.SIGINT
    assert (result.stdout, result.stderr) == ("", words)


def test_commands_are_imported_without_a_word():
    code = "import paddle_focal.cli.train, paddle_focal.cli.infer"
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")


def test_imports_leave_ctrl_c_as_it_was(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", _interrupt.end_quietly)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with _interrupt.at_once():
            assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with pytest.raises(ImportError), _interrupt.at_once():
            raise ImportError
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup
        with _interrupt.at_once():
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        monkeypatch.undo()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with _interrupt.at_once():  # in a program that uses the package
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_while_data_is_checked(small_runs: SmallRuns, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(preflight, "check_data", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small_runs.train()


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/usr/bin/paddle-focal", True),
        (str(ROOT / "tools/train.py"), True),
        ("-m", True),
        ("mine.py", False),
        ("", False),
    ],
)
def test_only_commands_are_ended_quietly(program, expected):
    assert _interrupt.is_command(program) == expected
    assert sys.excepthook is not _interrupt.end_quietly


def test_other_exceptions_have_a_traceback(capsys):
    _interrupt.end_quietly(ValueError, ValueError("a"), None)
    assert capsys.readouterr().err == "ValueError: a\n"
    try:
        raise ValueError("b")
    except ValueError as error:
        _interrupt.end_quietly(ValueError, error, error.__traceback__)
    assert capsys.readouterr().err.startswith(f'Traceback (most recent call last):\n  File "{__file__}", line ')


@pytest.mark.parametrize(("arguments", "is_ours"), [(["-m"], True), (["mine.py"], False), ([], False)])
def test_programs_keep_their_hook(monkeypatch, arguments, is_ours):
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    specification = importlib.util.spec_from_file_location("another", _interrupt.__file__)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert (sys.excepthook is module.end_quietly) is is_ours


def test_other_threads_leave_ctrl_c_alone(monkeypatch):
    """Only the main one may set a handler."""
    monkeypatch.setattr(sys, "excepthook", _interrupt.end_quietly)
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.default_int_handler)
    failures = []

    def import_something():
        try:
            with _interrupt.at_once():
                pass
        except ValueError as error:
            failures.append(error)

    thread = threading.Thread(target=import_something)
    thread.start()
    thread.join()
    assert failures == []


def test_a_ctrl_c_in_words(capsys):
    class OfAnExtension(KeyboardInterrupt):
        pass

    _interrupt.end_quietly(OfAnExtension, OfAnExtension(), None)
    assert capsys.readouterr() == ("", "Interrupted\n")
