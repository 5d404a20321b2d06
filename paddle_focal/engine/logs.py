"""What the tools log: on the terminal, and in a file."""

from __future__ import annotations

import logging
from pathlib import Path

from ppdet.utils.logger import setup_logger
from pycocotools import coco

logger = setup_logger("paddle_focal")
for _handler in logger.handlers:
    _handler.addFilter(lambda record: record.levelno < logging.ERROR)
_errors = logging.StreamHandler()  # to standard error
_errors.setLevel(logging.ERROR if logger.handlers else logging.WARNING)  # ppdet gives handlers to the first rank only
_errors.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
logger.addHandler(_errors)
coco.print = lambda *_: None  # that it reads annotations, in four lines each time
setup_logger("ppdet.engine.callbacks")  # ppdet's develop branch makes it with a callback, too late for log_to_file


def log_to_file(path: Path) -> None:
    """Append what ppdet and paddle_focal log to a file, in plain lines."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s"))
    for name in _logger_names():
        logging.getLogger(name).addHandler(handler)


def be_quiet() -> None:
    """Let only warnings, errors and results through to the terminal."""
    for handler in console_handlers():
        handler.addFilter(_is_wanted)


def is_quiet() -> bool:
    return any(_is_wanted in handler.filters for handler in console_handlers())


def _is_wanted(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or hasattr(record, "is_result")


def file() -> Path | None:
    """The file that :func:`log_to_file` writes; None without one."""
    return next((Path(one.baseFilename) for one in logger.handlers if type(one) is logging.FileHandler), None)


def console_handlers() -> list[logging.StreamHandler]:
    """The handlers of ppdet and paddle_focal that write to the terminal."""
    handlers = [handler for name in _logger_names() for handler in logging.getLogger(name).handlers]
    return [handler for handler in handlers if type(handler) is logging.StreamHandler]


def _logger_names() -> list[str]:
    # ppdet's loggers do not propagate: each has handlers of its own.
    return [
        name
        for name, entry in logging.root.manager.loggerDict.items()
        if name.partition(".")[0] in ("ppdet", "paddle_focal") and isinstance(entry, logging.Logger) and entry.handlers
    ]
