"""The backend ladder, and what only the native backend has: instruction sets, threads, graph modes, its build."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import oracle
import paddle
import pytest
from accuracy import assert_accurate, run
from native_library import IS_BUILT, needs_operator
from paddle.utils.cpp_extension.extension_utils import parse_op_info
from paddle_limits import needs_deleters

import paddle_focal
from paddle_focal import build, ops, sigmoid_focal_loss
from paddle_focal.ops import composite, devices, ladder, native
from paddle_focal.ops.native.library import library
from paddle_focal.ops.native.operator import declared_names
from paddle_focal.ops.registry import LOSSES

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, timeout: float | None = None, **environment: str) -> subprocess.CompletedProcess:
    """Runs code in a fresh interpreter that sees this package."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, cwd="/", timeout=timeout
    )


def test_a_graph_of_paddle_2_lacks_the_inputs_that_are_not_given(monkeypatch):
    """Its operators take inputs and attributes by name."""
    from paddle_focal.ops.native import operator

    appended = []

    class Helper:
        def __init__(self, name):
            self.name = name

        def create_variable_for_type_inference(self, dtype):
            return f"a {dtype}"

        def append_op(self, **options):
            appended.append(options)

    monkeypatch.setattr(operator, "in_dynamic_or_pir_mode", lambda: False)
    monkeypatch.setattr(operator, "LayerHelper", Helper)
    logit = SimpleNamespace(dtype="float32")
    names, attributes = declared_names(LOSSES["sigmoid_focal_loss"])
    inputs = [logit, *[None] * (len(names) - 2), "a weight"]
    result = operator._call(LOSSES["sigmoid_focal_loss"], inputs, list(range(len(attributes))))
    assert result == "a float32"
    assert appended == [
        {
            "type": "fused_sigmoid_focal_loss",
            "inputs": {names[0]: logit, names[-1]: "a weight"},
            "outputs": {"Loss": "a float32"},
            "attrs": dict(zip(attributes, range(len(attributes)))),
        }
    ]


class TestLadder:
    def test_the_best_that_serves(self):
        assert ops.select(None, paddle.zeros([2, 3])) is (native if IS_BUILT else composite)
        assert ops.select("composite", paddle.zeros([2, 3])) is composite

    @pytest.fixture
    def unavailable(self, monkeypatch):
        monkeypatch.setattr(native, "reason_against", lambda device, loss: f"of a test on the {device}")
        ladder._warn_of_fallback.cache_clear()
        yield
        ladder._warn_of_fallback.cache_clear()

    def test_fallback_warns_once_with_the_reason(self, unavailable, recwarn):
        for _ in range(3):
            assert ops.select(None, paddle.zeros([2, 3])) is composite
        messages = [str(warning.message) for warning in recwarn if "paddle_focal" in str(warning.message)]
        assert messages == ["paddle_focal falls back on its slower composite backend: of a test on the cpu"]

    def test_a_named_backend_is_refused_with_the_reason(self, unavailable):
        with pytest.raises(RuntimeError, match="backend 'native' cannot serve: of a test on the cpu"):
            sigmoid_focal_loss(paddle.zeros([2, 3]), paddle.to_tensor([0, 3]), backend="native")

    def test_a_device_without_kernels(self, monkeypatch):
        monkeypatch.setattr(devices, "kind", lambda tensor: "npu")
        with pytest.raises(RuntimeError, match="no kernels for npu"):
            ops.select("native", paddle.zeros([2, 3]))

    def test_report(self):
        report = python("import paddle_focal; print(paddle_focal.backend_report())").stdout
        module = subprocess.run([sys.executable, "-m", "paddle_focal"], cwd=ROOT, capture_output=True, text=True).stdout
        assert report == module == f"{paddle_focal.backend_report()}\n"
        assert f"Paddle {paddle.__version__}" in report
        assert ("cpu: native (" if IS_BUILT else "cpu: composite, because") in report

    @needs_operator
    def test_report_names_the_losses_that_are_slower(self, monkeypatch):
        assert ladder._serving("cpu").count(";") == 0
        reasons = {"sigmoid_focal_loss": None, "softmax_focal_loss": "of a test"}
        monkeypatch.setattr(native, "reason_against", lambda device, loss: reasons[loss.name])
        assert ladder._serving("gpu") == "native; softmax_focal_loss composite, because of a test"


@needs_operator
@pytest.mark.parametrize("loss", LOSSES.values(), ids=lambda loss: loss.name)
def test_operators_declare_what_they_are_called_with(loss):
    """In dynamic mode inputs and attributes go by their order alone."""
    library()
    inputs, attributes, _ = parse_op_info(f"fused_{loss.name}")
    assert (inputs, attributes) == declared_names(loss)


