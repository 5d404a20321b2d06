"""The native backend on a GPU, as far as it can be tried without one: see ``tests/support/host_gpu.py``."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import oracle
import paddle
import pytest
from accuracy import run
from host_gpu import IMAGE, STREAM
from native_library import needs_library

import paddle_focal
from paddle_focal import SigmoidFocalLoss, ops, sigmoid_focal_loss
from paddle_focal.ops import composite, native
from paddle_focal.ops.native import gpu, memory
from paddle_focal.ops.native.library import reason_against
from paddle_focal.ops.registry import LOSSES, SIGMOID

#: By dtype, the relative error and the absolute one, for small numbers of float16; that of float64 is the
#: error of the reference here.
TOLERANCE = {"float64": (1e-9, 0), "float32": (2e-6, 0), "float16": (1e-3, 1e-7), "bfloat16": (4e-3, 0)}
#: What the comparison with the CPU launches: a loss, its sum, a gradient.
PROBE = 3

pytestmark = [needs_library, pytest.mark.usefixtures("host_gpu")]


def dense(label, classes, axis):
    """Targets 0 and 1 of class indices, of which ``classes`` is none."""
    return np.moveaxis(np.eye(classes + 1)[label][..., :-1], -1, axis)


class TestNumbers:
    @pytest.mark.parametrize(
        ("shape", "axis"), [((7, 3), -1), ((41, 80), -1), ((301, 1), -1), ((2, 5, 16), 1), ((2, 5, 7), 1), ((5, 9), 0)]
    )
    @pytest.mark.parametrize("dtype", TOLERANCE)
    @pytest.mark.parametrize("label_dtype", ["int32", "int64", "soft"])
    def test_of_each_layout(self, host_gpu, rng, shape, axis, dtype, label_dtype):
        x = paddle.to_tensor(rng.uniform(-9, 9, shape)).astype(dtype).astype("float64").numpy()
        if label_dtype == "soft":
            label = target = rng.choice([0.0, 1.0, 0.25, 0.75], shape)
        else:
            label = rng.integers(0, shape[axis] + 1, np.delete(shape, axis)).astype(label_dtype)
            target = dense(label, shape[axis], axis)
        grad_out = rng.choice([-2.0, 0.5, 1.0], shape)
        results = run(x, label, dtype, grad_out, reduction="none", axis=axis, backend="native")
        loss, gradient = closed_form(x, target)
        rtol, atol = TOLERANCE[dtype]
        np.testing.assert_allclose(results[0], loss, rtol=rtol, atol=atol)
        if label_dtype == "soft":  # in whose gradient terms of opposite sign meet
            atol += 2 * rtol
        np.testing.assert_allclose(results[1], gradient * grad_out, rtol=rtol, atol=atol)
        assert host_gpu.driver.launch_count() >= 2

    @pytest.mark.parametrize("dtype", TOLERANCE)
    @pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
    def test_of_each_reduction(self, rng, dtype, reduction):
        x = paddle.to_tensor(rng.normal(size=(50, 21))).astype(dtype).astype("float64").numpy()
        label = rng.integers(0, 22, 50)
        factor = {"sum": 3.0, "mean": 3.0, "none": 1.0}[reduction]
        results = run(x, label, dtype, factor, reduction=reduction, backend="native")
        loss, gradient = closed_form(x, dense(label, 21, -1))
        count = x.size if reduction == "mean" else 1
        rtol, atol = TOLERANCE[dtype]
        expected = loss if reduction == "none" else loss.sum() / count
        np.testing.assert_allclose(results[0], expected, rtol=rtol, atol=atol)
        np.testing.assert_allclose(results[1], gradient * factor / count, rtol=rtol, atol=atol)

    def test_everything_at_once(self, rng):
        """A factor for each class, a weight, label smoothing, and against the oracle."""
        x, label = rng.normal(size=(2, 5, 3)), rng.integers(-1, 6, (2, 3))
        weight, alpha = rng.random((2, 1, 3)), rng.uniform(0.2, 0.8, 5)
        results = run(
            x, label, "float64", reduction="none", axis=1, gamma=1.5, label_smoothing=0.1, alpha=alpha.tolist(),
            normalizer=paddle.to_tensor(4.0), weight=paddle.to_tensor(weight), backend="native",
        )  # fmt: skip
        target = dense(np.where(label < 0, 5, label), 5, 1)
        alphas = np.broadcast_to(alpha[:, None], x.shape)
        expected = oracle.loss_and_gradient(x, target, alphas, 1.5, 0.1)
        for actual, values in zip(results, expected):
            kept = values * weight / 4 * (label >= 0)[:, None]
            np.testing.assert_allclose(actual, kept, rtol=1e-12, atol=1e-15)

    def test_views_that_are_not_contiguous(self, rng):
        x = paddle.to_tensor(rng.normal(size=(4, 6)).astype("float32"), stop_gradient=False)
        label = rng.integers(0, 5, (6, 2))
        sigmoid_focal_loss(x.t(), paddle.to_tensor(label)[:, 1], backend="native").backward()
        expected = closed_form(x.numpy().T, dense(label[:, 1], 4, -1))[1].T
        np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-5)

    def test_no_logits(self):
        assert ops.select(None, paddle.zeros([0, 3])) is composite


def closed_form(x, target):
    """Loss and derivative for gamma 2 and alpha 0.25, in float64, the derivative by a complex step."""
    x = np.asarray(x, np.float64) + 1e-30j
    p, q = 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(x))
    cross_entropy = -(target * np.log(p) + (1 - target) * np.log(q))
    value = (0.25 * target + 0.75 * (1 - target)) * (q * target + p * (1 - target)) ** 2 * cross_entropy
    return value.real, value.imag / 1e-30


class TestPasses:
    LABEL = (0, 1, 2, 3)

    def call(self, **options):
        x = paddle.to_tensor(np.linspace(-2, 2, 12, dtype="float32").reshape(4, 3), stop_gradient=False)
        return x, sigmoid_focal_loss(x, paddle.to_tensor(self.LABEL), backend="native", **options)

    def test_the_forward_pass_keeps_no_gradient(self, host_gpu, monkeypatch):
        self.call()
        asked, before = [], host_gpu.driver.launch_count()
        monkeypatch.setattr(memory, "empty", lambda *arguments: asked.append(arguments))
        _, loss = self.call()
        assert host_gpu.driver.launch_count() - before == 2
        loss.backward()
        assert host_gpu.driver.launch_count() - before == 3
        assert not asked

    def test_a_sum_over_several(self, host_gpu, rng):
        logits = [rng.normal(size=(2, 6, n)).astype("float32") for n in (700, 5)]
        labels = [rng.integers(0, 4, (2, 2, n)) for n in (700, 5)]
        leaves = [paddle.to_tensor(logit, stop_gradient=False) for logit in logits]
        given = leaves, [paddle.to_tensor(label) for label in labels], 3
        SigmoidFocalLoss().sum_of(*given)
        before = host_gpu.driver.launch_count()
        result = SigmoidFocalLoss().sum_of(*given)
        assert host_gpu.driver.launch_count() - before == 4
        (3 * result).backward()
        assert host_gpu.driver.launch_count() - before == 6
        forms = [
            closed_form(logit.reshape(4, 3, -1), dense(label.reshape(4, -1), 3, 1))
            for logit, label in zip(logits, labels)
        ]
        assert float(result) == pytest.approx(sum(loss.sum() for loss, _ in forms), rel=1e-5)
        for leaf, (_, slope) in zip(leaves, forms):
            np.testing.assert_allclose(leaf.grad.numpy().ravel(), 3 * slope.ravel(), rtol=1e-5, atol=1e-9)

    def test_gradients_again_and_again(self):
        x, loss = self.call()
        expected = closed_form(x.numpy(), dense(list(self.LABEL), 3, -1))[1]
        for factor in (3.0, 5.0):
            (gradient,) = paddle.grad([factor * loss], [x], retain_graph=True)
            np.testing.assert_allclose(gradient.numpy(), factor * expected, rtol=1e-5)
        loss.backward()
        with pytest.raises(OSError, match="a second time through sigmoid_focal_loss"):
            loss.backward()

    def test_logits_changed_in_place(self):
        x, loss = self.call()
        with paddle.no_grad():
            x.fill_(1.0)
        with pytest.raises(OSError, match="was changed in place between the forward and the backward pass"):
            loss.backward()

    @pytest.mark.parametrize("value", ["0", "1"])
    def test_labels_out_of_range(self, monkeypatch, value):
        monkeypatch.setenv("PADDLE_FOCAL_CHECK", value)
        if value == "1":
            with pytest.raises(ValueError, match=r"label must be in \[0, 3\] .*, but it contains 7"):
                run([[0.5, 1.0, 2.0]] * 2, [7, 0], reduction="none", backend="native")
            return
        for result in run([[0.5, 1.0, 2.0]] * 3, [7, 0, -1], reduction="none", backend="native"):
            assert np.isnan(result).all(axis=1).tolist() == [True, False, False]
            assert (result[2] == 0).all()


@pytest.mark.parametrize(("largest", "status"), [("1e-9", 0), ("1e-30", 1)])
def test_on_a_machine_without_paddle(host_gpu, host_driver, largest, status):
    """The program for a machine with a GPU, of which the driver here is all that is missing."""
    code = (
        "import sys; sys.modules['paddle'] = None; import run;"
        f"run.SHAPES = [(5, 3, 1), (2, 4, 7)]; run.TOLERANCE['float64'] = {largest}; sys.exit(run.main())"
    )
    command = [sys.executable, "-c", code, "--driver", host_driver, "--kernels", host_gpu.kernels]
    folder = Path(__file__).resolve().parents[1] / "gpu"
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == status, result.stderr
    assert result.stdout.startswith("assignment of anchors: 0 wrong\n")
    lines = result.stdout.splitlines()
    figures = [line for line in lines if re.fullmatch(r"\w+ +float32 +backward +0\.\d+", line)]
    names = ["sigmoid", "softmax", "quality", "varifocal", "gaussian", "asymmetric"]
    assert [line.split()[0] for line in figures] == names
    assert ("WRONG float64 forward of (5, 3, 1), sigmoid hard, gamma 2.0: " in result.stdout) is bool(status)
    assert (lines[-1] == "0 wrong") is (status == 0)


class TestContexts:
    """The driver's contexts, one a device: a launch needs its own to be the current one."""

    def test_each_device_has_kernels_of_its_own(self, host_gpu, monkeypatch):
        used, kernels_on = set(), gpu.kernels_on
        with monkeypatch.context() as patch:
            patch.setattr(gpu, "kernels_on", lambda number: used.add(number) or kernels_on(number))
            patch.setattr(gpu, "current_stream", lambda number: used.add(number) or STREAM)
            for host_gpu.number in (0, 1, 0):
                used.clear()
                loss, _ = run([[0.0]], [0], backend="native")
                np.testing.assert_allclose(loss, 0.25 * 0.25 * np.log(2), rtol=1e-6)
                assert host_gpu.driver.context_count() == 0
                assert used == {host_gpu.number}
        assert gpu.kernels_on(0)._context.value != gpu.kernels_on(1)._context.value
        assert IMAGE in vars(gpu.kernels_on(0)).values()  # which the driver may read later

    def test_the_current_one_stays(self, host_gpu):
        contexts = [ctypes.c_void_p(), ctypes.c_void_p()]
        for number, context in enumerate(contexts):
            host_gpu.driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 100 + number)
            host_gpu.driver.cuCtxPushCurrent_v2(context)
            run([[0.0]], [0], backend="native")
            current = ctypes.c_void_p()
            host_gpu.driver.cuCtxGetCurrent(ctypes.byref(current))
            assert (current.value, host_gpu.driver.context_count()) == (context.value, number + 1)


