"""The command ``paddle-focal``, or ``python -m paddle_focal``: what ``tools/`` does, from an installed package."""

from __future__ import annotations

import importlib
import os
import sys
import warnings

from paddle_focal.ops import backend_report

#: The module of each command, whose ``main`` takes the rest of the command line, and what it does.
COMMANDS = {
    "train": ("paddle_focal.engine.training", "train a detector, with PaddleDetection's flags"),
    "eval": ("paddle_focal.engine.evaluation", "evaluate a checkpoint, with PaddleDetection's flags"),
    "check-data": ("paddle_focal.data.checks.preflight", "say everything that is wrong with a data set"),
    "infer": ("paddle_focal.engine.inference", "detect objects in images, with PaddleDetection's flags"),
    "export": ("paddle_focal.engine.export", "write a checkpoint for paddle.inference"),
    "analyze": ("paddle_focal.analysis.analyze", "show what focal loss does to a model and its data"),
    "make-digits": ("paddle_focal.data.digits", "compose the demo's data set of handwritten digits"),
    "benchmark": ("paddle_focal.benchmarks.__main__", "measure the losses beside what they replace"),
    "doctor": ("paddle_focal.cli.doctor", "check the installation, for a bug report"),
    "build": ("paddle_focal.build", "compile the native operator for the Paddle that is installed"),
}


def usage() -> str:
    lines = [f"  {name:12}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        ["usage: paddle-focal COMMAND ...", "", *lines, "", "Without a command: which backend serves, and why."]
    )


def main(arguments: list[str] | None = None) -> int | None:
    """Run a command; None is what stands in ``sys.argv``. Returns its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        print(backend_report())
        return 0
    command, *rest = arguments
    if command in ("-h", "--help"):
        print(usage())
        return 0
    if command not in COMMANDS:
        print(f"{usage()}\n\npaddle-focal: there is no command {command!r}", file=sys.stderr)
        return 2
    # What Paddle and ppdet's dependencies say about their own deprecations helps nobody who trains.
    warnings.filterwarnings("ignore")
    os.environ.setdefault("GLOG_minloglevel", "2")
    sys.argv = [f"paddle-focal {command}", *rest]
    module = importlib.import_module(COMMANDS[command][0])
    return module.main() if command == "build" else module.main(rest)


if __name__ == "__main__":
    sys.exit(main())
