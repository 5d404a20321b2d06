"""``paddle-focal run``: run a program with PaddleDetection's focal losses replaced, whatever configuration it reads."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from paddle_focal.cli.arguments import Parser

DESCRIPTION = """Run a program in which every Python that imports PaddleDetection has its focal losses replaced.

Programs that it starts are served as well. Nothing is installed, and no configuration needs a line of its own:

  paddle-focal run python tools/train.py -c configs/ppyoloe/ppyoloe_plus_crn_s_80e_coco.yml

A Python that ignores the environment (-E, -I) or starts without its site module (-S) cannot be reached."""
#: That of the process at its start: Paddle sets OMP_NUM_THREADS and more when it is imported.
ENVIRONMENT = dict(os.environ)
STARTUP = Path(__file__).resolve().parent / "startup"


def make_parser() -> Parser:
    parser = Parser(description=DESCRIPTION)
    parser.add_argument("--names", metavar="A,B", help="components to replace (default: all that can be)")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="program and its arguments")
    return parser


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.command[:1] == ["--"]:
        del options.command[0]
    if not options.command:
        parser.error("there is no COMMAND")
    return options


def environment_of(options: argparse.Namespace) -> dict[str, str]:
    """That of this process at its start, with the folder ``startup`` first on Python's path."""
    path = [str(STARTUP), *filter(None, [ENVIRONMENT.get("PYTHONPATH")])]
    environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(path)}
    if options.names:
        environment["PADDLE_FOCAL_REPLACE"] = options.names
    return environment


def main(arguments: list[str] | None = None) -> int:
    """Become the program. Returns an exit status only if there is none: 127, or 126 if it cannot be run."""
    options = parse_arguments(arguments)
    program, environment = options.command[0], environment_of(options)
    for name in ("SIGPIPE", "SIGXFSZ"):  # which Python ignores, and a program would inherit that
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execvpe(program, options.command, environment)
    except OSError as error:
        print(f"paddle-focal run: {program}: {error.strerror}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126
