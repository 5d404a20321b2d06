"""The command ``paddle-focal``: what ``tools/`` does, from an installed package."""

from __future__ import annotations

import importlib
import os
import sys
import warnings

from paddle_focal.ops import backend_report

#: For each command, the module whose ``main`` takes the rest of the command line, and what the command does.
COMMANDS = {
    "train": ("paddle_focal.cli.train", "train a detector, with PaddleDetection's flags"),
    "eval": ("paddle_focal.cli.evaluate", "evaluate a checkpoint, with PaddleDetection's flags"),
    "check-data": ("paddle_focal.cli.check_data", "say everything that is wrong with a data set"),
    "convert": ("paddle_focal.cli.convert", "make COCO JSON of VOC, YOLO or LabelMe annotations"),
    "infer": ("paddle_focal.cli.infer", "detect objects in images, with PaddleDetection's flags"),
    "export": ("paddle_focal.cli.export", "write a checkpoint for paddle.inference"),
    "analyze": ("paddle_focal.cli.analyze", "show what focal loss does to a model and its data"),
    "class-alpha": ("paddle_focal.cli.class_alpha", "compute alpha of each class from its frequency"),
    "make-digits": ("paddle_focal.cli.make_digits", "compose the demo's data set of handwritten digits"),
    "coverage": ("paddle_focal.cli.coverage", "say which configurations of PaddleDetection are served"),
    "run": ("paddle_focal.cli.run", "run a program with PaddleDetection's focal losses replaced"),
    "benchmark": ("paddle_focal.benchmarks.__main__", "measure the losses beside what they replace"),
    "doctor": ("paddle_focal.cli.doctor", "check the installation, for a bug report"),
    "build": ("paddle_focal.build", "compile the native library"),
}


def usage() -> str:
    lines = [f"  {name:12}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        ["usage: paddle-focal COMMAND ...", "", *lines, "", "Without a command: which backend serves, and why."]
    )


def main(arguments: list[str] | None = None) -> int | None:
    """Run a command and return its exit code. None stands for the arguments in ``sys.argv``."""
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
    # Deprecation warnings from Paddle and from ppdet's dependencies are of no use to the user of a command.
    warnings.filterwarnings("ignore")
    os.environ.setdefault("GLOG_minloglevel", "2")
    sys.argv = [f"paddle-focal {command}", *rest]
    module = importlib.import_module(COMMANDS[command][0])
    return module.main(rest)
