from __future__ import annotations

import io
import logging
import re

import pytest

pytest.importorskip("ppdet")

from paddle_focal.engine import logs


@pytest.fixture(autouse=True)
def handlers_as_before():
    kept = {name: list(logging.getLogger(name).handlers) for name in logs._logger_names()}
    yield
    for name, handlers in kept.items():
        logging.getLogger(name).handlers[:] = handlers


def test_a_log_file_has_what_ppdet_and_the_tools_say(tmp_path):
    path = tmp_path / "train.log"
    path.write_text("of a run before\n")
    logs.log_to_file(path)
    names = ["ppdet.engine", "ppdet.engine.callbacks", "paddle_focal"]
    for name in names:
        assert name in logs._logger_names(), name
        logging.getLogger(name).warning("said by %s", name)
    logging.getLogger("another.package").warning("nothing of ours")
    first, *lines = path.read_text().splitlines()
    assert first == "of a run before"
    assert len(lines) == len(names)
    for name, line in zip(names, lines):
        assert re.fullmatch(rf"\[\d{{4}}-\d\d-\d\d [\d:,]+\] {name} WARNING: said by {name}", line)


@pytest.fixture
def terminal():
    """What goes to standard output and to standard error."""
    kept = {handler: (handler.stream, list(handler.filters)) for handler in logs.console_handlers()}
    streams = io.StringIO(), io.StringIO()
    for handler in kept:
        handler.setStream(streams[handler is logs._errors])
    yield streams
    for handler, (stream, filters) in kept.items():
        handler.setStream(stream)
        handler.filters[:] = filters


def test_errors_go_to_standard_error_and_all_else_to_standard_output(terminal):
    logs.logger.info("said")
    logs.logger.warning("warned")
    logs.logger.error("wrong")
    output, errors = (stream.getvalue() for stream in terminal)
    assert [line.partition("] ")[2] for line in output.splitlines()] == [
        "paddle_focal INFO: said",
        "paddle_focal WARNING: warned",
    ]
    assert errors == "ERROR: wrong\n"


def test_a_quiet_command_says_what_is_wrong_and_what_comes_out(terminal):
    assert not logs.is_quiet()
    logs.be_quiet()
    assert logs.is_quiet()
    logs.logger.info("said")
    logs.logger.info("a result", extra={"is_result": True})
    logs.logger.warning("warned")
    logging.getLogger("ppdet.engine").info("said")
    output, errors = (stream.getvalue() for stream in terminal)
    assert [line.rpartition(": ")[2] for line in output.splitlines()] == ["a result", "warned"]
    assert errors == ""


def test_the_handlers_of_the_terminal(tmp_path):
    before = logs.console_handlers()
    assert logs.logger.handlers[0] in before
    logs.log_to_file(tmp_path / "train.log")
    assert logs.console_handlers() == before
