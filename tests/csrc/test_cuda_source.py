"""The CUDA sources without a GPU: nvcc compiles them, and every thread's work is run on the host."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import oracle
import pytest
from host_kernels import FLOATING, SHAPES, Case, decode, encode, make_labels
from native_library import needs_library

from paddle_focal import build
from paddle_focal.ops.native.interface import kernel_names, load

SOURCES = Path(__file__).resolve().parents[2] / "paddle_focal/csrc"
NVCC = shutil.which("nvcc")


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


@pytest.mark.slow
@needs_library
@pytest.mark.skipif(not NVCC, reason="there is no nvcc")
def test_kernels_are_those_that_the_library_launches(host, tmp_path):
    """By name, and by the size of what they are called with, which g++ has laid out."""
    command = [NVCC, "-std=c++17", "-ptx", f"-I{SOURCES}", SOURCES / "cuda/focal_kernels.cu", "-o", tmp_path / "ptx"]
    subprocess.run(command, check=True)
    entries = re.findall(r"\.entry (\w+)\(\s*\.param [^,)]*?(?:\[(\d+)\])?\s*[,)]", (tmp_path / "ptx").read_text())
    assert {name for name, _ in entries} == set(kernel_names(load(build.PACKAGE / build.LIBRARY)))
    passes = {r"softmax": host.softmax_pass_size(), r"focal_(best_overlaps|label_anchors)": host.assign_pass_size()}
    passes[r"focal_(loss|gradient)_(?!softmax)"] = host.pass_size()
    for pattern, expected in passes.items():
        assert {size for name, size in entries if re.search(pattern, name)} == {str(expected)}


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
        case(scales=scales, weight=rng.choice([0.5, 1, 3], shape), gamma=1.5, second=0.1).check(upstream)


@pytest.mark.parametrize("shape", [(7, 3, 1), (33, 80, 1), (1, 1, 301), (3, 1, 50), (2, 5, 16), (2, 5, 7)], ids=str)
class TestOptions:
    @pytest.mark.parametrize("dtype", FLOATING)
    @pytest.mark.parametrize("target_dtype", FLOATING)
    @pytest.mark.parametrize("smoothing", [0.0, 0.2])
    def test_dense_targets(self, host, rng, shape, dtype, target_dtype, smoothing):
        label = make_labels(rng, shape, target_dtype)
        Case(host, rng.normal(size=shape), label, dtype, label_dtype=target_dtype, second=smoothing).check()

    @pytest.mark.parametrize("gamma", [0, 0.5, 1, 1.5, 2, 5])
    @pytest.mark.parametrize("smoothing", [0.0, 0.2])
    def test_gamma(self, host, rng, shape, gamma, smoothing):
        logit, label = rng.uniform(-9, 9, shape), make_labels(rng, shape)
        for dtype in ("float64", "float32"):
            Case(host, logit, label, dtype, gamma=gamma, second=smoothing).check()

    @pytest.mark.parametrize("axes", list(itertools.product([0, 1], repeat=3)), ids=str)
    @pytest.mark.parametrize("dtype", FLOATING)
    def test_weight(self, host, rng, shape, axes, dtype):
        weight = rng.uniform(0, 2, [n if axis else 1 for n, axis in zip(shape, axes)])
        logit, label = rng.normal(size=shape), make_labels(rng, shape)
        Case(host, logit, label, "float64", weight=decode(encode(weight, dtype), dtype), weight_dtype=dtype).check()

    @pytest.mark.parametrize("dtype", FLOATING)
    @pytest.mark.parametrize("label_dtype", ["int32", "int64"])
    def test_weight_of_each_label(self, host, rng, shape, dtype, label_dtype):
        arguments = {"label_dtype": label_dtype, "weight": rng.choice([0.0, 0.5, 3.0], (shape[0], 1, shape[2]))}
        arguments["weight_dtype"] = "float64" if dtype == "float64" else "float32"
        logit, label = rng.normal(size=shape), make_labels(rng, shape, label_dtype)
        case = Case(host, logit, label, dtype, **arguments)
        assert case.kind().startswith("weighted_") == (shape != (2, 5, 7))
        case.check(-2.5)
        score = rng.choice([0.0, 0.3, 1.0], (shape[0], shape[2]))
        Case(host, logit, label, dtype, loss="quality", score=score, **arguments).check()

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
                    host, logit, label, dtype, label_dtype=label_dtype, ignore_index=ignore_index, second=smoothing
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


#: With their second and third number.
OTHERS = [
    ("quality", 0, 0), ("varifocal", 0, 0), ("varifocal", 1, 0), ("gaussian", 4, 0), ("gaussian", 0, 0),
    ("gaussian", 1.5, 0), ("asymmetric", 1.5, 0.25), ("asymmetric", 0, 0), ("sigmoid", 0.2, -0.5),
]  # fmt: skip


@pytest.mark.parametrize("shape", [(33, 80, 1), (7, 3, 1), (1, 1, 301), (2, 37, 16), (2, 5, 7)], ids=str)
@pytest.mark.parametrize("loss", OTHERS, ids=str)
@pytest.mark.parametrize("dtype", FLOATING)
class TestOtherLosses:
    @pytest.mark.parametrize("label_dtype", ["int32", "int64"])
    def test_class_indices_with_scores(self, host, rng, shape, loss, dtype, label_dtype):
        label, score = make_labels(rng, shape, label_dtype), rng.choice([0.0, 1.0, 0.3, 0.75], (shape[0], shape[2]))
        for gamma, scores in itertools.product((2.0, 1.5, 1.0), (None, score)):
            if loss[0] in ("gaussian", "asymmetric", "sigmoid") and scores is not None:
                continue
            Case(
                host, rng.normal(size=shape), label, dtype, label_dtype=label_dtype, loss=loss[0], second=loss[1],
                third=loss[2], score=scores, score_dtype=dtype, gamma=gamma,
            ).check()  # fmt: skip

    @pytest.mark.parametrize("target_dtype", ["float32", "float64", "bfloat16"])
    def test_dense_targets(self, host, rng, shape, loss, dtype, target_dtype):
        label = make_labels(rng, shape, target_dtype)
        for gamma in (2.0, 1.5, 1.0, 0.0):
            arguments = {"label_dtype": target_dtype, "loss": loss[0], "second": loss[1], "third": loss[2]}
            Case(host, rng.normal(size=shape), label, dtype, gamma=gamma, **arguments).check()

    def test_everything_at_once(self, host, rng, shape, loss, dtype):
        scales, weight = rng.uniform(0.1, 1, (2, shape[1])), rng.choice([0.5, 1, 3], shape)
        arguments = {"loss": loss[0], "second": loss[1], "third": loss[2], "scales": scales, "weight": weight}
        for label_dtype, gamma in (("int64", 4.0), ("float32", 2.0)):
            label = make_labels(rng, shape, label_dtype)
            Case(host, rng.normal(size=shape), label, dtype, label_dtype=label_dtype, gamma=gamma, **arguments).check()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_doubles_are_targets_as_they_stand(host, dtype):
    """Rounded to the logits' type, some of these would be 0, and some 1."""
    label = np.array([0, 1e-50, 0.5, 1 - 1e-9, 1]).reshape(1, 5, 1)
    for loss, second in (("varifocal", 0.0), ("gaussian", 4.0)):
        Case(host, np.zeros((1, 5, 1)), label, dtype, label_dtype="float64", loss=loss, second=second).check()


