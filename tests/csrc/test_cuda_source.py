"""The CUDA sources without a GPU: nvcc compiles them, and every thread's work is run on the host."""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
from pathlib import Path

import numpy as np
import oracle
import pytest

SOURCES = Path(__file__).resolve().parents[2] / "paddle_focal/csrc"
NVCC = shutil.which("nvcc")

TYPES = {"float16": 0, "bfloat16": 1, "float32": 2, "float64": 3, "int32": 4, "int64": 5}
WIDTH = {"float16": 8, "bfloat16": 8, "float32": 4, "float64": 2}
FLOATING = list(WIDTH)
# Largest relative error of an element (in float32 of gamma 0, 1 or 2, and ten times that of any other), and the largest
# error below the smallest normal number.
TOLERANCE = {"float64": 1e-9, "float32": 2e-6, "float16": 1.02 * 2**-11, "bfloat16": 1.02 * 2**-8}
SUBNORMAL = {"float64": 0, "float32": 2.4e-38, "float16": 2**-24, "bfloat16": 2.4e-38}


class Array(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("type", ctypes.c_int64))


class Scale(ctypes.Structure):
    _fields_ = (("value", ctypes.c_double), ("data", ctypes.c_void_p), ("stride", ctypes.c_int64))


class Weight(ctypes.Structure):
    _fields_ = (("array", Array), ("strides", ctypes.c_int64 * 3))


class Params(ctypes.Structure):
    _fields_ = (
        ("logit", Array),
        ("label", Array),
        ("scales", Scale * 2),
        ("weight", Weight),
        ("loss", ctypes.c_int64),
        ("shape", ctypes.c_int64 * 3),
        ("gamma", ctypes.c_double),
        ("label_smoothing", ctypes.c_double),
        ("ignore_index", ctypes.c_int64),
        ("reduce", ctypes.c_int64),
    )


def encode(values, dtype):
    """Numbers as their bytes' array; bfloat16, which NumPy does not have, as uint16."""
    if dtype != "bfloat16":
        return np.asarray(values).astype(dtype)
    bits = np.asarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)


def decode(array, dtype):
    if dtype != "bfloat16":
        return array.astype(np.float64)
    return (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def aligned(array, offset):
    """A copy ``offset`` elements after a multiple of 64 bytes."""
    room = np.empty(array.nbytes + 64 + offset * array.itemsize, np.uint8)
    start = -room.ctypes.data % 64 + offset * array.itemsize
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.fixture(scope="module")
def host(host_driver):
    loaded = ctypes.CDLL(str(host_driver))
    loaded.block_count.restype = loaded.quotient.restype = ctypes.c_int64
    loaded.is_packed.restype = ctypes.c_bool
    loaded.quotient.argtypes = [ctypes.c_int64] * 2
    loaded.walk.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int, ctypes.c_void_p]
    return loaded


