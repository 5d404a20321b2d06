"""The kernels for GPUs, whose threads the host runs."""

from __future__ import annotations

import ctypes

import pytest


@pytest.fixture(scope="session")
def host(host_driver):
    loaded = ctypes.CDLL(str(host_driver))
    for function in (loaded.quotient, loaded.short_quotient):
        function.restype, function.argtypes = ctypes.c_int64, [ctypes.c_int64] * 2
    loaded.block_count.restype = ctypes.c_int64
    loaded.place.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_void_p]
    return loaded
