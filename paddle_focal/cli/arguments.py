"""What the command lines share: options in either spelling, PaddleDetection's ``-c`` and ``-o``, errors in words.

Importing a command takes no Paddle, so that its help comes at once; what it runs is imported when it is run.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Callable

from paddle_focal import configurations
from paddle_focal.errors import ToolError


@contextlib.contextmanager
def ending_in_words(status: int = 1) -> Iterator[None]:
    """Logs an exception as one sentence and ends the process, with its status or with ``status``, whichever is worse.

    The details of a ToolError, and the traceback of one that is neither a ToolError nor explained by
    :mod:`paddle_focal.engine.mistakes`, go to the log file, or where the tool has none to ``error.log`` in the output
    folder.
    """
    try:
        yield
    except Exception as error:
        _log(error)
        raise SystemExit(max(status, error.status) if isinstance(error, ToolError) else 1) from None


def _log(error: Exception) -> None:
    try:
        if isinstance(error, ToolError) and "paddle_focal.engine.logs" not in sys.modules:
            raise ImportError(str(error))
        from paddle_focal.engine import mistakes
        from paddle_focal.engine.logs import logger
    except ImportError as reason:  # of Paddle or PaddleDetection says how to install it
        print(f"{Path(sys.argv[0]).name}: error: {reason}", file=sys.stderr)
        return
    if isinstance(error, ToolError):
        said = f"{error}\nFor more see {_keep(error.details)}" if error.details else str(error)
    else:
        said = mistakes.explanation(error)
    if said is None:
        kept = _keep(mistakes.traceback_of(error))
        said = (
            f"{mistakes.in_one_line(error)}. If that does not say what to change, please report it with {kept} and "
            "what paddle-focal doctor prints."
        )
    logger.error("%s", said)


def _keep(text: str) -> str:
    """Writes a traceback to a file, and says where."""
    from paddle_focal.engine import logs, runtime

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


class Parser(argparse.ArgumentParser):
    """A parser to which - and _ in the name of an option are the same, and whose errors are short.

    The help has the spelling that is known: PaddleDetection's options have underscores, those of this package dashes.
    """

    def __init__(self, **options) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def parse_known_args(self, args=None, namespace=None):
        given = list(sys.argv[1:] if args is None else args)
        options = given.index("--") if "--" in given else len(given)
        return super().parse_known_args([*map(self._spelt, given[:options]), *given[options:]], namespace)

    def _spelt(self, argument: str) -> str:
        """An option, or the beginning of one, as the parser has it."""
        name, assigned, value = argument.partition("=")
        plain = name.replace("_", "-")
        known = (option for action in self._actions for option in action.option_strings)
        names = [option for option in known if option.replace("_", "-").startswith(plain)]
        if not name.startswith("--") or not names:
            return argument
        return min(names, key=len)[: len(name)] + assigned + value

    def error(self, message: str) -> None:
        self.exit(2, f"usage: {self.prog} --help\n{self.prog}: error: {message}\n")


class ArgumentParser(Parser):
    """A parser with PaddleDetection's ``-c`` and ``-o``, which trusts neither unless ``--trust-config`` is given.

    Attributes:
        source: takes what a command accepts in place of ``-c``.
    """

    def __init__(self, description: str, has_other_sources: bool = False) -> None:
        super().__init__(description=description)
        self.source = self.add_mutually_exclusive_group(required=True) if has_other_sources else self
        self.source.add_argument(
            "-c",
            "--config",
            required=not has_other_sources,
            help="configuration file, or the name of a shipped one",
        )
        self.add_argument("-o", "--opt", nargs="*", metavar="KEY=VALUE", help="settings in place of the file's")
        self.add_argument("-q", "--quiet", action="store_true", help="print only warnings, errors and results")
        self.add_argument(
            "--trust-config", action="store_true", help="run the Python code that tags of the configuration name"
        )
        self.add_argument(
            "--trust-weights", action="store_true", help="run the Python code that a file of weights names"
        )

    def parse_args(self, args: Sequence[str] | None = None, namespace=None) -> argparse.Namespace:
        flags = super().parse_args(args, namespace)
        if flags.opt and not flags.config:
            self.error("-o goes with -c")
        if flags.config:
            self._read(flags)
        return flags

    def _read(self, flags: argparse.Namespace) -> None:
        from paddle_focal import safe_config

        try:
            flags.config = configurations.find(flags.config)
            safe_config.check_config(flags.config, flags.trust_config)
            if slim := getattr(flags, "slim_config", None):
                safe_config.check_config(slim, flags.trust_config)
            flags.settings = flags.opt or []
            flags.opt = self._parse_opt(flags.opt, flags.trust_config)
        except ToolError as error:
            self.error(str(error))

    def _parse_opt(self, options: list[str] | None, trusted: bool) -> dict[str, Any]:
        """``-o a.b=1 a.c=2`` as a nested dictionary."""
        import yaml

        from paddle_focal import safe_config

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
                if "!" in value:
                    import paddle_focal.engine.runtime  # noqa: F401 - ppdet's tags, such as !CosineDecay
                for parent in parents:
                    section = section.setdefault(parent, {})
                section[key] = yaml.load(value, Loader=yaml.Loader)
            except (yaml.YAMLError, AttributeError, TypeError) as error:
                self.error(f"-o {option!r} cannot be read: {error}")
        return config


@contextlib.contextmanager
def configured(flags: argparse.Namespace) -> Iterator[Any]:
    """The configuration of a command line; within this context, reading weights does not run the code they name."""
    from paddle_focal.engine import logs, runtime, weights

    if flags.quiet:
        logs.be_quiet()
    with weights.restricted(flags.trust_weights):
        with ending_in_words(status=2):
            config = runtime.load_config(flags)
        yield config


def boolean(text: str) -> bool:
    """'true' or 'false' from a command line; ppdet takes any text as true."""
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise ValueError(text)


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option that takes an integer."""

    def integer(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be an integer >= {least}, but got {text!r}")
        return int(text)

    return integer
