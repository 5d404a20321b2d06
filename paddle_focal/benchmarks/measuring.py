"""The instruments: a correctness gate, interleaved timing, and peak memory."""

from __future__ import annotations

import ctypes
import gc
import random
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Callable

import numpy as np

from paddle_focal.benchmarks.cases import Case, as_float64, make_inputs
from paddle_focal.benchmarks.contenders import Contender, CopyRun, LossRun
from paddle_focal.benchmarks.truth import true_gradient, true_loss

MIB = 2**20
SETTLE = 0.25  # seconds; OpenMP's idle threads keep a core busy for up to 0.2 s after a call
#: Seconds of untimed calls, at least one, before each timed call: after another contender's turn the cores have slept,
#: the caches hold that contender's data, and a virtual machine may have given free memory back, which makes fresh
#: pages ten times as expensive.
WAKE = 0.02


class WrongError(Exception):
    """A contender's result is off by more than its dtype allows."""


def check_loss(contender: Contender, dtype: str, run: LossRun | CopyRun, truth: float) -> None:
    """Raises WrongError if the run has a loss and it is not the true one."""
    if contender.tolerances is not None:
        _check("loss", abs(run.loss() - truth) / abs(truth), contender.tolerances[dtype].loss)


def check_sample(contender: Contender, case: Case, dtype: str, threads: int) -> None:
    """Checks a small part of the case, with many objects in it, against the definition in float64.

    Raises:
        WrongError: the loss or the gradient is off.
        ImportError: a package is missing.
        RuntimeError: the contender cannot serve.
    """
    if contender.tolerances is None:
        return
    inputs = make_inputs(case.shrunk(2000), dtype, foreground=0.05)
    run = contender.prepare(inputs, threads)
    run.forward()
    run.backward()
    check_loss(contender, dtype, run, true_loss(inputs))
    truth = true_gradient(inputs)
    error = np.abs(as_float64(run.gradient()) - truth).sum() / np.abs(truth).sum()
    _check("gradient", error, contender.tolerances[dtype].gradient)


def _check(name: str, error: float, allowed: float) -> None:
    if not error <= allowed:
        raise WrongError(f"relative error of the {name} {error:.2g}, allowed {allowed:.0e}")


def interleave(
    runs: Mapping[str, LossRun | CopyRun], rounds: int, settle: float
) -> dict[str, list[tuple[float, float]]]:
    """Seconds of each contender's forward and backward passes: one call of each per round, in random order.

    Args:
        runs: the contenders.
        rounds: timed calls of each.
        settle: seconds to wait after another contender's call.
    """
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    order = list(runs)
    shuffle = random.Random(0).shuffle
    gc.collect()
    gc.freeze()  # collecting before each call then looks at little
    gc.disable()
    try:
        for _ in range(rounds):
            shuffle(order)
            for name in order:
                gc.collect()
                time.sleep(settle)
                _wake(runs[name])
                seconds[name].append(_time_once(runs[name]))
    finally:
        gc.enable()
        gc.unfreeze()
    return seconds


def _wake(run: LossRun | CopyRun) -> None:
    start = time.perf_counter()
    while time.perf_counter() - start < WAKE:
        _time_once(run)


def _time_once(run: LossRun | CopyRun) -> tuple[float, float]:
    start = time.perf_counter()
    run.forward()
    middle = time.perf_counter()
    run.backward()
    end = time.perf_counter()
    run.clear()
    return middle - start, end - middle


def available_bytes() -> int:
    """What Linux says can be allocated without swapping."""
    return _kibibytes("/proc/meminfo", "MemAvailable") * 1024


def peak_extra_mib(function: Callable[[], object]) -> float:
    """How many MiB resident memory grows by during the call, at its peak.

    Linux counts whole pages: a single byte in a transparent huge page counts as 2 MiB.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else memory that was freed but kept would serve the call uncounted
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark is now what is resident
    before = _kibibytes("/proc/self/status", "VmHWM")
    function()
    return (_kibibytes("/proc/self/status", "VmHWM") - before) / 1024


def peak_mib() -> float:
    """The peak resident memory of this process, in MiB."""
    return _kibibytes("/proc/self/status", "VmHWM") / 1024


def last_line_of_fresh_process(*arguments: str) -> str:
    """The last line that ``benchmark.py`` prints when it is run with these arguments.

    Raises:
        RuntimeError: it failed, or was killed for using too much memory; the message has the end of its error output.
    """
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "paddle_focal.benchmarks", *arguments], capture_output=True, text=True
    )
    if result.returncode != 0:
        raise RuntimeError(f"exit code {result.returncode}: {result.stderr.strip()[-500:]}")
    return result.stdout.splitlines()[-1]


def loss_memory(contender: Contender, case: Case, dtype: str, threads: int) -> float:
    """Peak extra MiB of one forward and backward pass, to be called in a fresh process."""

    def call(run: LossRun | CopyRun) -> None:
        run.forward()
        run.backward()

    warm_up = case if contender.compiled else case.shrunk(8)
    run = contender.prepare(make_inputs(warm_up, dtype), threads)
    call(run)
    if not contender.compiled:
        run = contender.prepare(make_inputs(case, dtype), threads)
    run.clear()
    return peak_extra_mib(lambda: call(run))


def _kibibytes(path: str, field: str) -> int:
    return int(re.search(rf"^{field}:\s+(\d+) kB$", Path(path).read_text(), re.MULTILINE).group(1))
