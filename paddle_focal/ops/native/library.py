"""The native library of ``csrc``: a C interface (``csrc/focal.h``) that knows neither Paddle nor Python."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import paddle

from paddle_focal.ops import devices
from paddle_focal.ops.loss import Loss
from paddle_focal.ops.native.interface import REMEDY, UnavailableError, load

_OPENMP = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads", "omp_get_max_threads")


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


def _share_threads(loaded: ctypes.CDLL) -> None:
    """Lets the library use the OpenMP that Paddle has loaded, and its number of threads."""
    bundled = sorted((Path(paddle.__file__).parent / "libs").glob("lib*omp*.so*"))
    for path in [*map(str, bundled), "libgomp.so.1"]:
        try:
            runtime = ctypes.CDLL(path)
            functions = [ctypes.cast(getattr(runtime, name), ctypes.c_void_p) for name in _OPENMP]
        except (OSError, AttributeError):
            continue
        loaded.focal_use_openmp(*functions)
        return


def reason_against(device: str, loss: Loss) -> str | None:
    """Why the library cannot serve a loss on a device ('cpu', 'gpu:1'; 'gpu' is the current one); None if it can."""
    kind, _, number = device.partition(":")
    if kind != "gpu" or "gpu" not in loss.devices:
        return _reason_against(kind, loss)
    if not paddle.in_dynamic_mode():
        return "losses in static graphs have no kernels for GPUs"
    from paddle_focal.ops.native import gpu  # which needs the library

    return _reason_against(kind, loss) or gpu.reason_against(int(number or devices.current_gpu()), loss)


@cache
def _reason_against(kind: str, loss: Loss) -> str | None:
    if kind not in loss.devices:
        return f"the native library has no kernels of {loss.name} for {kind}"
    try:
        library()
    except UnavailableError as error:
        return str(error)
    return None
