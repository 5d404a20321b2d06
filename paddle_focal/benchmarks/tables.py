"""What every benchmark's report is made of: the machine, numbers, tables."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path

from paddle_focal.benchmarks.result import Statistics

_PACKAGES = ("paddle_focal", "paddle", "ppdet", "torch", "numpy")


def environment() -> dict[str, object]:
    """What the figures depend on besides the arguments."""
    loaded = {name: sys.modules[name] for name in _PACKAGES if name in sys.modules}
    report = getattr(loaded.get("paddle_focal"), "backend_report", None)
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": model.group(1) if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: getattr(module, "__version__", "a source tree") for name, module in loaded.items()},
        "backends": report() if report else None,
    }


def facts_in_words(facts: Mapping[str, object]) -> Iterable[str]:
    for name, fact in facts.items():
        yield f"- {name}: {str(fact).replace(chr(10), '; ')}"


def table(rows: Iterable[list[str]]) -> Iterable[str]:
    for i, row in enumerate(rows):
        yield f"| {' | '.join(row)} |"
        if i == 0:
            yield "|" + "---|" * len(row)


def interval(statistics: Statistics) -> str:
    return f"{number(statistics.median)} [{number(statistics.p20)}, {number(statistics.p80)}]"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
