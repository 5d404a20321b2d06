"""The composite backend: losses from Paddle operators, on every device, in dynamic mode."""

from paddle_focal.ops.composite.blockwise import compute

__all__ = ["compute"]
