"""The logit of a product of probabilities, against its definition in 60 digits."""

from __future__ import annotations

import itertools
from functools import cache

import mpmath
import numpy as np
import paddle
import pytest
from native_library import needs_library

from paddle_focal import joint_logit
from paddle_focal.ops import devices, ladder, native

VALUES = (-1e4, -100.0, -20.0, -1.0, -1e-3, 0.0, 0.5, 8.0, 17.0, 40.0, 90.0, 200.0, 1e4)
PAIRS = np.array(list(itertools.product(VALUES, VALUES)))
#: Errors relative to the number (of logits, to the number and 1); gradients below the smallest normal number may be 0.
TOLERANCE = {"float64": (1e-15, 1e-14), "float32": (1e-6, 2e-6), "float16": (2**-10,) * 2, "bfloat16": (2**-7,) * 2}
SMALLEST = {"float64": 1e-300, "float32": 1.2e-38, "float16": 6.2e-5, "bfloat16": 1.2e-38}


@cache
def truth(dtype: str, power: float) -> np.ndarray:
    """Pairs in a dtype, the joint logits, and their derivatives by both."""
    pairs = paddle.to_tensor(PAIRS).astype(dtype).astype("float64").numpy()
    rows = []
    with mpmath.workdps(60):
        for pair in pairs.tolist():
            log_p = -power * mpmath.fsum(mpmath.log1p(mpmath.exp(-mpmath.mpf(x))) for x in pair)
            rest = -mpmath.expm1(log_p)
            slopes = [float(power / (1 + mpmath.exp(mpmath.mpf(x))) / rest) for x in pair]
            rows.append([float(log_p - mpmath.log(rest)), *slopes])
    return np.concatenate([pairs, rows], axis=1).T


@pytest.mark.parametrize("power", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_accuracy(backend, dtype, power):
    a, b, *expected = truth(dtype, power)
    tensors = [paddle.to_tensor(one).astype(dtype) for one in (a, b)]
    for tensor in tensors:
        tensor.stop_gradient = False
    joint = joint_logit(*tensors, power=power, backend=backend)
    joint.sum().backward()
    assert joint.dtype == tensors[0].dtype
    results = [one.astype("float64").numpy() for one in (joint, *(tensor.grad for tensor in tensors))]
    for i, (actual, true) in enumerate(zip(results, expected)):
        tiny = np.abs(true) < SMALLEST[dtype]
        tolerance = TOLERANCE[dtype][min(i, 1)]
        np.testing.assert_allclose(actual[~tiny], true[~tiny], rtol=tolerance, atol=tolerance if i == 0 else 0)
        np.testing.assert_allclose(actual[tiny], true[tiny], rtol=0, atol=SMALLEST[dtype] if i else tolerance)


def test_shapes_broadcast(backend, rng):
    a, b = rng.normal(size=(4, 3, 2)), rng.normal(size=(4, 1, 2))
    first, second = (paddle.to_tensor(one, stop_gradient=False) for one in (a, b))
    joint = joint_logit(first, second, backend=backend)
    p = 1 / (1 + np.exp(-a)) / (1 + np.exp(-b))
    np.testing.assert_allclose(joint.numpy(), np.log(p / (1 - p)), rtol=1e-12)
    factor = rng.normal(size=(4, 3, 2))
    (joint * paddle.to_tensor(factor)).sum().backward()
    np.testing.assert_allclose(first.grad.numpy(), factor / (1 + np.exp(a)) / (1 - p), rtol=1e-12)
    by_b = (factor / (1 + np.exp(b)) / (1 - p)).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(second.grad.numpy(), by_b, rtol=1e-12)


def test_not_contiguous(backend, rng):
    a, b, factor = rng.normal(size=(3, 500, 70)), rng.normal(size=(500, 3, 70)), rng.normal(size=(70, 500, 3))
    first, second = (paddle.to_tensor(one, stop_gradient=False) for one in (a, b))
    joint = joint_logit(first.transpose([2, 1, 0]), second.transpose([2, 0, 1]), 0.5, backend=backend)
    (joint.transpose([1, 0, 2]) * paddle.to_tensor(factor.transpose(1, 0, 2))).sum().backward()
    x, y = a.transpose(2, 1, 0), b.transpose(2, 0, 1)
    p = (1 / (1 + np.exp(-x)) / (1 + np.exp(-y))) ** 0.5
    np.testing.assert_allclose(joint.numpy(), np.log(p / (1 - p)), rtol=1e-11, atol=1e-12)
    by_x, by_y = (factor * 0.5 / (1 + np.exp(one)) / (1 - p) for one in (x, y))
    np.testing.assert_allclose(first.grad.numpy(), by_x.transpose(2, 1, 0), rtol=1e-11)
    np.testing.assert_allclose(second.grad.numpy(), by_y.transpose(1, 2, 0), rtol=1e-11)


@pytest.mark.parametrize("others", [3, 1])
def test_only_one_wants_a_gradient(backend, others):
    a, b = paddle.zeros([3]), paddle.zeros([others])
    a.stop_gradient = False
    joint_logit(a, b, backend=backend).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), [2 / 3] * 3, rtol=1e-6)  # 0.5 / (1 - 0.25)
    assert b.grad is None
    assert joint_logit(b, b, backend=backend).stop_gradient


