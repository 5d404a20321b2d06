"""NVIDIA's driver by ctypes: kernels, and what the native library needs to launch them.

Imports nothing but the standard library, so that it can be loaded by its path where Paddle is missing.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Sequence
from ctypes import byref, c_char_p, c_int, c_void_p
from typing import Any

LIBRARY = "libcuda.so.1"


class CudaError(RuntimeError):
    """The driver is missing or has refused; the message says what it was asked."""


class Driver:
    """The driver of a file.

    Raises:
        CudaError: it cannot be loaded, or finds no device.
    """

    def __init__(self, path: str = LIBRARY) -> None:
        try:
            self._cuda = ctypes.CDLL(path)
        except OSError as error:
            raise CudaError(f"the driver of the GPU cannot be loaded ({error})") from error
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: Any) -> None:
        """Calls a function; one that fails is a CudaError."""
        result = getattr(self._cuda, name)(*arguments)
        if result:
            words = c_char_p()
            self._cuda.cuGetErrorString(result, byref(words))
            raise CudaError(f"{name}: {(words.value or b'unknown error').decode()} (CUDA error {result})")

    def address(self, name: str) -> int:
        return ctypes.cast(getattr(self._cuda, name), c_void_p).value


class Kernels:
    """Kernels on one device, in its primary context, which frameworks use, too.

    Attributes:
        packed: the struct FocalGpu.

    Raises:
        CudaError: the driver refuses them.
    """

    def __init__(self, driver: Driver, image: bytes, names: Sequence[str], device: int) -> None:
        self._driver, self._image = driver, image  # which the driver may read later
        number, self._context, module = c_int(), c_void_p(), c_void_p()
        driver.call("cuDeviceGet", byref(number), device)
        driver.call("cuDevicePrimaryCtxRetain", byref(self._context), number)
        self.run(driver.call, "cuModuleLoadData", byref(module), image)
        functions = [self.run(self._function, module, name) for name in names]
        addresses = [driver.address(name) for name in ("cuLaunchKernel", "cuGetErrorString")]
        self.packed = struct.pack(f"{2 + len(names)}P", *addresses, *functions)

    def _function(self, module: c_void_p, name: str) -> int:
        function = c_void_p()
        self._driver.call("cuModuleGetFunction", byref(function), module, name.encode())
        return function.value

    def run(self, function: Callable, *arguments: Any) -> Any:
        """Calls a function in the context."""
        current = c_void_p()
        self._driver.call("cuCtxGetCurrent", byref(current))
        if current.value == self._context.value:
            return function(*arguments)
        self._driver.call("cuCtxPushCurrent_v2", self._context)
        try:
            return function(*arguments)
        finally:
            self._driver.call("cuCtxPopCurrent_v2", byref(current))
