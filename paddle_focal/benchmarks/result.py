"""What a benchmark finds out about one contender on one case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Statistics:
    """Milliseconds."""

    median: float
    p20: float
    p80: float


def statistics(seconds: Sequence[float]) -> Statistics:
    p20, median, p80 = np.percentile(seconds, [20, 50, 80]).tolist()
    return Statistics(1e3 * median, 1e3 * p20, 1e3 * p80)


@dataclass
class Result:
    """One contender on one case: statistics where it was measured, the reason where it was not."""

    case: str
    shape: list[int]
    axis: int
    gamma: float
    dtype: str
    threads: int
    contender: str
    skipped: str | None = None
    wrong: str | None = None
    forward_ms: Statistics | None = None
    backward_ms: Statistics | None = None
    both_ms: Statistics | None = None
    peak_extra_mib: float | None = None
    peak_extra_per_logits: float | None = None

    @property
    def is_admitted(self) -> bool:
        return self.skipped is None and self.wrong is None

    @property
    def setting(self) -> tuple[str, str, int]:
        return self.case, self.dtype, self.threads

    @property
    def exclusion(self) -> str:
        return f"WRONG, {self.wrong}" if self.wrong else f"skipped: {self.skipped}"
