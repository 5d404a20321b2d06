"""Results of the loss benchmark as if they had been measured."""

from __future__ import annotations

from paddle_focal.benchmarks.result import Result, Statistics


def spread(median: float) -> Statistics:
    """A time whose 20th and 80th percentiles are a tenth below and a fifth above it."""
    return Statistics(median, 0.9 * median, 1.2 * median)


def result(contender: str, milliseconds: float | None = None, **fields) -> Result:
    """One of ``tiny`` in float32 on one thread unless ``fields`` say otherwise; the forward takes a quarter."""
    setting = {"case": "tiny", "shape": [4842, 10], "axis": -1, "gamma": 2.0, "dtype": "float32", "threads": 1}
    times = {}
    if milliseconds is not None:
        shares = {"forward_ms": 0.25, "backward_ms": 0.75, "both_ms": 1.0}
        times = {name: spread(share * milliseconds) for name, share in shares.items()}
    return Result(**{**setting, "contender": contender, **times, **fields})
