"""The losses' arithmetic: what each loss is, and which backend computes it, native or composite.

Arguments come in checked, and no reduction is known here but 'none' and 'sum'. Imports nothing of the package but
``build``.
"""

from paddle_focal.ops.ladder import BACKENDS, backend_report, compute, select

__all__ = ["BACKENDS", "backend_report", "compute", "select"]
