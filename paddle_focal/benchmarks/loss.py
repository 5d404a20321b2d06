"""The loss benchmark: every contender on every case, with the results on disk after each."""

from __future__ import annotations

import argparse
import sys
from functools import cache
from pathlib import Path

from tqdm import tqdm

from paddle_focal.benchmarks import measuring, report
from paddle_focal.benchmarks.cases import CASES, Case, make_inputs
from paddle_focal.benchmarks.contenders import CONTENDERS
from paddle_focal.benchmarks.measuring import MIB, SETTLE, WrongError
from paddle_focal.benchmarks.result import Result, statistics
from paddle_focal.benchmarks.truth import true_loss


class LossBenchmark:
    """One run of ``benchmark.py loss``."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._results: list[Result] = []
        self._reason_against_sample = cache(_reason_against_sample)

    def run(self) -> None:
        """Measures everything that the options ask for.

        Raises:
            SystemExit: a backend of paddle_focal is wrong.
        """
        options = self._options
        total = len(options.dtypes) * len(options.cases) * len(options.threads)
        with tqdm(total=total, unit="setting", dynamic_ncols=True) as bar:
            for dtype in options.dtypes:
                for case in (CASES[name] for name in options.cases):
                    rows: list[Result] = []
                    for threads in options.threads:
                        bar.set_description(f"{case.name} {dtype} threads={threads}")
                        rows += self._time(case, dtype, threads)
                        bar.update()
                    bar.set_description(f"{case.name} {dtype} memory")
                    self._measure_memory(case, dtype, rows)

    def _time(self, case: Case, dtype: str, threads: int) -> list[Result]:
        """Adds one result for each contender, without its memory."""
        options = self._options
        _log(f"\n{case.name}, {dtype}: {list(case.shape)}, gamma {case.gamma:g}, threads: {threads}")
        names = [
            name
            for name, contender in CONTENDERS.items()
            if case.loss in contender.losses and name in (case.contenders or CONTENDERS) and name in options.contenders
        ]
        rows = {
            name: Result(case.name, list(case.shape), case.axis, case.gamma, dtype, threads, name) for name in names
        }
        self._results += rows.values()
        for name, row in rows.items():
            # The inputs, a copy of them for each contender, and the results of one call at a time.
            needed = (1 + len(names) + CONTENDERS[name].footprint) * case.bytes(dtype)
            row.skipped = _reason_to_skip(name, dtype, needed)
            if row.skipped is None:
                row.skipped, row.wrong = self._reason_against_sample(name, case.shrunk(2000), dtype, threads)
        self._time_admitted(case, dtype, {name: row for name, row in rows.items() if row.is_admitted})
        for row in rows.values():
            _log(f"  {row.contender:15}{report.time_in_words(row)}")
        self._save()
        for row in rows.values():
            if row.wrong and CONTENDERS[row.contender].ours:
                raise SystemExit(f"{row.contender} is WRONG on {case.name}, {dtype}: {row.wrong}")
        return list(rows.values())

    def _time_admitted(self, case: Case, dtype: str, rows: dict[str, Result]) -> None:
        if not rows:
            return
        inputs = make_inputs(case, dtype)
        truth = true_loss(inputs)
        runs = {}
        for name, row in rows.items():
            run = CONTENDERS[name].prepare(inputs, row.threads)
            run.forward()
            run.backward()
            try:
                measuring.check_loss(CONTENDERS[name], dtype, run, truth)
                runs[name] = run
            except WrongError as error:
                row.wrong = str(error)
            run.clear()
        settle = SETTLE if max(self._options.threads) > 1 else 0  # a single thread leaves no idle ones behind
        for name, calls in measuring.interleave(runs, self._options.rounds, settle).items():
            rows[name].forward_ms = statistics([forward for forward, _ in calls])
            rows[name].backward_ms = statistics([backward for _, backward in calls])
            rows[name].both_ms = statistics([forward + backward for forward, backward in calls])

    def _measure_memory(self, case: Case, dtype: str, rows: list[Result]) -> None:
        """Adds the peak memory, with the most threads, to the results that have a time."""
        for name in dict.fromkeys(row.contender for row in rows if row.both_ms):
            mib = _memory_in_fresh_process(name, case, dtype, max(self._options.threads))
            if mib is None:
                continue
            ratio = mib * MIB / case.bytes(dtype)
            for row in (row for row in rows if row.contender == name and row.both_ms):
                row.peak_extra_mib, row.peak_extra_per_logits = mib, ratio
            _log(f"  {name:15}peak memory {mib:,.1f} MiB above the inputs, {ratio:.2f} x logits")
        self._save()

    def _save(self) -> None:
        report.write(self._results, self._options.rounds, Path(self._options.output))


def _reason_to_skip(name: str, dtype: str, needed: float) -> str | None:
    if dtype not in CONTENDERS[name].dtypes:
        return f"does not compute {dtype} on the CPU"
    available = measuring.available_bytes()
    if needed > available:
        return f"needs about {needed / MIB:,.0f} MiB of memory, {available / MIB:,.0f} MiB are available"
    return None


def _reason_against_sample(name: str, sample: Case, dtype: str, threads: int) -> tuple[str | None, str | None]:
    """Why the contender is to be skipped, and what is wrong with it; each None if nothing is."""
    try:
        measuring.check_sample(CONTENDERS[name], sample, dtype, threads)
    except WrongError as error:
        return None, str(error)
    except (ImportError, RuntimeError) as error:
        return " ".join(str(error).split()), None
    return None, None


def _memory_in_fresh_process(name: str, case: Case, dtype: str, threads: int) -> float | None:
    try:
        return float(measuring.last_line_of_fresh_process("memory", name, case.name, dtype, str(threads)))
    except RuntimeError as error:
        _log(f"  {name:15}memory was not measured, {error}")
        return None


def _log(line: str) -> None:
    tqdm.write(line, file=sys.stdout)
