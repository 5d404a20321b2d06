"""loss.png: time and memory of the main case, and time over the size."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib import color_sequences
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from paddle_focal.benchmarks.cases import SWEEP
from paddle_focal.benchmarks.contenders import CONTENDERS
from paddle_focal.benchmarks.result import Result
from paddle_focal.benchmarks.tables import number

_MAIN_CASE = "batch2"
_COLORS = dict(zip(CONTENDERS, color_sequences["tab10"]))


def draw(results: Sequence[Result]) -> Figure:
    """Draws the first dtype only, and for bars the main case if it was measured, else the first case."""
    figure = Figure(figsize=(15, 4.8), layout="constrained")
    panels = figure.subplots(1, 3)
    results = [result for result in results if result.both_ms]
    if results:
        results = [result for result in results if result.dtype == results[0].dtype]
        measured = [result.case for result in results]
        case = _MAIN_CASE if _MAIN_CASE in measured else measured[0]
        main = [result for result in results if result.case == case]
        most = max(result.threads for result in results)
        _draw_time(panels[0], main)
        _draw_sweep(panels[1], [r for r in results if r.case in SWEEP and r.threads == most])
        _draw_memory(panels[2], [r for r in main if r.peak_extra_mib is not None])
    for panel in panels:
        if not panel.has_data():
            panel.text(0.5, 0.5, "not measured", ha="center", va="center", transform=panel.transAxes)
    return figure


def _draw_time(axes: Axes, results: Sequence[Result]) -> None:
    """Bars with one shade for each number of threads, whiskers from the 20th to the 80th percentile."""
    threads = sorted({result.threads for result in results})
    contenders = list(dict.fromkeys(result.contender for result in results))
    height = 0.8 / len(threads)
    shades = [0.45 + 0.55 * (i + 1) / len(threads) for i in range(len(threads))]
    for result in results:
        i, time = threads.index(result.threads), result.both_ms
        y = contenders.index(result.contender) + (i - (len(threads) - 1) / 2) * height
        color = _COLORS[result.contender]
        axes.barh(y, time.median, height * 0.92, color=color, alpha=shades[i])
        whisker = [[time.median - time.p20], [time.p80 - time.median]]
        axes.errorbar(time.median, y, xerr=whisker, color="black", linewidth=0.8, capsize=2)
        _label(axes, max(time.median, time.p80), y, f"{number(time.median)} ms")
    axes.set(title=f"Time, {_title(results[0])}", xlabel="ms, forward + backward", xscale="log")
    patches = [Patch(color="black", alpha=shade) for shade in shades]
    axes.legend(patches, [f"{n} thread{'s' if n > 1 else ''}" for n in threads], fontsize=8, loc="lower right")
    _list_contenders(axes, contenders)
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * (high / low) ** 0.25)  # room for the numbers


def _draw_sweep(axes: Axes, results: Sequence[Result]) -> None:
    axes.set(title="Time per logit over the size", xlabel="logits (80 classes)", ylabel="ns per logit")
    for name in dict.fromkeys(result.contender for result in results):
        points = sorted(
            (math.prod(r.shape), 1e6 * r.both_ms.median / math.prod(r.shape)) for r in results if r.contender == name
        )
        axes.loglog(*zip(*points), marker="o", markersize=4, color=_COLORS[name], label=name)
    axes.grid(alpha=0.3, which="major")
    if results:
        axes.set_title(f"Time per logit, threads: {results[0].threads}, {results[0].dtype}")
        axes.legend(fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14))


def _draw_memory(axes: Axes, results: Sequence[Result]) -> None:
    contenders = list(dict.fromkeys(result.contender for result in results))
    axes.set(title="Peak memory above the inputs", xlabel="MiB (x: sizes of the logits)")
    for result in {result.contender: result for result in results}.values():
        y = contenders.index(result.contender)
        axes.barh(y, result.peak_extra_mib, 0.7, color=_COLORS[result.contender])
        label = f"{number(result.peak_extra_mib)} MiB, {result.peak_extra_per_logits:.1f} x"
        _label(axes, result.peak_extra_mib, y, label)
    if contenders:
        axes.set_title(f"Peak memory above the inputs, {results[0].case}")
        axes.set_xlim(0, 1.6 * max(1.0, *(result.peak_extra_mib for result in results)))
    _list_contenders(axes, contenders)


def _list_contenders(axes: Axes, contenders: Sequence[str]) -> None:
    axes.set_yticks(range(len(contenders)), contenders)
    axes.invert_yaxis()
    axes.grid(alpha=0.3, axis="x")
    axes.set_axisbelow(True)


def _label(axes: Axes, x: float, y: float, text: str) -> None:
    axes.annotate(text, (x, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)


def _title(result: Result) -> str:
    return f"{result.case} {result.shape}, {result.dtype}"
