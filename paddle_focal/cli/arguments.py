"""What the command lines share: PaddleDetection's ``-c`` and ``-o``, what is trusted, and errors as messages."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import Any

import yaml

from paddle_focal.engine import configurations, runtime, safe_config, weights
from paddle_focal.engine.logs import logger
from paddle_focal.errors import ToolError


@contextlib.contextmanager
def exit_on_tool_error() -> Iterator[None]:
    """Logs a ToolError and ends the process with exit code 1."""
    try:
        yield
    except ToolError as error:
        logger.error("%s", error)
        raise SystemExit(1) from None


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
        with exit_on_tool_error():
            flags.config = configurations.find(flags.config)
            if not flags.trust_config:
                safe_config.check_config(flags.config)
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