class TestLibrary:
    """A package without a library of its own, and with foreign ones."""

    @pytest.fixture
    def package(self, tmp_path):
        shutil.copytree(ROOT / "paddle_focal", tmp_path / "paddle_focal", ignore=shutil.ignore_patterns("*.so"))
        return tmp_path

    def report(self, package):
        result = python("import paddle_focal; print(paddle_focal.backend_report())", PYTHONPATH=str(package))
        assert result.returncode == 0, result.stderr
        return result.stdout

    def test_missing(self, package):
        report = self.report(package)
        assert "cpu: composite, because the native operator has not been built for this Paddle" in report
        assert "python -m paddle_focal.build" in report

    def test_of_another_paddle(self, package):
        other = "_C-py3.9-paddle2.4.0-cpu-0123456789.so"
        (package / "paddle_focal" / other).write_bytes(b"of another Paddle")
        assert f"there is {other}: another Python, Paddle or other sources" in self.report(package)

    @needs_operator
    def test_of_other_sources(self, package):
        shutil.copy(build.PACKAGE / build.library_name(), package / "paddle_focal")
        assert "cpu: native" in self.report(package)
        with (package / "paddle_focal/csrc/formulas/focal_math.h").open("a") as file:
            file.write("// changed\n")
        assert "another Python, Paddle or other sources" in self.report(package)

    def test_of_another_python(self, monkeypatch):
        fitting = build.library_name()
        monkeypatch.setattr(sys, "version_info", SimpleNamespace(major=3, minor=99))
        assert build.library_name() != fitting

    def test_that_is_broken(self, package):
        (package / "paddle_focal" / build.library_name()).write_bytes(b"not a library")
        assert "cpu: composite, because the native operator cannot be loaded" in self.report(package)

    def test_no_compiler(self, package):
        result = subprocess.run(
            [sys.executable, "-m", "paddle_focal.build"],
            env={**os.environ, "PATH": str(package), "CXX": ""},
            cwd=package,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 1
        assert "there is no C++ compiler: install g++, or name one in the environment variable CXX" in result.stderr

    def test_a_compiler_that_fails(self, package, monkeypatch):
        monkeypatch.setenv("CXX", "false")
        with pytest.raises(build.BuildError, match="failed with exit code 1"):
            build.build(package)
        assert not list(package.glob("*.so"))

    @pytest.mark.slow
    @pytest.mark.skipif(not shutil.which("g++"), reason="there is no g++")
    def test_build(self, package):
        result = subprocess.run(
            [sys.executable, "-m", "paddle_focal.build"], cwd=package, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        assert "warning" not in result.stderr
        assert result.stdout == f"built {package / 'paddle_focal' / build.library_name()}\n"
        assert "cpu: native" in self.report(package)


@needs_operator
class TestInstructionSets:
    LOGIT = np.concatenate([np.linspace(-100, 100, 401), np.linspace(-20, 20, 400), [1e4, -1e4, 0.0, 88.0, -88.0]])

    @pytest.fixture(params=["avx512", "avx2", "baseline"])
    def instruction_set(self, request, monkeypatch):
        monkeypatch.setenv("PADDLE_FOCAL_ISA", request.param)
        answer = library().paddle_focal_instruction_set().decode()
        if answer != request.param:
            pytest.skip(answer)

    @pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
    @pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0])
    def test_accuracy(self, instruction_set, gamma, dtype):
        x = paddle.to_tensor(self.LOGIT).astype(dtype).astype("float64").numpy()
        expected = _hard_reference(x, gamma)
        for target in (0, 1):
            loss, gradient = run(
                x[:, None], np.full(x.size, 1 - target), dtype, gamma=gamma, reduction="none", backend="native"
            )
            assert_accurate(loss[:, 0], expected[target][0], dtype, gamma)
            assert_accurate(gradient[:, 0], expected[target][1], dtype, gamma)

    def test_soft_targets(self, instruction_set, rng):
        x, y = rng.uniform(-30, 30, (40, 3)), rng.random((40, 3))
        for gamma in (0.0, 1.0, 1.5, 2.0):
            loss, gradient = run(x, y, "float64", gamma=gamma, label_smoothing=0.1, reduction="none", backend="native")
            expected = oracle.loss_and_gradient(x, y, gamma=gamma, smoothing=0.1)
            np.testing.assert_allclose(loss, expected[0], rtol=1e-12)
            np.testing.assert_allclose(gradient, expected[1], rtol=1e-12, atol=1e-14)

    def test_one_that_is_not_there(self, monkeypatch):
        monkeypatch.setenv("PADDLE_FOCAL_ISA", "sse9")
        with pytest.raises(OSError, match=r"PADDLE_FOCAL_ISA must be one of those .*, but got sse9"):
            sigmoid_focal_loss(paddle.zeros([2, 3]), paddle.to_tensor([0, 3]), backend="native")
        assert "but got sse9" in paddle_focal.backend_report()


