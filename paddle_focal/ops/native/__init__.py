"""The native backend: the operators of ``csrc``, and the library they come from."""

from paddle_focal.ops.native.library import reason_against
from paddle_focal.ops.native.operator import compute

__all__ = ["compute", "reason_against"]