class TestProbe:
    def test_it_serves(self, host_gpu, monkeypatch):
        probed = []
        monkeypatch.setattr(gpu, "place_of_gpu", lambda number: probed.append(number) or paddle.CPUPlace())
        assert ops.select(None, paddle.zeros([2, 3])) is native
        assert reason_against("gpu:1", SIGMOID) is None
        assert probed == [0, 1]
        assert host_gpu.driver.launch_count() == 2 * PROBE
        assert paddle_focal.backend_report().splitlines()[-1] == "gpu: native"
        assert probed == [0, 1, *[0] * (len(LOSSES) - 1)]

    @pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
    @pytest.mark.parametrize("name", ["forward", "backward"])
    def test_wrong_numbers_of_any_loss(self, host_gpu, monkeypatch, loss, name):
        """Of the loss, or of its gradient alone."""
        assert reason_against("gpu", loss) is None
        gpu.reason_against.cache_clear()
        compute = getattr(gpu, name)
        monkeypatch.setattr(gpu, name, lambda *arguments: 1.001 * compute(*arguments))
        assert reason_against("gpu", loss) == "the kernels for GPUs compute wrong numbers on GPU 0"

    @pytest.mark.parametrize(
        ("function", "result", "reason"),
        [
            ("cuInit", 100, "cuInit: unknown error (CUDA error 100)"),
            ("cuDevicePrimaryCtxRetain", 719, "cuDevicePrimaryCtxRetain: unspecified launch failure (CUDA error 719)"),
            ("cuModuleLoadData", 200, "cuModuleLoadData: device kernel image is invalid (CUDA error 200)"),
            ("cuModuleGetFunction", 500, "cuModuleGetFunction: unknown error (CUDA error 500)"),
            ("cuLaunchKernel", 719, "sigmoid_focal_loss: cuLaunchKernel of focal_loss_rows64_square_float32: "
             "unspecified launch failure (CUDA error 719)"),
        ],
    )  # fmt: skip
    def test_a_driver_that_refuses(self, host_gpu, function, result, reason):
        host_gpu.fail(function, result)
        with pytest.warns(UserWarning, match="falls back on its slower composite backend: ") as warned:
            loss, _ = run([[0.0]], [0])
        assert str(warned[0].message).endswith(reason)
        np.testing.assert_allclose(loss, 0.25 * 0.25 * np.log(2), rtol=1e-6)
        assert host_gpu.driver.context_count() == 0
        assert paddle_focal.backend_report().endswith(f"gpu: composite, because {reason}")

    def test_a_launch_that_fails_later(self, host_gpu):
        run([[0.0]], [0], backend="native")
        host_gpu.fail("cuLaunchKernel", 719)
        with pytest.raises(RuntimeError, match="cuLaunchKernel of focal_loss_any_float64: unspecified"):
            run([[0.0]], [0], "float64", label_smoothing=0.1, backend="native")

    @pytest.mark.parametrize("name", ["forward", "backward"])
    def test_wrong_numbers(self, host_gpu, monkeypatch, name):
        right = getattr(gpu, name)
        monkeypatch.setattr(gpu, name, lambda *arguments: right(*arguments) * 1.0001)
        assert reason_against("gpu:0", SIGMOID) == "the kernels for GPUs compute wrong numbers on GPU 0"

    def test_what_is_missing(self, host_gpu, monkeypatch):
        assert reason_against("gpu:2", SIGMOID) == "there is no GPU 2: Paddle sees 2"
        monkeypatch.setattr(native.gpu.driver, "LIBRARY", "libnothing.so")
        assert reason_against("gpu:0", SIGMOID).startswith("the driver of the GPU cannot be loaded (libnothing.so: ")
        remedy = "build them with `python -m paddle_focal.build` where there is nvcc"
        host_gpu.kernels.write_bytes(host_gpu.kernels.read_bytes()[:-16] + b"0123456789abcdef")
        host_gpu.forget()
        assert reason_against("gpu:0", SIGMOID) == f"the kernels for GPUs were built from other sources: {remedy}"
        host_gpu.kernels.unlink()
        host_gpu.forget()
        assert reason_against("gpu:0", SIGMOID) == f"the kernels for GPUs have not been built: {remedy}"
        host_gpu.kernels.mkdir()
        host_gpu.forget()
        assert reason_against("gpu:0", SIGMOID) == f"[Errno 21] Is a directory: '{host_gpu.kernels}'"
        monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: False)
        host_gpu.forget()
        assert reason_against("gpu:0", SIGMOID) == "this Paddle is built without CUDA"

    def test_static_graphs(self, monkeypatch):
        monkeypatch.setattr(paddle, "in_dynamic_mode", lambda: False)
        assert reason_against("gpu", SIGMOID) == "losses in static graphs have no kernels for GPUs"
