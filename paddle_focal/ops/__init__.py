"""The losses' arithmetic: what each loss is, and which backend computes it, native or composite.

Arguments arrive already checked, and the only reductions known here are 'none' and 'sum'. Imports nothing from the rest
of the package except ``build``.
"""

from paddle_focal import _paddle  # noqa: F401 - must come first, see that module

# isort: split
from paddle_focal.ops.ladder import BACKENDS, backend_report, compute, compute_sum, count_ones, select

__all__ = ["BACKENDS", "backend_report", "compute", "compute_sum", "count_ones", "select"]
