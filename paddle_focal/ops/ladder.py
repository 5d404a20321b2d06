"""The backend ladder: which implementation computes a loss, and why."""

from __future__ import annotations

import warnings
from functools import cache
from types import ModuleType

import paddle
from paddle import Tensor

from paddle_focal.ops import devices
from paddle_focal.ops.composite import sigmoid as composite
from paddle_focal.ops.native import operator as fused

BACKENDS = ("fused", "composite")


def select(backend: str | None, logit: Tensor, loss: str = "sigmoid_focal_loss") -> ModuleType:
    """The module that computes a loss of ``logit``: the best one for None, else the one named.

    Raises:
        ValueError: if ``backend`` is no backend's name.
        RuntimeError: if the backend named cannot serve, with the reason.
    """
    if backend is not None and (not isinstance(backend, str) or backend not in BACKENDS):
        raise ValueError(f"backend must be None or one of {BACKENDS}, but got {backend!r}")
    if backend == "composite" or 0 in logit.shape:  # Paddle ends the process when an operator of ours returns nothing
        return composite
    reason = fused.reason_against(devices.kind(logit), loss)
    if reason is None:
        return fused
    if backend == "fused":
        raise RuntimeError(f"backend 'fused' cannot serve: {reason}")
    _warn_of_fallback(reason)
    return composite


@cache  # once for each reason
def _warn_of_fallback(reason: str) -> None:
    warnings.warn(f"paddle_focal falls back on its slower composite backend: {reason}", stacklevel=4)


def backend_report() -> str:
    """Which backend serves which place, and why; plain text, one line for each place."""
    lines = [f"paddle_focal on Paddle {paddle.__version__}", f"cpu: {_serving('cpu')}"]
    if paddle.is_compiled_with_cuda():
        lines.append(f"gpu: {_serving('gpu')}")
    return "\n".join(lines)


def _serving(device: str) -> str:
    reason = fused.reason_against(device)
    if reason is not None:
        return f"composite, because {reason}"
    if device == "gpu":
        return f"fused; softmax_focal_loss composite, because {fused.reason_against('gpu', 'softmax_focal_loss')}"
    return f"fused ({fused.library().paddle_focal_instruction_set().decode()})"
