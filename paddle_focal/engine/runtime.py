"""What every tool does first: configuration, device and threads."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import paddle
import yaml
from paddle.base import core
from paddle.distributed import parallel
from ppdet.core import workspace
from ppdet.engine import init_fleet_env, init_parallel_env
from ppdet.slim import build_slim_model
from ppdet.utils.check import check_config, check_version
from ppdet.utils.cli import merge_args

from paddle_focal import configurations, safe_config
from paddle_focal.detection.registration import register
from paddle_focal.engine import config_check
from paddle_focal.engine.logs import logger
from paddle_focal.errors import ConfigurationError


def load_config(flags):
    """The configuration of the command line, with the device set.

    Raises:
        ConfigurationError: the configuration has mistakes.
    """
    register()
    components = list(workspace.get_registered_modules())
    before = set(workspace.global_config)
    try:
        with _shipped_bases():
            config = workspace.load_config(flags.config)
    except Exception as error:  # of YAML, or of a component that a tag names
        raise ConfigurationError(f"The configuration {flags.config} cannot be loaded: {error}") from error
    given = set(config) - before - safe_config.variables(flags.config)
    in_files = config_check.findings(config, components, given)
    merge_args(config, flags)
    workspace.merge_config(flags.opt)
    config_check.report(config_check.findings(config, components, given, flags.opt), in_files)
    config_check.allow_schedule_alone(config)
    for name in ("use_gpu", "use_npu", "use_xpu", "use_mlu"):
        config.setdefault(name, False)
    set_device(config)
    check_config(config)
    check_version()
    if config.get("output_eval") is None:
        config.output_eval = str(output_folder(config))
    output_folder(config).mkdir(parents=True, exist_ok=True)
    return config


@contextlib.contextmanager
def _shipped_bases() -> Iterator[None]:
    """A context in which ppdet finds the configurations of the package that others name as their ``_BASE_``."""

    def load(file, Loader):  # noqa: N803 - as yaml.load has it
        content = yaml.load(file, Loader=Loader)
        if "_BASE_" in content:
            content["_BASE_"] = [os.path.abspath(configurations.base(file.name, name)) for name in content["_BASE_"]]
        return content

    with patch.object(workspace, "yaml", SimpleNamespace(load=load, Loader=yaml.Loader)):
        yield


def compress(config, flags, mode: str):
    """The configuration, combined with that of PaddleSlim if ``--slim_config`` names one.

    Raises:
        ConfigurationError: the latter has mistakes.
    """
    if not flags.slim_config:
        return config
    components = workspace.get_registered_modules()
    config_check.report(config_check.slim_findings(flags.slim_config, config, components), ())
    config = build_slim_model(config, flags.slim_config, mode=mode)
    if mode == "train":
        workspace.merge_config(flags.opt)
    return config


def init_ranks(config) -> None:
    """Connect the processes that Paddle's launcher has started."""
    with patch.object(parallel, "_print_modified_flags", lambda flags: None, create=True):  # Paddle's own ones
        if config.get("fleet", False):
            init_fleet_env(config.get("find_unused_parameters", False))
        else:
            init_parallel_env()


def output_folder(config) -> Path:
    """Where PaddleDetection writes the checkpoints of this configuration."""
    return Path(config.save_dir, config.filename)


def current_output_folder() -> Path:
    """That of the configuration that has been loaded; the working directory before one has."""
    config = workspace.global_config
    return output_folder(config) if {"save_dir", "filename"} <= config.keys() else Path()


def set_device(config) -> None:
    """Set the device that the configuration asks for, or the CPU, with one warning, if there is no GPU."""
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
    """Use one thread per core unless OMP_NUM_THREADS says otherwise, and the fast path of Paddle's matrix products."""
    environment = Path("/proc/self/environ")
    given = environment.read_bytes().split(b"\0") if environment.exists() else []
    # Paddle sets OMP_NUM_THREADS to 1 on import if it is not set: only the environment that the process started with
    # shows what the user asked for.
    if not any(variable.startswith(b"OMP_NUM_THREADS=") for variable in given):
        core.set_num_threads(max(1, (os.cpu_count() or 1) // paddle.distributed.get_world_size()))
    # The MKL inside Paddle takes its slowest path on AMD processors unless it is told to use AVX2, which makes a matrix
    # product three to four times as fast.
    processor = Path("/proc/cpuinfo")
    text = processor.read_text() if processor.exists() else ""
    if "AuthenticAMD" in text and "avx2" in text:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