class Case:
    """One problem in the kernels' form; inputs as they are after rounding to their types.

    ``scales`` and ``weight`` are None or arrays: (foreground, background) of shape [classes], and any weight that
    broadcasts to the logits. ``offset`` moves every array that many elements from an aligned address.
    """

    def __init__(self, host, logit, label, dtype="float32", *, label_dtype="int64", scales=None, weight=None,
                 weight_dtype="float32", gamma=2.0, smoothing=0.0, ignore_index=-1, offset=0):  # fmt: skip
        self.host, self.dtype, self.offset, self.gamma, self.smoothing = host, dtype, offset, gamma, smoothing
        self.shape, self.kept = logit.shape, []
        self.params = Params(gamma=gamma, label_smoothing=smoothing, ignore_index=ignore_index)
        self.params.shape[:] = logit.shape
        self.params.logit, self.logit = self.array(logit, dtype)
        self.params.label, self.label = self.array(label, label_dtype)
        self.is_dense = label_dtype in FLOATING
        compute = "float64" if dtype == "float64" else "float32"
        self.scales = []
        for index, default in enumerate((0.25, 0.75)):
            scale = Scale(value=default)
            if scales is not None:
                array, _ = self.array(scales[index], compute)
                scale.data, scale.stride = array.data, int(len(scales[0]) > 1)
            self.params.scales[index] = scale
            self.scales.append(np.float64(default) if scales is None else scales[index][:, None])
        self.weight = 1.0
        if weight is not None:
            self.params.weight.array, self.weight = self.array(weight, weight_dtype)
            strides = [s // weight.itemsize if n > 1 else 0 for s, n in zip(weight.strides, weight.shape)]
            self.params.weight.strides[:] = strides

    def array(self, values, dtype):
        encoded = aligned(encode(values, dtype), self.offset)
        self.kept.append(encoded)
        return Array(encoded.ctypes.data, TYPES[dtype]), decode(encoded, dtype)

    def upstream(self, values=1.0, dtype="float32"):
        """A number, or an array in the logits' shape and type."""
        per_logit = np.ndim(values) > 0
        array, self.upstream_values = self.array(values, self.dtype if per_logit else dtype)
        self.params.reduce = not per_logit
        return array

    def run(self, upstream=None):
        size, beyond = int(np.prod(self.shape)), 16
        out = aligned(encode(np.full(size + beyond, 7.0), self.dtype), self.offset)
        given = None if upstream is None else ctypes.byref(upstream)
        self.host.run(ctypes.byref(self.params), given, ctypes.c_void_p(out.ctypes.data), None)
        result = decode(out, self.dtype)
        assert (result[size:] == 7).all()
        return result[:size].reshape(self.shape)

    def partials(self):
        partials = np.zeros(self.host.block_count(ctypes.byref(self.params)))
        self.host.run(ctypes.byref(self.params), None, None, ctypes.c_void_p(partials.ctypes.data))
        return partials

    def targets(self):
        """Targets of all logits, with NaN where there is none, and which ones are ignored."""
        if self.is_dense:
            label = self.label.reshape(self.shape)
            return np.where((label >= 0) & (label <= 1), label, np.nan), np.zeros(self.shape, bool)
        classes, label = self.shape[1], self.label.reshape(self.shape[0], 1, self.shape[2])
        target = (label == np.arange(classes)[:, None]).astype(np.float64)
        ignored = np.broadcast_to(label == self.params.ignore_index, self.shape)
        return np.where((label < 0) | (label > classes), np.nan, target), ignored

    def expected(self):
        """Loss by its definition, its derivative by a complex step; both without upstream gradient."""
        target, ignored = self.targets()
        x = np.where(ignored, 0, self.logit) + 1e-30j
        y = np.where(ignored, 0, target)
        p, q = 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(x))
        smoothed = y * (1 - self.smoothing) + self.smoothing / 2
        cross_entropy = -(smoothed * np.log(p) + (1 - smoothed) * np.log(q))
        alpha = y * self.scales[0] + (1 - y) * self.scales[1]
        value = alpha * (q * y + p * (1 - y)) ** self.gamma * cross_entropy * self.weight
        return np.where(ignored, 0, value.real), np.where(ignored, 0, value.imag / 1e-30)

    def check(self, upstream=1.0, upstream_dtype="float32"):
        """Loss, sum and gradient; terms of opposite sign may meet in a soft target's gradient."""
        loss, gradient = self.expected()
        rtol, atol = TOLERANCE[self.dtype], SUBNORMAL[self.dtype]
        if self.dtype == "float32" and self.gamma not in (0, 1, 2):
            rtol *= 10
        np.testing.assert_allclose(self.run(), loss, rtol=rtol, atol=atol)
        np.testing.assert_allclose(self.partials().sum(), loss.sum(), rtol=2e-6, atol=atol)
        given = self.upstream(upstream, upstream_dtype)
        if self.is_dense or self.smoothing:
            atol += rtol * np.nanmax(np.abs(gradient), initial=0) * np.abs(self.upstream_values).max()
        np.testing.assert_allclose(self.run(given), gradient * self.upstream_values, rtol=rtol, atol=atol)


def make_labels(rng, shape, dtype="int64"):
    outer, classes, inner = shape
    if dtype in FLOATING:
        return rng.choice([0.0, 1.0, 0.3, 0.75], shape, p=[0.7, 0.1, 0.1, 0.1])
    return rng.integers(-1, classes + 1, (outer, inner))


