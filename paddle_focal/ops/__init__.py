"""The losses' arithmetic: what each loss is, and which implementation computes it, native or composite.

Tensors come in checked, and no reduction is known here but 'none' and 'sum'. Imports nothing of the package but
``build``.
"""

from paddle_focal.ops.ladder import BACKENDS, backend_report, select

__all__ = ["BACKENDS", "backend_report", "select"]
