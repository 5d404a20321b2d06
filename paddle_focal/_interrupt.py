"""Lets Ctrl-C end a command without a traceback; to be imported before Paddle, which takes seconds."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

TOOLS = Path(__file__).resolve().parents[1] / "tools"


def is_command(program: str) -> bool:
    """Whether the process is one of this package's commands, and not a program that uses the package."""
    path = Path(program)
    return program == "-m" or path.name == "paddle-focal" or path.resolve().parent == TOOLS


def end_quietly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """In place of ``sys.excepthook``; Python still ends the process by SIGINT, as shells and launchers expect."""
    if issubclass(kind, KeyboardInterrupt):
        print("Interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.argv and is_command(sys.argv[0]):
    sys.excepthook = end_quietly
