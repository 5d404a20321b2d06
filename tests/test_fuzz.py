"""The losses on arguments that hypothesis draws, on both backends, against the definition in extended precision.

PADDLE_FOCAL_FUZZ=2000 draws that many examples for each test, and others in every run.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import hypothesis.extra.numpy as hnp
import numpy as np
import oracle
import paddle
import pytest
import reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paddle_focal import binary_focal_loss, sigmoid_focal_loss, softmax_focal_loss

EXAMPLES = int(os.environ.get("PADDLE_FOCAL_FUZZ", "0"))
fuzz = settings(
    max_examples=EXAMPLES or 120,
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],  # `backend` is a constant
)

FUNCTIONS = {"sigmoid": sigmoid_focal_loss, "softmax": softmax_focal_loss, "binary": binary_focal_loss}
DTYPES = ("float16", "bfloat16", "float32", "float64")
#: Relative errors of what is computed in float32 or float64 (README, Numerics), and of rounding the result.
COMPUTED = {"float32": 2e-5, "float64": 1e-12}
ROUNDED = {"float16": 2**-11, "bfloat16": 2**-8, "float32": 2**-24, "float64": 0}
#: Errors of numbers that underflow: on the way, before factors multiply them; of the result.
UNDERFLOW = {"float32": 1e-35, "float64": 1e-304}
SPACING = {"float16": 1.001 * 2**-25, "bfloat16": 1.2e-38, "float32": 1.2e-38, "float64": 1e-299}
LARGEST = {name: float(paddle.finfo(getattr(paddle, name)).max) for name in DTYPES}
SUBNORMAL = {"float16": 6e-8, "bfloat16": 1e-39, "float32": 1e-45, "float64": 5e-324}
#: More elements than a block has, more labels than a tile, more logits than a task.
LARGE = [(2100,), (130, 7), (3, 80), (3, 70, 9), (2, 3, 150), (1100, 3), (2, 2, 2, 65, 3), (700, 1), (1, 1, 1, 2100)]


def tensor(values, dtype):
    return paddle.to_tensor(np.asarray(values), dtype="float64").astype(dtype)


def rounded(values, dtype):
    return tensor(values, dtype).astype("float64").numpy()


@dataclass
class Case:
    """One call. Arrays are in float64, as they are after rounding to their types."""

    loss: str
    dtype: str
    axis: int
    logit: np.ndarray
    label: np.ndarray
    label_dtype: str
    alpha: float | list | None
    gamma: float
    normalizer: float | np.ndarray | None
    weight: np.ndarray | None
    weight_dtype: str
    label_smoothing: float
    ignore_index: int
    reduction: str
    upstream: np.ndarray
    is_strided: bool  # the axes lie in memory in the reverse order

    def run(self, backend):
        """Loss and gradient."""
        leaf = tensor(self.logit.T if self.is_strided else self.logit, self.dtype)
        label = tensor(self.label.T if self.is_strided else self.label, self.label_dtype)
        leaf.stop_gradient = False
        loss = FUNCTIONS[self.loss](
            leaf.transpose(list(range(leaf.ndim))[::-1]) if self.is_strided else leaf,
            label.transpose(list(range(label.ndim))[::-1]) if self.is_strided else label,
            tensor(self.normalizer, "float32") if np.ndim(self.normalizer) else self.normalizer,
            self.alpha,
            self.gamma,
            self.reduction,
            weight=None if self.weight is None else tensor(self.weight, self.weight_dtype),
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            axis=self.axis,
            backend=backend,
        )
        assert loss.dtype == getattr(paddle, self.dtype if self.reduction == "none" else self.sum_dtype)
        loss.backward(tensor(self.upstream, loss.dtype))
        gradient = leaf.grad.astype("float64").numpy()
        return loss.astype("float64").numpy(), gradient.T if self.is_strided else gradient

    def check(self, loss, gradient):
        """Holds the results against the definition; NaN belongs where a logit that counts is NaN, nowhere else."""
        with np.errstate(all="ignore"):
            losses, gradients, terms, count = self.expected()
        distance = np.fmax(1, np.abs(self.logit))  # by which the cross entropy multiplies what underflows
        nearest = distance.max(axis=self.axis) if self.loss == "softmax" else distance
        if self.loss == "softmax":
            distance = np.broadcast_to(np.expand_dims(nearest, self.axis), distance.shape)
        computed_in = "float64" if self.loss == "binary" else self.sum_dtype
        count = max(1, count) if self.reduction == "mean" else 1
        upstream = self.upstream / count
        if self.reduction == "none":
            assert_close(loss, losses, losses, computed_in, self.dtype, nearest)
            upstream = np.expand_dims(upstream, self.axis) if self.loss == "softmax" else upstream
        else:
            assert_close(loss, losses.sum() / count, losses.sum() / count, computed_in, self.sum_dtype, distance.max(initial=1) * distance.size)
        gradients, terms = gradients * upstream, terms * np.abs(upstream)
        if self.loss == "binary":
            gradients, terms = (np.clip(one, -LARGEST[self.dtype], LARGEST[self.dtype]) for one in (gradients, terms))
        assert_close(gradient, gradients, terms, computed_in, self.dtype, distance)

    @property
    def sum_dtype(self):
        return "float64" if self.dtype == "float64" else "float32"

    def expected(self):
        """Losses, gradients and the magnitude of their terms, in the shapes of the results; the number of losses."""
        x, axis = self.logit, self.axis % self.logit.ndim
        classes, is_dense = x.shape[axis], self.label_dtype in DTYPES
        if is_dense:
            target, kept = self.label, np.ones(x.shape, bool)
        else:
            target, kept = oracle.one_hot(self.label, classes, axis, self.ignore_index)
        x = np.where(kept, x, 0.5)
        alpha, normalizer = (np.broadcast_to(1 if v is None else v, classes) for v in (self.alpha, self.normalizer))
        if self.loss == "softmax":
            weight = np.broadcast_to(1 if self.weight is None else self.weight, np.delete(x.shape, axis))
            rows = [np.moveaxis(one, axis, -1).reshape(-1, classes) for one in (x, target)]
            result = reference.softmax(*rows, alpha / normalizer, self.gamma, self.label_smoothing)
            factor = weight.reshape(-1) * np.moveaxis(kept, axis, -1).reshape(-1, classes)[:, 0]
            moved = np.moveaxis(x, axis, -1).shape
            by_logit = [np.moveaxis((one * factor[:, None]).reshape(moved), -1, axis) for one in result[1:]]
            return (result.loss * factor).reshape(weight.shape), *by_logit, weight.size if is_dense else factor.astype(bool).sum()
        along = [classes if i == axis else 1 for i in range(x.ndim)]
        alpha, normalizer = alpha.reshape(along), normalizer.reshape(along)
        alpha_t = 1 if self.alpha is None else target * alpha + (1 - target) * (1 - alpha)
        factor = kept * self.weight_of_logits(axis) / normalizer
        result = getattr(reference, self.loss)(x, target, alpha_t, self.gamma, self.label_smoothing)
        return *(one * factor for one in result), kept.sum()

    def weight_of_logits(self, axis):
        if self.weight is None:
            return 1.0
        if self.weight.shape == self.label.shape != self.logit.shape:
            return np.expand_dims(self.weight, axis)
        is_flat = self.weight.ndim == 1 < self.logit.ndim and self.weight.size == self.logit.size != self.logit.shape[-1]
        return self.weight.reshape(self.logit.shape) if is_flat else self.weight


def assert_close(actual, expected, terms, computed_in, dtype, distance):
    assert actual.shape == np.shape(expected)
    expected, terms = np.asarray(expected, np.float64), np.asarray(terms, np.float64)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    error = np.abs(np.where(np.isinf(actual), LARGEST[dtype], actual) - expected)
    allowed = (COMPUTED[computed_in] + 1.001 * ROUNDED[dtype]) * terms + UNDERFLOW[computed_in] * distance + SPACING[dtype]
    may_overflow = 100 * np.abs(terms) > LARGEST[dtype]  # on the way, before a factor makes it smaller
    is_right = (error <= allowed) | np.isnan(expected) | (may_overflow & np.isinf(actual))
    assert is_right.all(), f"{actual[~is_right]} in place of {expected[~is_right]}"


def tiled(draw, elements, shape):
    return np.resize(np.array(draw(st.lists(elements, min_size=1, max_size=30)), np.float64), shape)


@st.composite
def cases(draw, loss):
    dtype = draw(st.sampled_from(DTYPES))
    shapes = hnp.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=7).filter(lambda s: math.prod(s) <= 3000)
    shape = list(draw(shapes | st.sampled_from(LARGE)))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    shape[axis] = classes = min(max(1, shape[axis]), 80)
    labels = tuple(np.delete(shape, axis))

    label_dtype = draw(st.sampled_from(("int32", "int64", *DTYPES)))
    is_dense = label_dtype in DTYPES
    ignore_index = draw(st.sampled_from([-1, -100, 255, -(2**31), 2**31 - 1]))
    indices = st.integers(0, classes - (loss == "softmax")) | st.just(ignore_index)
    shares = st.integers(0, 64).map(lambda n: n / 64) | st.sampled_from([0.0, 1.0, 2**-20, 1 - 2**-20, 1 / 3])
    label = tiled(draw, shares if is_dense else indices, shape if is_dense else labels)
    label = rounded(label, label_dtype) if is_dense else label

    label_smoothing = draw(st.sampled_from([0.0, 0.0, 0.1, 0.5, 0.9]))
    largest = LARGEST[dtype]
    if label_smoothing or (loss, dtype) == ("softmax", "float64"):
        largest /= 1000  # its multiples and differences are finite, too
    special = [0.0, -0.0, 1e4, -1e4, 88.7, -103.9, 17.5, -745.1, 1e-30, SUBNORMAL[dtype], largest, -largest]
    logits = st.floats(-40, 40) | st.sampled_from(special)
    if loss == "binary":
        logits = st.floats(0, 1) | st.sampled_from([0.0, 1.0, 0.5, SUBNORMAL[dtype], 1e-30, 1e-7, 1 - 2**-11, 1 - 2**-24])
    with_nan = draw(st.integers(0, 9)) == 0  # where no factor is 0
    logit = rounded(tiled(draw, logits | st.just(math.nan) if with_nan and loss != "binary" else logits, shape), dtype)
    if loss == "softmax" and not label_smoothing and draw(st.booleans()):
        share = label if is_dense else oracle.one_hot(label, classes, axis)[0]
        logit[(share == 0) & (share.max(axis, keepdims=True, initial=0) > 0) & tiled(draw, st.booleans(), shape).astype(bool)] = -math.inf

    alphas = st.integers(0, 64).map(lambda n: n / (16 if loss == "softmax" else 64))
    alpha = draw(st.none() | alphas | st.lists(alphas, min_size=classes, max_size=classes))
    normalizers = st.integers(1, 4096).map(lambda n: n / 4)
    normalizer = draw(st.none() | normalizers | st.lists(normalizers, min_size=1, max_size=1).map(np.array))
    if draw(st.booleans()):
        normalizer = tiled(draw, normalizers, [classes])
    weight, weight_dtype = None, draw(st.sampled_from((*DTYPES, "int32", "int64", "bool")))
    if draw(st.booleans()):
        full = labels if loss == "softmax" else tuple(shape)
        partly = tuple(draw(st.sampled_from([1, n])) for n in full)[draw(st.integers(0, len(full))) :]
        weight_shape = draw(st.sampled_from([labels if loss == "softmax" else label.shape, full, partly] + [(math.prod(full),)] * (loss != "softmax")))
        weight = rounded(tiled(draw, st.integers(0, 32).map(lambda n: n / 8), weight_shape), weight_dtype)
    reduction = draw(st.sampled_from(["none", "sum", "mean"]))
    upstream_shape = () if reduction != "none" else labels if loss == "softmax" else shape
    return Case(
        loss, dtype, axis, logit, label, label_dtype, alpha,
        gamma=draw(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0]) | st.floats(0, 8)),
        normalizer=normalizer,
        weight=weight,
        weight_dtype=weight_dtype,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        reduction=reduction,
        upstream=tiled(draw, st.sampled_from([1.0, -3.0, 0.5, 2**-10]), upstream_shape),
        is_strided=draw(st.booleans()),
    )  # fmt: skip


@pytest.mark.parametrize("loss", FUNCTIONS)
@fuzz
@given(data=st.data())
def test_against_the_definition(backend, loss, data):
    case = data.draw(cases(loss))
    case.check(*case.run(backend))