def test_a_second_backward_is_refused(backend):
    a = paddle.zeros([3])
    a.stop_gradient = False
    joint = joint_logit(a, a, backend=backend).sum()
    joint.backward(retain_graph=True)
    with pytest.raises(OSError, match=r"backward\(\) was called a second time through joint_logit"):
        joint.backward()


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, r"a must be a Tensor of dtype .*, but got 1.0 \(float\)", {"a": 1.0}),
        (TypeError, "b must be a Tensor .*, but its dtype is int64", {"b": paddle.zeros([2], "int64")}),
        (TypeError, "the dtype of a, float32, but its dtype is float64", {"b": paddle.zeros([2], "float64")}),
        (ValueError, r"broadcasts with that of a, \[2\], but its shape is \[3\]", {"b": paddle.zeros([3])}),
        (ValueError, "power must be a finite number > 0, but got 0", {"power": 0}),
        (ValueError, "power must be a finite number > 0, but got inf", {"power": float("inf")}),
        (TypeError, "power must be a finite number > 0, but got '1'", {"power": "1"}),
        (ValueError, "backend must be None or one of", {"backend": "cuda"}),
    ],
)  # fmt: skip
def test_refused(error, message, arguments):
    with pytest.raises(error, match=message):
        joint_logit(**{"a": paddle.zeros([2]), "b": paddle.zeros([2]), **arguments})


@needs_library
def test_an_instruction_set_that_is_not_there(monkeypatch):
    """In either pass; Paddle passes an error in the backward pass on as an OSError."""
    said = r"joint_logit: PADDLE_FOCAL_ISA must be one of those this processor has, .*, but got sse9"
    a = paddle.zeros([3])
    a.stop_gradient = False
    total = joint_logit(a, a, backend="native").sum()
    monkeypatch.setenv("PADDLE_FOCAL_ISA", "sse9")
    with pytest.raises(RuntimeError, match=f"^{said}$"):
        joint_logit(a, a, backend="native")
    with pytest.raises(OSError, match=said):
        total.backward()


def test_the_native_backend_where_it_is_not(monkeypatch):
    a = paddle.zeros([3])
    monkeypatch.setattr(native, "reason_against", lambda device, loss: "of a test of it")
    with pytest.raises(RuntimeError, match=r"^backend 'native' cannot serve: of a test of it$"):
        joint_logit(a, a, backend="native")
    with pytest.warns(UserWarning, match="falls back on its slower composite backend: of a test of it"):
        joint = joint_logit(a, a)
    ladder._warn_of_fallback.cache_clear()
    np.testing.assert_allclose(joint.numpy(), np.log([1 / 3] * 3), rtol=1e-6)


def test_the_native_backend_on_a_gpu(monkeypatch):
    """Which serves losses there, but not this; without a word of it the composite backend does."""
    a = paddle.zeros([3])
    monkeypatch.setattr(native, "reason_against", lambda device, loss: None)
    monkeypatch.setattr(devices, "kind", lambda tensor: "gpu")
    with pytest.raises(RuntimeError, match=r"^backend 'native' cannot serve: the native library has joint_logit for"):
        joint_logit(a, a, backend="native")
    for backend in (None, "composite"):
        np.testing.assert_allclose(joint_logit(a, a, backend=backend).numpy(), np.log([1 / 3] * 3), rtol=1e-6)
