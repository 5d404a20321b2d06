"""Which thread of the kernels for GPUs takes which logits."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from host_kernels import FLOATING, KINDS, SHAPES, TYPES, Array, Case, Params, aligned, encode, make_labels


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if np.prod(shape) < 4000], ids=str)
@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("offset", [0, 1])
def test_every_logit_is_written_once(host, rng, shape, dtype, offset):
    case = Case(host, rng.normal(size=shape), make_labels(rng, shape), dtype, offset=offset)
    for upstream in (None, ctypes.byref(case.upstream())):
        out = aligned(encode(np.zeros(shape), dtype), offset)
        counts = np.zeros(shape, np.int32)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (out, counts)]
        host.count_writes(ctypes.byref(case.params), upstream, pointers[0], ctypes.c_int64(out.itemsize),
                          pointers[1])  # fmt: skip
        assert (counts == 1).all()


@pytest.mark.parametrize("shape", [(2, 3, 1), (2, 3, 8), (1, 1, 9)], ids=str)
@pytest.mark.parametrize("dtype", FLOATING)
def test_packs_are_aligned(host, shape, dtype):
    for displaced in ("logit", "label", "out"):
        at = {name: 4096 + 8 * (name == displaced) for name in ("logit", "label", "out")}
        params = Params(logit=Array(at["logit"], TYPES[dtype]), label=Array(at["label"], TYPES["int64"]), reduce=1)
        params.shape[:], params.numbers[0] = shape, 2
        number = Array(8, TYPES["float32"])
        kind = host.kind_of_pass(ctypes.byref(params), ctypes.byref(number), ctypes.c_void_p(at["out"]))
        assert KINDS[kind] == ("rows64" if displaced == "label" and shape == (2, 3, 1) else "any")


@pytest.mark.parametrize("shape", [(0, 80, 1), (4, 3, 0), (0, 1, 1)], ids=str)
@pytest.mark.parametrize("dtype", FLOATING)
def test_empty(host, shape, dtype):
    case = Case(host, np.zeros(shape), np.zeros((shape[0], shape[2])), dtype)
    assert case.partials().size == 0
    assert case.run().shape == shape


@pytest.mark.parametrize(
    "shape",
    [(2**31 + 3, 80, 1), (2**26 + 1, 91, 1), (1, 2**33 + 1, 1), (1, 1, 2**40 + 1), (2**33 + 1, 1, 3),
     (2**20, 80, 400), (2**20 + 1, 80, 401), (5, 19, 2**32), (5, 19, 2**32 + 1)],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("dtype", FLOATING)
def test_more_logits_than_32_bits_count(host, rng, shape, dtype):
    outer, classes, inner = shape
    params = Params(logit=Array(1 << 40, TYPES[dtype]), label=Array(1 << 41, TYPES["int64"]), reduce=1)
    params.shape[:] = shape
    units, per_block, blocks = numbers(host.share, params)
    assert 0 <= blocks * per_block - units < per_block < 2**30
    assert blocks < 2**31
    size = outer * classes * inner
    near = [n for k in (0, 1, size // 2) for n in (k, size // inner * inner - k) if n < size]
    for start in [*near, *rng.integers(0, size, 50).tolist()]:
        for count in (0, 1, 2**29, *rng.integers(0, 2**30, 3).tolist()):
            if start + count < size:
                rest, i = divmod(start + count, inner)
                assert numbers(host.place, params, start, count) == [*divmod(rest, classes), i]


def numbers(function, params, *arguments):
    result = np.zeros(3, np.int64)
    function(ctypes.byref(params), *arguments, ctypes.c_void_p(result.ctypes.data))
    return result.tolist()


def test_quotients(host, rng):
    special = [1, 2, 3, 7, 80, 1203, 2**31 - 1, 2**31, 2**33 + 1, 10**18]
    for divisor in [*special, *rng.integers(1, 2**40, 200).tolist()]:
        near = [k * divisor + d for k in (0, 1, 2, (2**63 - 2) // divisor) for d in (-1, 0, 1)]
        for n in [*near, 2**63 - 1, 2**31, *rng.integers(0, 2**63 - 1, 20).tolist()]:
            if 0 <= n < 2**63:
                assert host.quotient(divisor, n) == n // divisor
        if divisor <= 2**30:
            for n in (0, 1, divisor - 1, divisor, 2**31 // divisor * divisor - 1, 2**31 - 1):
                assert host.short_quotient(divisor, n) == n // divisor
