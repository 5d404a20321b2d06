from __future__ import annotations

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


def test_the_handlers_of_the_terminal(tmp_path):
    before = logs.console_handlers()
    assert logs.logger.handlers[0] in before
    logs.log_to_file(tmp_path / "train.log")
    assert logs.console_handlers() == before