_REFERENCES: dict = {}


def _hard_reference(x: np.ndarray, gamma: float) -> list:
    """The oracle for targets 0 and 1, once for all instruction sets."""
    key = (x.tobytes(), gamma)
    if key not in _REFERENCES:
        _REFERENCES[key] = [oracle.loss_and_gradient(x, target, gamma=gamma) for target in (0, 1)]
    return _REFERENCES[key]


@needs_operator
class TestThreads:
    @pytest.mark.parametrize("shape", [(5000, 80), (3, 80, 5000), (70001, 1), (40, 1203), (9, 4, 77)])
    def test_the_same_bits_for_any_number(self, rng, shape):
        x = paddle.to_tensor(rng.normal(-3, 2, shape).astype("float32"), stop_gradient=False)
        axis = 1 if len(shape) == 3 else -1
        label = paddle.to_tensor(rng.integers(-1, shape[axis] + 1, np.delete(shape, axis)))
        sums = []
        try:
            for threads in (1, 2, 3, 7):
                paddle.base.core.set_num_threads(threads)
                sums.append(float(sigmoid_focal_loss(x, label, axis=axis, backend="native")))
        finally:
            paddle.base.core.set_num_threads(1)
        assert len(set(sums)) == 1

    def test_paddle_decides_how_many(self):
        code = (
            "import paddle; from paddle_focal.ops.native.library import library; library = library();"
            "print(library.omp_get_max_threads());"
            "paddle.base.core.set_num_threads(3); print(library.omp_get_max_threads())"
        )
        assert python(code, OMP_NUM_THREADS="2").stdout.split() == ["2", "3"]


@needs_operator
class TestPasses:
    def test_backward_twice(self, rng):
        x = paddle.to_tensor(rng.normal(size=(4, 3)), stop_gradient=False)
        loss = sigmoid_focal_loss(x, paddle.to_tensor([0, 1, 2, 3]), backend="native")
        expected = oracle.loss_and_gradient(x.numpy(), oracle.one_hot([0, 1, 2, 3], 3)[0])[1]
        for times in (1, 2):
            (7 * loss).backward(retain_graph=True)
            np.testing.assert_allclose(x.grad.numpy(), 7 * times * expected, rtol=1e-12)

    @needs_deleters
    def test_memory_of_large_gradients_is_used_again(self):
        def addresses():
            inputs = [paddle.zeros([rows, 1024]) for rows in (1024, 2048, 4096)]
            for logit in inputs:
                logit.stop_gradient = False
                sigmoid_focal_loss(logit, paddle.zeros([len(logit)], "int64"), backend="native").backward()
            return [logit.grad.data_ptr() for logit in inputs]

        first = addresses()
        assert addresses() == first

    def test_large_results_of_another_thread(self):
        code = (
            "import paddle_focal, paddle, threading\n"
            "results = []\n"
            "def compute():\n"
            "    for rows in (1024, 2048, 1024):\n"
            "        logit, label = paddle.zeros([rows, 1024]), paddle.zeros([rows], 'int64')\n"
            "        results.append(paddle_focal.sigmoid_focal_loss(logit, label, reduction='none'))\n"
            "thread = threading.Thread(target=compute)\n"
            "thread.start(), thread.join()\n"
            "first = [float(result[0, 0]) for result in results]\n"
            "results.clear()\n"
            "compute(), results.clear()\n"
            "print(first)\n"
        )
        result = python(code, timeout=100)
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout) == pytest.approx([0.25 * 0.25 * np.log(2)] * 3)

    @pytest.mark.large
    def test_more_elements_than_32_bits_count(self):
        rows, classes = 2**31 // 80 + 1000, 80
        logit = paddle.full([rows, classes], -2.0, "bfloat16")
        logit[0, 3], logit[-1, 79] = 1.5, -0.75
        logit.stop_gradient = False
        label = paddle.full([rows], classes, "int64")
        label[0], label[-1] = 3, 79
        loss = sigmoid_focal_loss(logit, label, backend="native")
        background = oracle.loss_and_gradient([-2.0], [0.0])
        ends = oracle.loss_and_gradient([1.5, -0.75], [1.0, 1.0])
        expected = background[0][0] * (rows * classes - 2) + ends[0].sum()
        np.testing.assert_allclose(float(loss), expected, rtol=1e-6)
        loss.backward()
        for row, column, end in ((0, 3, 0), (rows - 1, 79, 1)):
            gradient = logit.grad[row].astype("float32").numpy()
            np.testing.assert_allclose(gradient[column], ends[1][end], rtol=2**-8)
            np.testing.assert_allclose(np.delete(gradient, column), background[1][0], rtol=2**-8)