SHAPES = [
    (1, 1, 1), (1, 1, 3001), (5, 1, 77), (5, 1, 80), (700, 1, 1),
    (1, 3, 1), (1501, 3, 1), (130, 80, 1), (3, 1203, 1), (41, 91, 1), (9, 2, 1),
    (3, 3, 16), (2, 80, 40), (2, 37, 64), (3, 3, 7), (2, 80, 35), (2, 19, 13), (2, 1203, 3),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not NVCC, reason="there is no nvcc")
@pytest.mark.parametrize("architecture", [70, 75, 80, 86, 89, 90])
def test_compiles(architecture, tmp_path):
    listed = subprocess.run([NVCC, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout.split()
    if f"sm_{architecture}" not in listed:
        pytest.skip(f"this nvcc has no sm_{architecture}")
    command = [NVCC, "-std=c++17", "-O3", "-cubin", f"-arch=sm_{architecture}", "-o", tmp_path / "kernels.cubin"]
    result = subprocess.run(
        [*command, f"-I{SOURCES}", SOURCES / "cuda/focal_kernels.cu"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stderr
    assert (tmp_path / "kernels.cubin").stat().st_size > 0


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("label_dtype", ["int32", "int64", "float32"])
class TestShapes:
    @pytest.fixture
    def case(self, host, rng, shape, dtype, label_dtype):
        def make(**arguments):
            logit, label = rng.uniform(-9, 9, shape), make_labels(rng, shape, label_dtype)
            return Case(host, logit, label, dtype, label_dtype=label_dtype, **arguments)

        return make

    @pytest.mark.parametrize("offset", [0, 1])
    def test_numbers(self, case, offset):
        case(offset=offset).check()

    def test_everything_at_once(self, case, rng, shape):
        scales, upstream = rng.uniform(0.1, 1, (2, shape[1])), rng.choice([-3.0, 0.5, 2.0], shape)
        case(scales=scales, weight=rng.choice([0.5, 1, 3], shape), gamma=1.5, smoothing=0.1).check(upstream)


@pytest.mark.parametrize("shape", [(7, 3, 1), (33, 80, 1), (1, 1, 301), (3, 1, 50), (2, 5, 16), (2, 5, 7)], ids=str)
class TestOptions:
    @pytest.mark.parametrize("dtype", FLOATING)
    @pytest.mark.parametrize("target_dtype", FLOATING)
    @pytest.mark.parametrize("smoothing", [0.0, 0.2])
    def test_dense_targets(self, host, rng, shape, dtype, target_dtype, smoothing):
        label = make_labels(rng, shape, target_dtype)
        Case(host, rng.normal(size=shape), label, dtype, label_dtype=target_dtype, smoothing=smoothing).check()

    @pytest.mark.parametrize("gamma", [0, 0.5, 1, 1.5, 2, 5])
    @pytest.mark.parametrize("smoothing", [0.0, 0.2])
    def test_gamma(self, host, rng, shape, gamma, smoothing):
        logit, label = rng.uniform(-9, 9, shape), make_labels(rng, shape)
        for dtype in ("float64", "float32"):
            Case(host, logit, label, dtype, gamma=gamma, smoothing=smoothing).check()

    @pytest.mark.parametrize("axes", list(itertools.product([0, 1], repeat=3)), ids=str)
    @pytest.mark.parametrize("dtype", FLOATING)
    def test_weight(self, host, rng, shape, axes, dtype):
        weight = rng.uniform(0, 2, [n if axis else 1 for n, axis in zip(shape, axes)])
        logit, label = rng.normal(size=shape), make_labels(rng, shape)
        Case(host, logit, label, "float64", weight=decode(encode(weight, dtype), dtype), weight_dtype=dtype).check()

    @pytest.mark.parametrize("label_dtype", ["int64", "float32"])
    def test_scales(self, host, rng, shape, label_dtype):
        for count in (1, shape[1]):
            scales = rng.uniform(0.1, 1, (2, count))
            label = make_labels(rng, shape, label_dtype)
            Case(host, rng.normal(size=shape), label, "float64", label_dtype=label_dtype, scales=scales).check()

    @pytest.mark.parametrize("dtype", FLOATING)
    def test_upstream(self, host, rng, shape, dtype):
        case = Case(host, rng.normal(size=shape), make_labels(rng, shape), dtype)
        case.check(rng.choice([-3.0, 0.5, 2.0], shape))
        for upstream_dtype in FLOATING:
            case.check(-2.5, upstream_dtype)

    @pytest.mark.parametrize("dtype", FLOATING)
    @pytest.mark.parametrize("smoothing", [0.0, 0.2])
    def test_labels_without_loss(self, host, rng, shape, dtype, smoothing):
        outer, classes, inner = shape
        label = rng.choice([-100, 0, classes, classes + 1, -1, 2**31 - 1], (outer, inner))
        for ignore_index in (-100, classes + 1):
            logit = np.where((label == ignore_index)[:, None], np.nan, rng.normal(size=shape))
            for label_dtype in ("int32", "int64"):
                case = Case(
                    host, logit, label, dtype, label_dtype=label_dtype, ignore_index=ignore_index, smoothing=smoothing
                )
                case.check()
                for result in (case.run(), case.run(case.upstream())):
                    dropped = np.broadcast_to((label == ignore_index)[:, None], shape)
                    assert (result[dropped] == 0).all()
                    assert np.isnan(result).any() == np.isnan(case.targets()[0][~dropped]).any()

    def test_labels_beyond_32_bits(self, host, rng, shape):
        label = np.full((shape[0], shape[2]), 2**32)
        assert np.isnan(Case(host, rng.normal(size=shape), label).run()).all()

    @pytest.mark.parametrize("value", [-0.25, 1.25, np.nan, np.inf])
    def test_targets_out_of_range(self, host, rng, shape, value):
        label = make_labels(rng, shape, "float32")
        label.flat[::5] = value
        case = Case(host, rng.normal(size=shape), label, label_dtype="float32")
        for result in (case.run(), case.run(case.upstream())):
            assert (np.isnan(result).ravel() == (np.arange(label.size) % 5 == 0)).all()
        assert np.isnan(case.partials().sum())

    def test_nan_and_infinity(self, host, rng, shape):
        label = np.full((shape[0], shape[2]), shape[1])
        for value, loss, gradient in ((np.nan,) * 3, (-np.inf, 0, 0), (np.inf, np.inf, np.nan)):
            case = Case(host, np.full(shape, value), label)
            np.testing.assert_equal(case.run(), np.full(shape, loss))
            np.testing.assert_equal(case.run(case.upstream()), np.full(shape, gradient))


@pytest.fixture(scope="module")
def exact():
    """Logits, and the oracle's loss and gradient of them, each computed once."""
    x = np.concatenate([np.linspace(-100, 100, 41), [-1e4, 1e4, 0, -1e-3, 1e-30], np.linspace(-20, 20, 33)])
    x = np.concatenate([x, [-88.5, -103.9, 16.7, -87.3, -29.1, -43.6]]).astype("float32").astype("float64")
    known = {}

    def look_up(gamma, target):
        if (gamma, target) not in known:
            known[gamma, target] = oracle.loss_and_gradient(x, target, None, gamma)
        return x, known[gamma, target]

    return look_up


@pytest.fixture
def errors(host, request):
    host.set_errors(*request.param)
    yield
    host.set_errors(0, 0)


@pytest.mark.usefixtures("errors")
@pytest.mark.parametrize("errors", list(itertools.product([-1, 0, 1], repeat=2)), indirect=True, ids=str)
@pytest.mark.parametrize("gamma", [0, 0.5, 1, 1.5, 2, 5])
@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("label_dtype", ["int64", "float32"])
def test_accuracy(host, exact, gamma, target, label_dtype):
    """In float32 whichever way the device's approximations err."""
    x, expected = exact(gamma, target)
    label = np.full((x.size, 1), 1 - target) if label_dtype == "int64" else np.full((x.size, 1, 1), target)
    arguments = {"label_dtype": label_dtype, "gamma": gamma, "scales": np.ones((2, 1))}
    for dtype, smallest, rtol in (
        ("float32", 1.18e-38, 2e-6 if gamma in (0, 1, 2) else 2e-5),
        ("float64", 1e-300, 1e-12),
    ):
        case = Case(host, x[:, None, None], label, dtype, **arguments)
        for actual, values in zip((case.run(), case.run(case.upstream())), expected):
            normal = np.abs(values) >= smallest
            np.testing.assert_allclose(actual.ravel()[normal], values[normal], rtol=rtol)
            np.testing.assert_allclose(actual.ravel()[~normal], 0, atol=2 * smallest)


class TestPlaces:
    """Which thread takes which logits."""

    @pytest.mark.parametrize("shape", [shape for shape in SHAPES if np.prod(shape) < 4000], ids=str)
    @pytest.mark.parametrize("dtype", FLOATING)
    @pytest.mark.parametrize("offset", [0, 1])
    def test_every_logit_is_written_once(self, host, rng, shape, dtype, offset):
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
    def test_packs_are_aligned(self, host, shape, dtype):
        for displaced in (None, "logit", "label", "upstream", "out"):
            at = {name: 4096 + 8 * (name == displaced) for name in ("logit", "label", "upstream", "out")}
            params = Params(logit=Array(at["logit"], TYPES[dtype]), label=Array(at["label"], TYPES["int64"]))
            params.shape[:] = shape
            upstream = Array(at["upstream"], TYPES[dtype])
            arguments = ctypes.byref(params), ctypes.byref(upstream), ctypes.c_void_p(at["out"]), WIDTH[dtype]
            assert host.is_packed(*arguments) == (displaced is None)

    @pytest.mark.parametrize("shape", [(0, 80, 1), (4, 3, 0), (0, 1, 1)], ids=str)
    @pytest.mark.parametrize("dtype", FLOATING)
    def test_empty(self, host, shape, dtype):
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
    def test_more_logits_than_32_bits_count(self, host, rng, shape, dtype):
        outer, classes, inner = shape
        size, width = outer * classes * inner, WIDTH[dtype]
        params = Params(logit=Array(1 << 40, TYPES[dtype]), label=Array(1 << 41, TYPES["int64"]))
        params.shape[:] = shape
        blocks, packs = host.block_count(ctypes.byref(params)), np.zeros((16, 4), np.int64)
        last = 0
        for block in [*range(3), *rng.integers(0, blocks, 60).tolist(), *range(blocks - 3, blocks)]:
            for thread in range(256) if block == blocks - 1 else (0, 1, 97, 255):
                count = host.walk(ctypes.byref(params), width, block, thread, packs.ctypes.data)
                for logit, label, c, left in packs[:count].tolist():
                    o, i = divmod(label, inner)
                    assert 0 <= c < classes
                    assert logit == (o * classes + c) * inner + i
                    lanes = min(left, width) - 1
                    is_apart = inner > 1 and classes > 1 and inner % width
                    last = max(last, logit + lanes * (inner if is_apart else 1))
        assert last == size - 1
        assert blocks < 2**31

    def test_quotients(self, host, rng):
        special = [1, 2, 3, 7, 80, 1203, 2**31 - 1, 2**31, 2**33 + 1, 10**18]
        for divisor in [*special, *rng.integers(1, 2**40, 200).tolist()]:
            near = [k * divisor + d for k in (0, 1, 2, (2**63 - 2) // divisor) for d in (-1, 0, 1)]
            for n in [*near, 2**63 - 1, 2**31, *rng.integers(0, 2**63 - 1, 20).tolist()]:
                if 0 <= n < 2**63:
                    assert host.quotient(divisor, n) == n // divisor


class TestSum:
    def test_of_many(self, host, rng):
        shape = (5000, 80, 1)
        label = np.where(rng.random((5000, 1)) < 0.01, rng.integers(0, 80, (5000, 1)), 80)
        for dtype in FLOATING:
            case = Case(host, rng.normal(-4, 2, shape), label, dtype)
            np.testing.assert_allclose(case.partials().sum(), case.expected()[0].sum(), rtol=1e-6)
            assert (case.partials() == case.partials()).all()

    def test_has_no_cancellation(self, host):
        case = Case(host, np.array([[[100.0], [-8.0]]]), np.array([[0]]))
        expected = oracle.loss_and_gradient([100.0, -8.0], [1, 0])[0].sum()
        np.testing.assert_allclose(case.partials().sum(), expected, rtol=2e-6)