@pytest.mark.parametrize("value", [-0.25, 1.25, np.nan])
@pytest.mark.parametrize("shape", [(9, 80, 1), (5, 3, 1), (1, 1, 31), (2, 5, 16), (2, 5, 7)], ids=str)
def test_scores_out_of_range(host, rng, shape, value):
    label = rng.integers(0, shape[1] + 1, (shape[0], shape[2]))
    score = np.where(rng.random(label.shape) < 0.5, value, 0.5)
    case = Case(host, rng.normal(size=shape), label, loss="quality", score=score)
    for result in (case.run(), case.run(case.upstream())):
        assert (np.isnan(result) == np.isnan(case.targets()[0])).all()
    assert np.isnan(case.partials().sum())


@pytest.mark.parametrize("gamma", [2.0, 1.5])
@pytest.mark.parametrize("dtype", FLOATING)
def test_each_kind_of_kernel_serves_what_it_is_for(host, dtype, gamma):
    other = {"float16": "bfloat16", "bfloat16": "float16", "float32": "bfloat16", "float64": "float32"}[dtype]
    in_float, rest = dtype in ("float16", "bfloat16"), gamma == 2

    def kinds(shape=(5, 16, 1), label_dtype="int64", **arguments):
        label = np.zeros(shape if label_dtype in FLOATING else (shape[0], shape[2]))
        case = Case(host, np.zeros(shape), label, dtype, label_dtype=label_dtype, **{"gamma": gamma, **arguments})
        return {case.kind(), case.kind(case.upstream())}

    for loss in ("sigmoid", "quality", "varifocal"):
        assert kinds(loss=loss) == {"rows64"}
        assert kinds((5, 3, 1), "int32", loss=loss, score=np.zeros(5)) == {"rows32"}
        assert kinds((5, 3, 8), loss=loss) == kinds((77, 1, 1), loss=loss) == {"runs"}
        assert kinds(label_dtype=dtype, loss=loss) == {"targets"}
        assert kinds((5, 3, 7), dtype, loss=loss) == {"targets"}
        assert kinds(label_dtype="float32", loss=loss) == {"float_targets" if in_float else kinds_of_float(dtype)}
        assert kinds(label_dtype=other, loss=loss) == {"any"}
    heat = {"loss": "gaussian", "second": 4.0}
    assert kinds(label_dtype=dtype, **heat) == {"heatmap" if rest else "any"}
    assert kinds(label_dtype="float32", **heat) == (
        {"any"} if not rest or dtype == "float64" else {"float_heatmap" if in_float else "heatmap"}
    )
    weighted = {"weight": np.ones((5, 1, 1)), "weight_dtype": "float64" if dtype == "float64" else "float32"}
    assert kinds(**weighted) == kinds((5, 3, 1), **weighted) == {"weighted_rows64" if rest else "any"}
    assert kinds((5, 3, 1), "int32", **weighted) == {"weighted_rows32" if rest else "any"}
    assert kinds((5, 1, 1), **weighted) == {"weighted_runs" if rest else "any"}
    of_runs = {**weighted, "weight": np.ones((5, 1, 8))}
    assert kinds((5, 3, 8), **of_runs) == {"weighted_runs" if rest else "any"}
    for other_weight in (
        {"weight": np.ones((1, 1, 1))}, {"weight": np.ones((1, 16, 1))}, {"weight": np.ones((5, 16, 1))},
        {"weight_dtype": other}, {"label_dtype": dtype},
    ):  # fmt: skip
        assert kinds(**{**weighted, **other_weight}) == {"any"}
    for arguments in (
        {"gamma": 1.0}, {"second": 0.1}, {"scales": np.ones((2, 16))}, {"offset": 1},
        {"shape": (5, 3, 7)}, {"loss": "varifocal", "second": 1.0}, {"third": 1.0}, {"loss": "asymmetric"},
    ):  # fmt: skip
        assert kinds(**arguments) == {"any"}


def kinds_of_float(dtype):
    return "targets" if dtype == "float32" else "any"


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


class TestSum:
    def test_of_many(self, host, rng):
        shape = (1200, 80, 1)
        label = np.where(rng.random((1200, 1)) < 0.01, rng.integers(0, 80, (1200, 1)), 80)
        for dtype in FLOATING:
            case = Case(host, rng.normal(-4, 2, shape), label, dtype)
            np.testing.assert_allclose(case.partials().sum(), case.expected()[0].sum(), rtol=1e-6)

    def test_has_no_cancellation(self, host):
        case = Case(host, np.array([[[100.0], [-8.0]]]), np.array([[0]]))
        expected = oracle.loss_and_gradient([100.0, -8.0], [1, 0])[0].sum()
        np.testing.assert_allclose(case.partials().sum(), expected, rtol=2e-6)
