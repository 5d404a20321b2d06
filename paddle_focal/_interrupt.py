"""Lets Ctrl-C end a command without a traceback, also while Paddle and ppdet are imported, which takes seconds."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

TOOLS = Path(__file__).resolve().parents[1] / "tools"


def is_command(program: str) -> bool:
    """Whether the process is one of this package's commands, and not a program that uses the package."""
    path = Path(program)
    return program == "-m" or path.name == "paddle-focal" or path.resolve().parent == TOOLS


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """A context in which Ctrl-C ends a command at once.

    It is for imports: extension modules make an ImportError of the KeyboardInterrupt that comes to them.
    """
    is_ours = (
        sys.excepthook is end_quietly
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if is_ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def end_quietly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """In place of ``sys.excepthook``; Python still ends the process by SIGINT, as shells and launchers expect."""
    if issubclass(kind, KeyboardInterrupt):
        print("Interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.argv and is_command(sys.argv[0]):
    sys.excepthook = end_quietly
