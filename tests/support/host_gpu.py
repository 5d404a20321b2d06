"""A GPU that is none: the package on a driver that runs every thread on the host (``tests/csrc/driver_on_host.cc``)."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import paddle
import pytest

from paddle_focal import build
from paddle_focal.ops import devices, ladder
from paddle_focal.ops.native import assignment, driver, gpu

IMAGE = b"kernels of the host\0"
STREAM = 0x57
COMPILER = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
#: `#pragma unroll` is for nvcc. What it inlines and optimizes takes longer than all tests.
OPTIONS = ["-std=c++17", "-O0", "-DFOCAL_INLINE=inline", "-shared", "-fPIC"]
OPTIONS += ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]


def compile_driver(folder: Path) -> Path:
    """The driver, in which the kernels' threads can be called one by one, too."""
    if not COMPILER:
        pytest.skip("there is no C++ compiler")
    source, library = Path(__file__).resolve().parents[1] / "csrc/driver_on_host.cc", folder / "driver_on_host.so"
    command = [COMPILER, *OPTIONS, f"-I{build.SOURCES}", source, "-o", library]
    subprocess.run(command, check=True)
    return library


class HostGpu:
    """Makes Paddle's tensors on the CPU pass for some on GPU 0; until the end of a test."""

    def __init__(self, library: Path, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.patch, self.number = patch, 0
        self.driver = ctypes.CDLL(str(library))
        self.driver.reset(ctypes.c_void_p(STREAM))
        self.kernels = folder / "kernels.fatbin"
        self.kernels.write_bytes(IMAGE + build.kernels_fingerprint().encode())
        for owner, name, value in (
            (build, "KERNELS", str(self.kernels)),
            (driver, "LIBRARY", str(library)),
            (devices, "kind", lambda tensor: "gpu"),
            (devices, "name", lambda tensor: f"gpu:{self.number}"),
            (gpu, "device_number", lambda tensor: self.number),
            (gpu, "place_of_gpu", lambda number: paddle.CPUPlace()),
            (gpu, "current_stream", lambda number: STREAM),
            (paddle, "is_compiled_with_cuda", lambda: True),
            (paddle.device.cuda, "device_count", lambda: 2),
        ):
            patch.setattr(owner, name, value)
        self.forget()

    def forget(self) -> None:
        """What the package keeps of the driver."""
        for function in (
            gpu.kernels_on,
            gpu._driver,
            gpu.reason_against,
            assignment._reason_against,
            ladder._warn_of_fallback,
        ):
            function.cache_clear()

    def fail(self, function: str, result: int) -> None:
        self.driver.fail(function.encode(), result)
