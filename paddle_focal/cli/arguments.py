"""What the command lines share: PaddleDetection's ``-c`` and ``-o``, what is trusted, and errors as messages."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import yaml

from paddle_focal.engine import configurations, logs, mistakes, runtime, safe_config, weights
from paddle_focal.engine.logs import logger
from paddle_focal.errors import ToolError


@contextlib.contextmanager
def ending_in_words() -> Iterator[None]:
    """Logs an exception as one sentence and ends the process with exit code 1, or 2 for a wrong configuration.

    The details of a ToolError, and the traceback of one that is neither a ToolError nor explained by
    :mod:`paddle_focal.engine.mistakes`, go to the log file, or where the tool has none to ``error.log`` in the output
    folder.
    """
    try:
        yield
    except ToolError as error:
        kept = f"\nFor more see {_keep(error.details)}" if error.details else ""
        logger.error("%s%s", error, kept)
        raise SystemExit(error.status) from None
    except Exception as error:
        explained = mistakes.explanation(error)
        if explained is None:
            kept = _keep(mistakes.traceback_of(error))
            explained = (
                f"{mistakes.in_one_line(error)}. If that does not say what to change, please report it with {kept} and "
                "what paddle-focal doctor prints."
            )
        logger.error("%s", explained)
        raise SystemExit(1) from None


def _keep(text: str) -> str:
    """Writes a traceback to a file, and says where."""
    path = logs.file() or runtime.current_output_folder() / "error.log"
    text = f"{datetime.now():%F %T}: {shlex.join(sys.argv)}\n{text}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(text)
    except OSError:  # such as a full disk
        print(text, file=sys.stderr)
        return "the lines above"
    return f"the traceback in {path}"


class ArgumentParser(argparse.ArgumentParser):
    """A parser with PaddleDetection's ``-c`` and ``-o``, which trusts neither unless ``--trust-config`` is given."""

    def __init__(self, description: str) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.add_argument("-c", "--config", required=True, help="configuration file, or the name of a shipped one")
        self.add_argument("-o", "--opt", nargs="*", metavar="KEY=VALUE", help="settings in place of the file's")
        self.add_argument(
            "--trust-config", action="store_true", help="run the Python code that tags of the configuration name"
        )
        self.add_argument(
            "--trust-weights", action="store_true", help="run the Python code that a file of weights names"
        )

    def parse_args(self, arguments: list[str] | None = None) -> argparse.Namespace:
        flags = super().parse_args(arguments)
        with ending_in_words():
            flags.config = configurations.find(flags.config)
            safe_config.check_config(flags.config, flags.trust_config)
            flags.opt = self._parse_opt(flags.opt, flags.trust_config)
        return flags

    def _parse_opt(self, options: list[str] | None, trusted: bool) -> dict[str, Any]:
        """``-o a.b=1 a.c=2`` as a nested dictionary."""
        config: dict[str, Any] = {}
        for option in options or []:
            path, assigned, value = option.strip().partition("=")
            if not assigned:
                self.error(f"-o takes KEY=VALUE, but got {option!r}")
            *parents, key = path.split(".")
            section = config
            try:
                if not trusted:
                    safe_config.check_option(option, value)
                for parent in parents:
                    section = section.setdefault(parent, {})
                section[key] = yaml.load(value, Loader=yaml.Loader)  # knows ppdet's tags, such as !CosineDecay
            except (yaml.YAMLError, AttributeError, TypeError) as error:
                self.error(f"-o {option!r} cannot be read: {error}")
        return config


@contextlib.contextmanager
def configured(flags: argparse.Namespace) -> Iterator[Any]:
    """The configuration of a command line; within this context, reading weights does not run the code they name."""
    with weights.restricted(flags.trust_weights):
        yield runtime.load_config(flags)


def boolean(text: str) -> bool:
    """'true' or 'false' from a command line; ppdet takes any text as true."""
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise ValueError(text)
