"""Time and memory of contenders beside PaddleDetection's own, as rows, a table and files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from paddle_focal.benchmarks import tables
from paddle_focal.benchmarks.result import Statistics, statistics
from paddle_focal.files import write_whole

REFERENCE = "stock"


def row(
    setting: Mapping[str, object], calls: Sequence[tuple[float, float]], peak_mib: float, logits_mib: float
) -> dict[str, object]:
    """What one contender took; ``calls`` holds the seconds of forward and backward passes."""
    forward, backward = zip(*calls)
    return {
        **setting,
        "forward_ms": statistics(forward),
        "backward_ms": statistics(backward),
        "both_ms": statistics([sum(call) for call in calls]),
        "peak_extra_mib": peak_mib,
        "peak_extra_per_logits": peak_mib / logits_mib,
    }


def table(rows: Sequence[dict], setting: Sequence[str]) -> Iterable[list[str]]:
    """Cells, with how many times as fast as the reference each is in an equal setting.

    Args:
        rows: see :func:`row`.
        setting: the names of their settings, ``contender`` among them.
    """
    yield [*setting, "forward ms", "backward ms", "both ms", f"x {REFERENCE}", "peak MiB", "x logits"]
    for one in rows:
        compared = {**one, "contender": REFERENCE}
        reference = [other for other in rows if all(other[name] == compared[name] for name in setting)]
        ratio = tables.number(reference[0]["both_ms"].median / one["both_ms"].median) if reference else "-"
        times = [tables.interval(one[name]) for name in ("forward_ms", "backward_ms", "both_ms")]
        memory = [tables.number(one["peak_extra_mib"]), f"{one['peak_extra_per_logits']:.2f}"]
        yield [*(str(one[name]) for name in setting), *times, ratio, *memory]


def write(folder: Path, name: str, lines: Iterable[str], facts: dict, rows: Sequence[dict], setting: Sequence[str]):
    """Writes NAME.json and NAME.md into a folder, and prints the table.

    Args:
        folder: it is made if it is missing.
        name: of the files, without their ending.
        lines: of Markdown, before the facts.
        facts: what the figures depend on.
        rows: see :func:`row`.
        setting: the names of their settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plain = [{k: vars(v) if isinstance(v, Statistics) else v for k, v in one.items()} for one in rows]
    document = json.dumps({"environment": facts, "results": plain}, indent=1) + "\n"
    write_whole(folder / f"{name}.json", lambda path: path.write_text(document))
    cells = list(tables.table(table(rows, setting)))
    text = "\n".join([*lines, "", *tables.facts_in_words(facts), "", *cells]) + "\n"
    write_whole(folder / f"{name}.md", lambda path: path.write_text(text))
    print("\n".join(cells))
