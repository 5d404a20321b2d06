# PYTHON_ARGCOMPLETE_OK
"""The command ``paddle-focal``: what ``tools/`` does, from an installed package."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import warnings

import paddle_focal
from paddle_focal.cli.arguments import Parser

#: For each command, its module, which has a ``make_parser`` and a ``main``, and what it does.
COMMANDS = {
    "configs": ("paddle_focal.cli.configs", "list the configurations that come with the package"),
    "init": ("paddle_focal.cli.init", "begin a configuration for your own data"),
    "train": ("paddle_focal.cli.train", "train a detector, with PaddleDetection's options"),
    "eval": ("paddle_focal.cli.evaluate", "evaluate a checkpoint, with PaddleDetection's options"),
    "infer": ("paddle_focal.cli.infer", "detect objects in images, with PaddleDetection's options"),
    "export": ("paddle_focal.cli.export", "write a checkpoint for paddle.inference or ONNX Runtime"),
    "analyze": ("paddle_focal.cli.analyze", "show what focal loss does to a model and its data"),
    "check-data": ("paddle_focal.cli.check_data", "report everything that is wrong with a data set"),
    "convert": ("paddle_focal.cli.convert", "make COCO JSON from VOC, YOLO or LabelMe annotations"),
    "class-alpha": ("paddle_focal.cli.class_alpha", "compute alpha of each class from its frequency"),
    "make-digits": ("paddle_focal.cli.make_digits", "compose the demo's data set of handwritten digits"),
    "run": ("paddle_focal.cli.run", "run a program with PaddleDetection's focal losses replaced"),
    "coverage": ("paddle_focal.cli.coverage", "say which configurations of PaddleDetection are served"),
    "backend": ("paddle_focal.cli.backend", "say which backend computes the losses, and why"),
    "doctor": ("paddle_focal.cli.doctor", "check the installation, for a bug report"),
    "build": ("paddle_focal.build", "compile the native library"),
    "benchmark": ("paddle_focal.benchmarks.__main__", "measure the losses beside what they replace"),
}
#: The commands under their headings, in the order of the help.
GROUPS = {
    "Detectors": ("configs", "init", "train", "eval", "infer", "export", "analyze"),
    "Data": ("check-data", "convert", "class-alpha", "make-digits"),
    "PaddleDetection's own tools and configurations": ("run", "coverage"),
    "This installation": ("backend", "doctor", "build", "benchmark"),
}


def usage() -> str:
    lines = ["usage: paddle-focal COMMAND ..."]
    for heading, names in GROUPS.items():
        lines += ["", f"{heading}:", *(f"  {name:12}{COMMANDS[name][1]}" for name in names)]
    return "\n".join(
        [
            *lines,
            "",
            "paddle-focal COMMAND --help says more; --version says which one this is.",
            'eval "$(register-python-argcomplete paddle-focal)" completes commands and options, with argcomplete.',
        ]
    )


def main(arguments: list[str] | None = None) -> int | None:
    """Run a command and return its exit code. None stands for the arguments in ``sys.argv``."""
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    arguments = sys.argv[1:] if arguments is None else arguments
    command, *rest = arguments or ["--help"]
    if command in ("-h", "--help", "help"):
        print(usage())
        return 0
    if command == "--version":
        print(f"paddle_focal {paddle_focal.__version__}")
        return 0
    if command not in COMMANDS:
        close = difflib.get_close_matches(command.replace("_", "-"), COMMANDS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        print(f"usage: paddle-focal --help\npaddle-focal: there is no command {command!r}.{hint}", file=sys.stderr)
        return 2
    sys.argv = [f"paddle-focal {command}", *rest]
    return start(command, rest)


def start(command: str, arguments: list[str] | None = None) -> int | None:
    """Run a command under the name in ``sys.argv``, as the files in ``tools/`` do."""
    module = importlib.import_module(COMMANDS[command][0])
    # Deprecation warnings from Paddle and from ppdet's dependencies are of no use to the user of a command.
    warnings.filterwarnings("ignore")
    os.environ.setdefault("GLOG_minloglevel", "2")
    return module.main(arguments)


def _complete() -> None:
    """Answer a shell that asks for completions, and end; for that all commands are one parser."""
    import argcomplete

    parser = Parser(prog="paddle-focal")
    parser.add_argument("--version", action="store_true")
    commands = parser.add_subparsers()
    for name, (module, text) in COMMANDS.items():
        own = importlib.import_module(module).make_parser()
        commands.add_parser(name, parents=[own], add_help=False, help=text)
    argcomplete.autocomplete(parser)
