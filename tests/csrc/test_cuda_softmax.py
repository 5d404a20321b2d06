"""The softmax loss's kernels for GPUs: every thread's work is run on the host, beside the definition."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from host_kernels import FLOATING, TYPES, Array, Params, SoftmaxCase

#: [outer, classes, inner]: classes lying together, for one to 32 lanes; and apart.
SHAPES = [
    (1, 1, 1), (300, 2, 1), (130, 5, 1), (41, 80, 1), (9, 91, 1), (3, 200, 1),
    (1, 1, 7), (2, 3, 70), (2, 21, 33), (1, 130, 5), (2, 17, 2),
]  # fmt: skip


def make_shares(rng, shape):
    share = rng.choice([0.0, 0.0, 1.0, 0.25], shape)
    return share / 4


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", FLOATING)
class TestNumbers:
    @pytest.mark.parametrize("label_dtype", ["int32", "int64"])
    def test_class_indices(self, host, rng, shape, dtype, label_dtype):
        label = rng.integers(-1, shape[1], (shape[0], shape[2]))
        SoftmaxCase(host, rng.normal(0, 3, shape), label, dtype, label_dtype=label_dtype).check()

    def test_soft_labels(self, host, rng, shape, dtype):
        label = make_shares(rng, shape)
        SoftmaxCase(host, rng.normal(0, 2, shape), label, dtype, label_dtype="float32").check()

    @pytest.mark.parametrize("label_dtype", ["int64", "float32"])
    def test_everything_at_once(self, host, rng, shape, dtype, label_dtype):
        labels = (shape[0], shape[2])
        label = make_shares(rng, shape) if label_dtype == "float32" else rng.integers(-1, shape[1], labels)
        case = SoftmaxCase(
            host, rng.normal(size=shape), label, dtype, label_dtype=label_dtype, second=0.1, gamma=1.5,
            scale=rng.uniform(0.1, 1, shape[1]), weight=rng.choice([0.5, 1, 3], labels), offset=1,
        )  # fmt: skip
        case.check(rng.choice([-3.0, 0.5, 2.0], labels))


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2, 5])
@pytest.mark.parametrize("label_dtype", ["int64", "float32"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_far_apart(host, rng, gamma, label_dtype, dtype):
    """Where p_t is close to 1, the loss depends exponentially on z."""
    logit = rng.normal(size=(64, 6, 1))
    logit[np.arange(64), rng.integers(0, 6, 64)] += np.linspace(-30, 30, 64)[:, None]
    label = rng.integers(0, 6, (64, 1))
    if label_dtype == "float32":
        label = np.eye(6)[label[:, 0]][..., None]
    SoftmaxCase(host, logit + 50, label, dtype, label_dtype=label_dtype, gamma=gamma).check()


@pytest.mark.parametrize("shape", [(70, 5, 1), (2, 5, 33)], ids=str)
@pytest.mark.parametrize("dtype", FLOATING)
class TestLabels:
    def test_without_loss(self, host, rng, shape, dtype):
        label = rng.choice([-100, 0, 4, 5, 6, -1, 2**32], (shape[0], shape[2]))
        for ignored in (-100, 6):
            logit = np.where((label == ignored)[:, None], np.nan, rng.normal(size=shape))
            case = SoftmaxCase(host, logit, label, dtype, ignore_index=ignored)
            invalid = ((label < 0) | (label > 4)) & (label != ignored)
            loss, gradient = case.run(), case.run(case.upstream())
            assert (np.isnan(loss) == invalid).all()
            assert (np.isnan(gradient) == invalid[:, None]).all()
            assert (loss[label == ignored] == 0).all()
            assert np.isnan(case.partials().sum())

    def test_shares_out_of_range(self, host, rng, shape, dtype):
        label = make_shares(rng, shape)
        label[0, 1, 0] = 1.5
        case = SoftmaxCase(host, rng.normal(size=shape), label, dtype, label_dtype="float32")
        assert np.argwhere(np.isnan(case.run())).tolist() == [[0, 0]]
        assert np.isnan(case.run(case.upstream())[0, :, 0]).all()

    def test_nan_and_infinity(self, host, shape, dtype):
        for value, loss in ((np.nan, np.nan), (-np.inf, np.log(4))):
            logit = np.zeros(shape)
            logit[:, 1] = value
            case = SoftmaxCase(host, logit, np.zeros((shape[0], shape[2])), dtype, gamma=0, scale=np.ones(5))
            np.testing.assert_allclose(case.run(), np.full(case.loss_shape, loss), rtol=4e-3)
            gradient = case.run(case.upstream())
            assert np.isnan(gradient[:, 2:]).all() == np.isnan(value)


def test_one_share_is_a_class_index(host, rng):
    """A class without a share may be ruled out."""
    logit = rng.normal(size=(40, 7, 1))
    logit[:, 3] = -np.inf
    label = rng.integers(0, 3, (40, 1))
    share = np.eye(7)[label[:, 0]][..., None]
    results = []
    for case in (SoftmaxCase(host, logit, label), SoftmaxCase(host, logit, share, label_dtype="float32")):
        results.append((case.run(), case.run(case.upstream())))
    for index, soft in zip(*results):
        np.testing.assert_allclose(soft, index, rtol=1e-5, atol=1e-7)
        assert np.isfinite(index).all()


@pytest.mark.parametrize("inner", [1, 40])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shared_memory(host, inner, dtype):
    """What a block may have without being asked for; logits that it does not hold are read again."""
    for classes in (1, 2, 21, 80, 1203, 3001, 12001, 100001):
        params = Params(logit=Array(0, TYPES[dtype]), label=Array(0, TYPES["int64"]), loss=1)
        params.shape[:] = 1000, classes, inner
        numbers = np.zeros(4, np.int64)
        host.softmax_numbers(ctypes.byref(params), ctypes.c_void_p(numbers.ctypes.data))
        lanes, slots, is_kept, size = numbers.tolist()
        assert size <= 47 * 1024
        assert lanes * slots in (32, 64, 128, 256)
        assert lanes <= 32
        assert is_kept == (classes < ({1: 12000, 40: 1400}[inner] if dtype == "float32" else {1: 6000, 40: 700}[inner]))


@pytest.mark.parametrize("shape", [(2, 13000, 1), (1, 1600, 3)], ids=str)
def test_more_classes_than_are_kept(host, rng, shape):
    logit, label = rng.normal(size=shape), rng.integers(0, shape[1], (shape[0], shape[2]))
    for target, dtype in ((label, "int64"), (None, "float32")):
        if target is None:
            target = np.zeros(shape)
            np.put_along_axis(target, label[:, None], 1.0, 1)
        case = SoftmaxCase(host, logit, target, label_dtype=dtype)
        odds = np.exp(logit).sum(1) / np.take_along_axis(np.exp(case.logit), label[:, None], 1)[:, 0] - 1
        p = 1 / (1 + odds)
        np.testing.assert_allclose(case.run(), 0.25 * (1 - p) ** 2 * -np.log(p), rtol=2e-6)
        gradient = case.run(case.upstream())
        slope = 0.25 * (1 - p) ** 2 * (2 * p * -np.log(p) + (1 - p))
        own = np.take_along_axis(gradient, label[:, None], 1)[:, 0]
        np.testing.assert_allclose(own, -slope, rtol=2e-6)
        np.testing.assert_allclose(gradient.sum(1), 0, atol=1e-5)
