"""The native library of ``csrc``: a C interface (``csrc/focal.h``) that knows neither Paddle nor Python."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import paddle

from paddle_focal.ops.loss import Loss

REMEDY = "build it with `python -m paddle_focal.build`"
#: What focal_forward and focal_backward return.
OK, INVALID_LABEL, FAILED = range(3)
_POINTER = ctypes.c_void_p
#: By function, the types of its result and of its arguments. Structs travel as bytes.
_FUNCTIONS = {
    "focal_forward": (ctypes.c_int, (ctypes.c_char_p, _POINTER, _POINTER)),
    "focal_backward": (ctypes.c_int, (ctypes.c_char_p, ctypes.c_char_p, _POINTER)),
    "focal_multiply": (ctypes.c_int, (_POINTER, ctypes.c_int64, ctypes.c_int64, ctypes.c_double)),
    "focal_allocate": (_POINTER, (ctypes.c_int64,)),
    "focal_release": (None, (_POINTER, ctypes.c_int64)),
    "focal_use_openmp": (None, (_POINTER,) * 4),
    "focal_max_threads": (ctypes.c_int, ()),
    "focal_instruction_set": (ctypes.c_char_p, ()),
    "focal_error": (ctypes.c_char_p, ()),
    "focal_fingerprint": (ctypes.c_char_p, ()),
}
_OPENMP = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads", "omp_get_max_threads")


class UnavailableError(RuntimeError):
    """The native library cannot serve; the message says why and what to do."""


@cache
def library() -> ctypes.CDLL:
    """The library, with its functions declared, sharing Paddle's threads.

    Raises:
        UnavailableError: there is none of these sources, or it cannot be loaded.
    """
    from paddle_focal import build  # not above: `python -m paddle_focal.build` imports the package first

    path = build.PACKAGE / build.LIBRARY
    if not path.exists():
        raise UnavailableError(f"the native library has not been built: {REMEDY}")
    loaded = load(path)
    if loaded.focal_fingerprint().decode() != build.fingerprint():
        raise UnavailableError(f"the native library was built from other sources: {REMEDY}")
    _share_threads(loaded)
    return loaded


def load(path: Path) -> ctypes.CDLL:
    """The library of a file, with its functions declared.

    Raises:
        UnavailableError: it cannot be loaded.
    """
    try:
        loaded = ctypes.CDLL(str(path))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise UnavailableError(f"the native library cannot be loaded ({error}): {REMEDY}") from error
    return loaded


def _share_threads(loaded: ctypes.CDLL) -> None:
    """Lets the library use the OpenMP that Paddle has loaded, and its number of threads."""
    bundled = sorted((Path(paddle.__file__).parent / "libs").glob("lib*omp*.so*"))
    for path in [*map(str, bundled), "libgomp.so.1"]:
        try:
            runtime = ctypes.CDLL(path)
            functions = [ctypes.cast(getattr(runtime, name), _POINTER) for name in _OPENMP]
        except (OSError, AttributeError):
            continue
        loaded.focal_use_openmp(*functions)
        return


@cache
def reason_against(device: str, loss: Loss) -> str | None:
    """Why the library cannot serve a loss on a kind of device; None if it can."""
    if device not in loss.devices:
        return f"the native library has no kernels of {loss.name} for {device}"
    try:
        library()
    except UnavailableError as error:
        return str(error)
    return None
