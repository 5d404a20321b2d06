"""The backend ladder, and what only the native backend has: its library, instruction sets, threads, passes."""

from __future__ import annotations

import gc
import json
import os
import re
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
from native_library import IS_BUILT, needs_library

import paddle_focal
from paddle_focal import build, gaussian_focal_loss, ops, quality_focal_loss, sigmoid_focal_loss, varifocal_loss
from paddle_focal.ops import composite, devices, ladder, native
from paddle_focal.ops.native import interface, memory
from paddle_focal.ops.native.library import library

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, timeout: float | None = None, **environment: str) -> subprocess.CompletedProcess:
    """Runs code in a fresh interpreter that sees this package."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, cwd="/", timeout=timeout
    )


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

    def test_each_gpu_has_its_own_reason(self, unavailable, monkeypatch):
        monkeypatch.setattr(devices, "name", lambda tensor: "gpu:1")
        with pytest.raises(RuntimeError, match=r"of a test on the gpu:1$"):
            ops.select("native", paddle.zeros([2, 3]))

    def test_a_device_without_kernels(self, monkeypatch):
        monkeypatch.setattr(devices, "kind", lambda tensor: "npu")
        with pytest.raises(RuntimeError, match="the native library has no kernels of sigmoid_focal_loss for npu"):
            ops.select("native", paddle.zeros([2, 3]))

    def test_report(self):
        report = python("import paddle_focal; print(paddle_focal.backend_report())").stdout
        module = subprocess.run(
            [sys.executable, "-m", "paddle_focal", "backend"], cwd=ROOT, capture_output=True, text=True
        ).stdout
        assert report == module == f"{paddle_focal.backend_report()}\n"
        assert f"Paddle {paddle.__version__}" in report
        assert ("cpu: native (" if IS_BUILT else "cpu: composite, because") in report

    @needs_library
    def test_the_former_name(self):
        assert ops.select("fused", paddle.zeros([2, 3])) is native

    @needs_library
    def test_report_names_the_losses_that_are_slower(self, monkeypatch):
        assert ladder._serving("cpu").count(";") == 0
        reasons = {"softmax_focal_loss": "of a test"}
        monkeypatch.setattr(native, "reason_against", lambda device, loss: reasons.get(loss.name))
        assert ladder._serving("gpu") == "native; softmax_focal_loss composite, because of a test"


def test_what_paddle_says_of_a_gpu(monkeypatch):
    streams = {4: SimpleNamespace(cuda_stream=0x104)}
    monkeypatch.setattr(native.gpu.core, "_get_current_stream", streams.get, raising=False)
    monkeypatch.setattr(paddle, "CUDAPlace", lambda number: f"place {number}")
    tensor = SimpleNamespace(place=SimpleNamespace(gpu_device_id=lambda: 3))
    gpu = native.gpu
    assert (gpu.device_number(tensor), gpu.place_of_gpu(2), gpu.current_stream(4)) == (3, "place 2", 0x104)


class TestLibrary:
    """A package without a library of its own, and with ones that do not serve."""

    @pytest.fixture
    def package(self, tmp_path):
        shutil.copytree(ROOT / "paddle_focal", tmp_path / "paddle_focal", ignore=shutil.ignore_patterns("*.so"))
        return tmp_path

    def report(self, package):
        result = python("import paddle_focal; print(paddle_focal.backend_report())", PYTHONPATH=str(package))
        assert result.returncode == 0, result.stderr
        return result.stdout

    def test_missing(self, package):
        reason = "the native library has not been built: build it with `python -m paddle_focal.build`"
        assert f"cpu: composite, because {reason}\n" in self.report(package)

    @needs_library
    def test_of_other_sources(self, package):
        shutil.copy(build.PACKAGE / build.LIBRARY, package / "paddle_focal")
        assert "cpu: native" in self.report(package)
        with (package / "paddle_focal/csrc/formulas/elementary.h").open("a") as file:
            file.write("// changed\n")
        assert "cpu: composite, because the native library was built from other sources: build" in self.report(package)

    def test_that_is_broken(self, package):
        (package / "paddle_focal" / build.LIBRARY).write_bytes(b"not a library")
        assert "cpu: composite, because the native library cannot be loaded (" in self.report(package)

    @needs_library
    def test_without_a_framework(self):
        """It loads in a bare Python, and has one thread until it is given an OpenMP."""
        code = f"import ctypes; print(ctypes.CDLL({str(build.PACKAGE / build.LIBRARY)!r}).focal_max_threads())"
        result = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
        assert result.stdout == "1\n", result.stderr

    @needs_library
    def test_symbols(self):
        """It asks for glibc 2.17 at most and for no other library; it shows the functions of focal.h and no more."""
        listed = subprocess.run(
            ["objdump", "-T", "-p", build.PACKAGE / build.LIBRARY], capture_output=True, text=True, check=True
        ).stdout
        versions = [tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_([\d.]+)", listed)]
        assert max(versions) <= (2, 17)
        assert set(re.findall(r"NEEDED +(\S+)", listed)) <= {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"}
        declared = re.findall(r"^FOCAL_EXPORT .*?(focal_\w+)\(", (build.SOURCES / "focal.h").read_text(), re.MULTILINE)
        assert len(declared) == 19
        assert set(re.findall(r" g +DF \.text.* (\w+)$", listed, re.MULTILINE)) == set(declared)

    @pytest.mark.skipif(not shutil.which("c++"), reason="there is no C++ compiler")
    def test_struct(self, tmp_path):
        """The bytes that Python packs are the C struct."""
        fields = ["logit.data", "logit.type", "label.data", "label.type", "score.data", "score.type"]
        fields += [f"scales[{i}].{name}" for i in (0, 1) for name in ("value", "data", "stride")]
        fields += [f"weight.{name}" for name in ("array.data", "array.type", "outer", "classes", "inner")]
        fields += ["loss", "outer", "classes", "inner", *(f"numbers[{i}]" for i in range(3)), "ignore_index", "reduce"]
        offsets = ", ".join(f"offsetof(FocalLossParams, {field})" for field in fields)
        offsets += ", sizeof(FocalLossParams), offsetof(FocalArray, type), sizeof(FocalArray)"
        includes = "".join(
            f"#include {name}\n" for name in ("<cstddef>", "<cstdio>", "<initializer_list>", '"focal.h"')
        )
        loop = f'for (size_t offset : {{{offsets}}}) std::printf("%zu ", offset);'
        (tmp_path / "struct.cc").write_text(f"{includes}int main() {{ {loop} }}\n")
        command = ["c++", f"-I{build.SOURCES}", str(tmp_path / "struct.cc"), "-o", str(tmp_path / "struct")]
        subprocess.run(command, check=True)
        printed = subprocess.run([tmp_path / "struct"], capture_output=True, text=True, check=True).stdout
        parts = (interface.ARRAYS, interface.SCALES, interface.WEIGHT, interface.NUMBERS)
        assert all(part.size == 8 * len(part.unpack(bytes(part.size))) for part in parts)
        count = sum(part.size for part in parts) // 8
        assert list(map(int, printed.split())) == [8 * i for i in range(count + 1)] + [8, 16]
        assert interface.ARRAY.size == 16


@needs_library
class TestInstructionSets:
    LOGIT = np.concatenate([np.linspace(-100, 100, 401), np.linspace(-20, 20, 400), [1e4, -1e4, 0.0, 88.0, -88.0]])

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

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("gamma", [1.0, 1.5, 2.0, 3.0])
    def test_other_losses(self, instruction_set, gamma, dtype):
        """Class and background of each, and a peak: all of them are the focal loss of target 1 or 0, or nearly."""
        x = paddle.to_tensor(self.LOGIT[::3]).astype(dtype).astype("float64").numpy()
        no, yes = (np.array(one) / alpha for one, alpha in zip(_hard_reference(x, gamma), (0.75, 0.25)))
        options = {"gamma": gamma, "reduction": "none", "backend": "native"}
        options["function"] = varifocal_loss
        results = [(run(x[:, None], np.ones(x.size, "int64"), dtype, alpha=None, **options), no)]
        for options["function"] in (quality_focal_loss, gaussian_focal_loss):
            for target, expected in ((0.0, no), (1.0, yes)):
                results.append((run(x[:, None], np.full((x.size, 1), target), dtype, **options), expected))
        for actual, expected in ((one[:, 0], true) for pair in results for one, true in zip(*pair)):
            assert_accurate(actual, expected, dtype, gamma)

    def test_soft_targets(self, instruction_set, rng):
        x, y = rng.uniform(-30, 30, (40, 3)), rng.random((40, 3))
        for gamma in (0.0, 1.0, 1.5, 2.0):
            loss, gradient = run(x, y, "float64", gamma=gamma, label_smoothing=0.1, reduction="none", backend="native")
            expected = oracle.loss_and_gradient(x, y, gamma=gamma, smoothing=0.1)
            np.testing.assert_allclose(loss, expected[0], rtol=1e-12)
            np.testing.assert_allclose(gradient, expected[1], rtol=1e-12, atol=1e-14)

    def test_one_that_is_not_there(self, monkeypatch):
        monkeypatch.setenv("PADDLE_FOCAL_ISA", "sse9")
        with pytest.raises(RuntimeError, match=r"PADDLE_FOCAL_ISA must be one of those .*, but got sse9"):
            sigmoid_focal_loss(paddle.zeros([2, 3]), paddle.to_tensor([0, 3]), backend="native")
        assert "but got sse9" in paddle_focal.backend_report()


_REFERENCES: dict = {}


def _hard_reference(x: np.ndarray, gamma: float) -> list:
    """The oracle for targets 0 and 1, once for all instruction sets."""
    key = (x.tobytes(), gamma)
    if key not in _REFERENCES:
        _REFERENCES[key] = [oracle.loss_and_gradient(x, target, gamma=gamma) for target in (0, 1)]
    return _REFERENCES[key]


@needs_library
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
            "print(library.focal_max_threads());"
            "paddle.base.core.set_num_threads(3); print(library.focal_max_threads())"
        )
        assert python(code, OMP_NUM_THREADS="2").stdout.split() == ["2", "3"]


@needs_library
class TestPasses:
    LABEL = (0, 1, 2, 3)

    def call(self, rng, dtype="float32", **options):
        x = paddle.to_tensor(rng.normal(size=(4, 3))).astype(dtype)
        x.stop_gradient = False
        loss = sigmoid_focal_loss(x, paddle.to_tensor(self.LABEL), backend="native", **options)
        expected = oracle.loss_and_gradient(x.astype("float64").numpy(), oracle.one_hot(list(self.LABEL), 3)[0])[1]
        return x, loss, expected

    @pytest.mark.parametrize("factor", [1.0, 7.0, -0.5, 0.0])
    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
    def test_what_comes_from_above_multiplies(self, rng, dtype, factor):
        x, loss, expected = self.call(rng, dtype)
        (factor * loss).backward()
        tolerance = {"float16": 1e-3, "bfloat16": 4e-3, "float32": 1e-6, "float64": 1e-14}[dtype]
        gradient = x.grad.astype("float64").numpy()
        np.testing.assert_allclose(gradient, factor * expected, rtol=tolerance, atol=1e-6 if dtype == "float16" else 0)

    def test_the_forward_pass_of_a_sum_writes_the_gradient(self, rng, monkeypatch):
        x, loss, expected = self.call(rng)
        monkeypatch.setattr(library(), "focal_backward", None)
        loss.backward()
        np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-6)

    def test_half_precision_is_rounded_once(self, rng):
        """A gradient that float16 has no number for, unless it is multiplied first."""
        x, loss, expected = self.call(rng, "float16", normalizer=1e6)
        (1e6 * loss).backward()
        np.testing.assert_allclose(x.grad.astype("float64").numpy(), expected, rtol=1e-3, atol=1e-6)

    def test_gradients_again_and_again(self, rng):
        """The one that the forward pass wrote is handed over once, and nobody else's changes."""
        x, loss, expected = self.call(rng)
        gradients = [paddle.grad([factor * loss], [x], retain_graph=True)[0] for factor in (3.0, 5.0, 1.0)]
        (2.0 * loss).backward()
        for factor, gradient in zip((3.0, 5.0, 1.0, 2.0), [*gradients, x.grad]):
            np.testing.assert_allclose(gradient.numpy(), factor * expected, rtol=1e-6)

    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    def test_logits_changed_in_place(self, rng, dtype):
        x, loss, _ = self.call(rng, dtype)
        with paddle.no_grad():
            x.fill_(1.0)
        with pytest.raises(OSError, match="was changed in place between the forward and the backward pass"):
            loss.backward()

    @pytest.mark.parametrize("shape", [(6, 4), (2, 3, 4)])
    def test_views_that_are_not_contiguous(self, rng, shape):
        """Transposed logits, every other label, and a broadcast weight."""
        x = paddle.to_tensor(rng.normal(size=shape[::-1]).astype("float32"), stop_gradient=False)
        label = rng.integers(0, shape[-1] + 1, (*shape[:-1], 2))
        weight = rng.random((*shape[:-1], 2)).astype("float32")
        transposed = x.transpose(list(range(len(shape)))[::-1])
        loss = sigmoid_focal_loss(
            transposed, paddle.to_tensor(label)[..., 1], weight=paddle.to_tensor(weight)[..., 0], backend="native"
        )
        loss.backward()
        target = np.eye(shape[-1] + 1)[label[..., 1]][..., :-1]
        losses, gradients = oracle.loss_and_gradient(x.numpy().transpose().astype("float64"), target)
        np.testing.assert_allclose(float(loss), (losses * weight[..., :1]).sum(), rtol=1e-6)
        np.testing.assert_allclose(x.grad.numpy().transpose(), gradients * weight[..., :1], rtol=1e-5, atol=1e-9)

    def test_no_gradient_is_kept_without_need(self, monkeypatch):
        """In evaluation, and for logits that want none, no memory of the logits' size is asked for."""
        asked = []
        monkeypatch.setattr(memory, "empty", lambda shape, dtype: asked.append(shape) or paddle.empty(shape, dtype))
        x, label = paddle.zeros([4, 3]), paddle.to_tensor(self.LABEL)
        sigmoid_focal_loss(x, label, backend="native")
        x.stop_gradient = False
        with paddle.no_grad():
            assert sigmoid_focal_loss(x, label, backend="native").stop_gradient
        assert asked == [[], []]

    def test_memory_of_large_gradients_is_used_again(self):
        def addresses():
            inputs = [paddle.zeros([rows, 1024]) for rows in (1024, 2048, 4096)]
            for logit in inputs:
                logit.stop_gradient = False
                sigmoid_focal_loss(logit, paddle.zeros([len(logit)], "int64"), backend="native").backward()
            return [logit.grad.data_ptr() for logit in inputs]

        first = addresses()
        assert addresses() == first

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
    def test_large_results_have_their_dtype(self, dtype):
        result = memory.empty([1024, 2048], getattr(paddle, dtype))
        assert (result.shape, result.dtype) == ([1024, 2048], getattr(paddle, dtype))
        assert result.data_ptr() % (2 << 20) == 0
        result.set_value(paddle.full_like(result, 0.5))
        assert float(result.astype("float32").sum()) == 2**20

    def test_no_memory(self, monkeypatch):
        released = []
        monkeypatch.setattr(library(), "focal_allocate", lambda size: None, raising=False)
        monkeypatch.setattr(library(), "focal_release", lambda *block: released.append(block))
        with pytest.raises(MemoryError, match="no memory for a result of 8,388,608 bytes"):
            memory.empty([1024, 2048], paddle.float32)
        gc.collect()
        assert released == []

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
