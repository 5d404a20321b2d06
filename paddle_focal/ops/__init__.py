"""The backend ladder: which implementation computes a loss, and why."""

from __future__ import annotations

from types import ModuleType

from paddle_focal.ops import composite

BACKENDS = ("fused", "composite")


def select(backend: str | None) -> ModuleType:
    """The module that computes the loss: the best one for None, else the one named.

    Raises:
        ValueError: if ``backend`` is no backend's name.
        RuntimeError: if the backend named cannot serve, with the reason.
    """
    if backend is not None and backend not in BACKENDS:
        raise ValueError(f"backend must be None or one of {BACKENDS}, but got {backend!r}")
    if backend == "fused":
        raise RuntimeError("backend 'fused' cannot serve: this version of paddle_focal has no native operator")
    return composite
