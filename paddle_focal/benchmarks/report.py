"""The results of the loss benchmark as words and files. Every ratio is between results of one run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from paddle_focal.benchmarks.cases import ITEM_SIZE
from paddle_focal.benchmarks.contenders import CONTENDERS
from paddle_focal.benchmarks.figure import draw
from paddle_focal.benchmarks.measuring import MIB
from paddle_focal.benchmarks.result import Result
from paddle_focal.benchmarks.tables import environment, facts_in_words, interval, number, table
from paddle_focal.files import write_whole

REFERENCE = "native"


def time_in_words(result: Result) -> str:
    if not result.is_admitted:
        return result.exclusion
    return (
        f"{interval(result.both_ms)} ms = forward {number(result.forward_ms.median)} "
        f"+ backward {number(result.backward_ms.median)}"
    )


def write(results: Sequence[Result], rounds: int, folder: Path) -> None:
    """Writes loss.json, loss.md and loss.png, each completely or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {**environment(), "rounds": rounds}
    document = {"environment": facts, "results": [asdict(result) for result in results]}
    write_whole(folder / "loss.json", lambda path: path.write_text(json.dumps(document, indent=1) + "\n"))
    write_whole(folder / "loss.md", lambda path: path.write_text(markdown(results, facts)))
    write_whole(folder / "loss.png", lambda path: draw(results).savefig(path, dpi=110))


def markdown(results: Sequence[Result], facts: dict[str, object]) -> str:
    lines = [
        "# The focal loss, forward and backward",
        "",
        "Milliseconds are medians [20th, 80th percentile]. `memcpy` copies the logits into a buffer that is there "
        "already, the floor, and counts as forward. Peak memory is above that of the inputs; it includes the gradient.",
        "",
        *facts_in_words(facts),
        "",
        f"## Time relative to {REFERENCE}",
        "",
        f"Above 1: slower than {REFERENCE}. Bold, below 1: faster.",
        "",
        *table(_ratio_rows(results)),
    ]
    for case, dtype in dict.fromkeys((result.case, result.dtype) for result in results):
        rows = [result for result in results if (result.case, result.dtype) == (case, dtype)]
        lines += ["", *_section(rows, results)]
    return "\n".join(lines) + "\n"


def _ratio_rows(results: Sequence[Result]) -> Iterable[list[str]]:
    others = [name for name in CONTENDERS if name != REFERENCE and any(r.contender == name for r in results)]
    yield ["case", "dtype", "threads", f"{REFERENCE} ms", *others]
    for setting in dict.fromkeys(result.setting for result in results):
        rows = {result.contender: result for result in results if result.setting == setting}
        case, dtype, threads = setting
        reference = rows.get(REFERENCE)
        time = number(reference.both_ms.median) if reference and reference.both_ms else "-"
        yield [case, dtype, str(threads), time, *(_ratio(rows.get(name), results) for name in others)]


def _section(rows: Sequence[Result], results: Sequence[Result]) -> Iterable[str]:
    first = rows[0]
    axis = "" if first.axis == -1 else f", class axis {first.axis}"
    size = math.prod(first.shape) * ITEM_SIZE[first.dtype] / MIB
    yield f"## {first.case}, {first.dtype}"
    yield ""
    yield f"Logits {first.shape}{axis}, {number(size)} MiB; gamma {first.gamma:g}."
    measured = [row for row in rows if row.both_ms]
    if measured:
        yield ""
        yield from table(_measured_rows(measured, results))
    excluded = dict.fromkeys(f"- {row.contender}: {row.exclusion}" for row in rows if not row.is_admitted)
    if excluded:
        yield ""
        yield from excluded


def _measured_rows(measured: Sequence[Result], results: Sequence[Result]) -> Iterable[list[str]]:
    times = ["forward ms", "backward ms", "both ms"]
    yield ["contender", "threads", *times, f"x {REFERENCE}", "peak MiB", "x logits"]
    for row in sorted(measured, key=lambda row: row.threads):
        memory = ["-", "-"]
        if row.peak_extra_mib is not None:
            memory = [number(row.peak_extra_mib), f"{row.peak_extra_per_logits:.2f}"]
        intervals = [interval(statistics) for statistics in (row.forward_ms, row.backward_ms, row.both_ms)]
        yield [row.contender, str(row.threads), *intervals, _ratio(row, results), *memory]


def _ratio(result: Result | None, results: Sequence[Result]) -> str:
    """The time divided by the reference's time in the same setting."""
    if result is None or result.both_ms is None:
        return "WRONG" if result and result.wrong else "-"
    for other in results:
        if other.setting == result.setting and other.contender == REFERENCE and other.both_ms:
            ratio = result.both_ms.median / other.both_ms.median
            return f"**{number(ratio)}**" if ratio < 1 else number(ratio)
    return "-"
