"""What every tool does first: command line, configuration, device, threads, log file."""

from __future__ import annotations

import contextlib
import logging
import os
from argparse import RawDescriptionHelpFormatter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paddle
import yaml
from paddle.base import core
from ppdet.core import workspace
from ppdet.utils.check import check_config, check_version
from ppdet.utils.cli import ArgsParser, merge_args
from ppdet.utils.logger import setup_logger

from paddle_focal.detection.registration import register
from paddle_focal.engine import configurations, safe_config, weights
from paddle_focal.errors import ToolError

logger = setup_logger("paddle_focal")
setup_logger("ppdet.engine.callbacks")  # ppdet's develop branch makes it with a callback, too late for log_to_file


@contextlib.contextmanager
def errors_in_words() -> Iterator[None]:
    """Logs a ToolError and ends the process with exit code 1."""
    try:
        yield
    except ToolError as error:
        logger.error("%s", error)
        raise SystemExit(1) from None


class ArgumentParser(ArgsParser):
    """PaddleDetection's parser with its ``-c`` and ``-o``."""

    def __init__(self, description: str) -> None:
        super().__init__()
        self.description = description
        self.add_argument(
            "--trust-config", action="store_true", help="run the Python code that tags of the configuration name"
        )
        self.add_argument(
            "--trust-weights", action="store_true", help="run the Python code that a file of weights names"
        )
        self.formatter_class = RawDescriptionHelpFormatter

    def parse_args(self, argv: list[str] | None = None):
        flags = super(ArgsParser, self).parse_args(argv)
        if flags.config is None:
            self.error("the following arguments are required: -c/--config")
        with errors_in_words():
            flags.config = configurations.find(flags.config)
            if not flags.trust_config:
                safe_config.check_config(flags.config)
            flags.opt = self._parse_opt(flags.opt, flags.trust_config)
        return flags

    def _parse_opt(self, options: list[str] | None, trusted: bool) -> dict[str, Any]:
        """``-o a.b=1 a.c=2`` as a nested dictionary. ppdet's own forgets all but the last key three levels down."""
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


def boolean(text: str) -> bool:
    """'true' or 'false' of a command line; ppdet takes every text for true."""
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise ValueError(text)


def load_config(flags):
    """The configuration of the command line, with the device set."""
    register()
    weights.restrict(flags.trust_weights)
    config = workspace.load_config(flags.config)
    merge_args(config, flags)
    workspace.merge_config(flags.opt)
    for name in ("use_gpu", "use_npu", "use_xpu", "use_mlu"):
        config.setdefault(name, False)
    set_device(config)
    check_config(config)
    check_version()
    if config.get("output_eval") is None:
        config.output_eval = str(output_folder(config))
    output_folder(config).mkdir(parents=True, exist_ok=True)
    return config


def output_folder(config) -> Path:
    """Where PaddleDetection writes the checkpoints of this configuration."""
    return Path(config.save_dir, config.filename)


def set_device(config) -> None:
    """The device that the configuration asks for, or the CPU with one warning where there is no GPU."""
    if config.use_gpu and not (paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count()):
        logger.warning(
            "use_gpu is true, but Paddle %s finds no GPU: running on the CPU. Choose it with -o use_gpu=false",
            paddle.__version__,
        )
        config.use_gpu = False
    device = next((name for name in ("gpu", "npu", "xpu", "mlu") if config[f"use_{name}"]), "cpu")
    paddle.set_device(device)
    if device == "cpu":
        use_all_cores()


def use_all_cores() -> None:
    """One thread per core unless OMP_NUM_THREADS says otherwise, and the fast path of Paddle's matrix products."""
    environment = Path("/proc/self/environ")
    given = environment.read_bytes().split(b"\0") if environment.exists() else []
    # Paddle sets OMP_NUM_THREADS to 1 when it is imported and finds none: only the process' own says what was asked.
    if not any(variable.startswith(b"OMP_NUM_THREADS=") for variable in given):
        core.set_num_threads(max(1, (os.cpu_count() or 1) // paddle.distributed.get_world_size()))
    # The MKL inside Paddle takes its slowest path on AMD processors unless it is told to use AVX2: three to four
    # times in a matrix product.
    processor = Path("/proc/cpuinfo")
    text = processor.read_text() if processor.exists() else ""
    if "AuthenticAMD" in text and "avx2" in text:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")


def log_to_file(path: Path) -> None:
    """Append what ppdet and paddle_focal log to a file, in plain lines."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s"))
    for name in _logger_names():
        logging.getLogger(name).addHandler(handler)


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
