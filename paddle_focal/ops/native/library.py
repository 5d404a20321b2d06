"""The library of the native operators, which :mod:`paddle_focal.build` compiles."""

from __future__ import annotations

import ctypes
from functools import cache

from paddle.utils.cpp_extension import load_op_meta_info_and_register_op

from paddle_focal.ops.loss import Loss

REMEDY = "build it with `python -m paddle_focal.build`"


class UnavailableError(RuntimeError):
    """The native operator cannot serve; the message says why and what to do."""


@cache
def library() -> ctypes.CDLL:
    """The operator's library, registered with Paddle.

    Raises:
        UnavailableError: there is none for this Paddle and these sources, or it cannot be loaded.
    """
    from paddle_focal import build  # not above: `python -m paddle_focal.build` imports the package first

    path = build.PACKAGE / build.library_name()
    if not path.exists():
        others = sorted(other.name for other in build.PACKAGE.glob("_C-*.so"))
        found = f" (there is {', '.join(others)}: another Python, Paddle or other sources)" if others else ""
        raise UnavailableError(f"the native operator has not been built for this Paddle{found}: {REMEDY}")
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise UnavailableError(f"the native operator cannot be loaded ({error}): {REMEDY}") from error
    load_op_meta_info_and_register_op(str(path))
    loaded.paddle_focal_instruction_set.restype = ctypes.c_char_p
    return loaded


@cache
def reason_against(device: str, loss: Loss) -> str | None:
    """Why the operator of a loss cannot serve a kind of device; None if it can."""
    if device not in loss.devices:
        return f"the native operator of {loss.name} has no kernels for {device}"
    try:
        loaded = library()
    except UnavailableError as error:
        return str(error)
    if device == "gpu" and not loaded.paddle_focal_has_cuda():
        return f"the native operator was built without CUDA, for want of nvcc: install it, then {REMEDY}"
    return None
