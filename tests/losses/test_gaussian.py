"""The focal loss of heatmaps, against its definition in 60 digits."""

from __future__ import annotations

import numpy as np
import oracle
import paddle
import pytest
from accuracy import DTYPES, GAMMAS, assert_accurate, run
from native_library import needs_library
from paddle_limits import needs_empty_tensors

from paddle_focal import GaussianFocalLoss, binary_gaussian_focal_loss, gaussian_focal_loss
from paddle_focal.ops.composite import blockwise


def call(logit, heatmap, dtype="float64", grad_out=None, function=gaussian_focal_loss, **arguments):
    return run(logit, np.asarray(heatmap, np.float64), dtype, grad_out, function, **arguments)


def definition(logit, heatmap, gamma=2.0, beta=4.0):
    return oracle.values_and_slopes(lambda x, y: oracle.gaussian_element(x, y, gamma, beta), logit, heatmap)


@pytest.fixture
def batch(rng):
    """Logits ``[2, 3, 40, 30]`` and a heatmap with peaks, their surroundings and nothing."""
    heatmap = np.where(rng.random((2, 3, 40, 30)) < 0.1, rng.random((2, 3, 40, 30)), 0)
    heatmap[rng.random(heatmap.shape) < 0.02] = 1
    return rng.normal(scale=3, size=heatmap.shape), heatmap


def in_numpy(logit, heatmap, gamma=2.0, beta=4.0):
    p = 1 / (1 + np.exp(-logit))
    peak = -((1 - p) ** gamma) * np.log(p)
    return np.where(heatmap == 1, peak, -((1 - heatmap) ** beta) * p**gamma * np.log(1 - p))


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_accuracy(backend, dtype, gamma):
    logit = np.array([-1e4, -100.0, -88.5, -30, -17, -8, -1, -1e-3, 0, 0.5, 3, 16.7, 40, 100, 1e4])
    logit = paddle.to_tensor(logit).astype(dtype).astype("float64").numpy()
    x, y = np.tile(logit, 3), np.repeat([1.0, 0.0, 0.5], len(logit))
    truth = definition(x, y, gamma)
    results = call(x, y, dtype, gamma=gamma, reduction="none", backend=backend)
    for actual, true in zip(results, truth):
        assert_accurate(actual, true, dtype, gamma)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 2.0, 4.0, 7.5])
def test_beta(backend, beta):
    y = np.array([0.0, 1e-7, 0.25, 0.5, 0.9, 0.999, 1 - 2**-24, 1.0], "float32")
    x = np.linspace(-3, 3, 8)
    truth = definition(x, y, 2.0, beta)
    for dtype in ("float32", "float64"):
        rounded = x.astype(dtype)
        results = call(rounded, y, dtype, beta=beta, reduction="none", backend=backend)
        for actual, true in zip(results, definition(rounded, y, 2.0, beta) if dtype == "float32" else truth):
            tolerance = {"rtol": 2e-5, "atol": 1.2e-38} if dtype == "float32" else {"rtol": 1e-12}
            np.testing.assert_allclose(actual, true, **tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_value_beside_one_is_no_peak(backend, dtype):
    """Not even the largest double below 1, whatever the logits are."""
    below = np.nextafter(1.0, 0.0)
    losses, slopes = call([2.0, 2.0], [1.0, below], dtype, reduction="none", backend=backend)
    assert losses[0] > 1e-3 > losses[1]
    assert slopes[0] < 0 <= slopes[1] < 1e-30


def test_the_distance_from_one_is_that_of_the_heatmap(backend):
    """Not that of its numbers once they are rounded to the logits' type."""
    options = {"beta": 1.0, "reduction": "none", "backend": backend}
    losses, _ = call(np.zeros(3), [1 - 1e-5, 1 - 1e-7, 1 - 1e-9], "float32", **options)
    np.testing.assert_allclose(losses, 0.25 * np.log(2) * np.array([1e-5, 1e-7, 1e-9]), rtol=2e-6)


@pytest.mark.parametrize("shape", [(2, 3, 40, 30), (7200,), (7200, 1), (1, 7200), (120, 60)])
def test_any_shape(backend, batch, shape):
    logit, heatmap = (one.reshape(shape) for one in batch)
    losses = in_numpy(logit, heatmap)
    for reduction, expected in (("none", losses), ("sum", losses.sum()), ("mean", losses.mean())):
        actual, _ = call(logit, heatmap, reduction=reduction, normalizer=4.0, backend=backend)
        np.testing.assert_allclose(actual, expected / 4, rtol=1e-11)


@pytest.mark.parametrize("shape", [[2, 3, 40, 30], [2, 1, 40, 30], [2, 3], [2], [1, 3], [7200], [1], []])
def test_weight(backend, batch, rng, shape):
    weight = rng.random(shape)
    full = {1: (2, 1, 1, 1), 2: (*shape, 1, 1)}.get(len(shape), shape) if shape not in ([7200], [1]) else None
    full = full or {7200: (2, 3, 40, 30), 1: (1, 1, 1, 1)}[shape[0] if shape else 1]
    actual, slopes = call(*batch, weight=paddle.to_tensor(weight), reduction="none", backend=backend)
    np.testing.assert_allclose(actual, in_numpy(*batch) * weight.reshape(full), rtol=1e-11)
    plain = call(*batch, reduction="none", backend=backend)[1]
    np.testing.assert_allclose(slopes, plain * weight.reshape(full), rtol=1e-11)


def test_gradient_from_above(backend, batch, rng):
    factor = rng.normal(size=batch[0].shape)
    _, slopes = call(*batch, grad_out=factor, reduction="none", backend=backend)
    h = 1e-5
    expected = (in_numpy(batch[0] + h, batch[1]) - in_numpy(batch[0] - h, batch[1])) / (2 * h) * factor
    np.testing.assert_allclose(slopes, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_of_heatmaps(backend, dtype):
    heatmap = paddle.to_tensor([0.0, 0.25, 0.5, 1.0]).astype(dtype)
    value = gaussian_focal_loss(paddle.to_tensor([0.5, -1.0, 2.0, 1.0], dtype="float64"), heatmap, backend=backend)
    np.testing.assert_allclose(float(value), in_numpy(np.array([0.5, -1, 2, 1]), np.array([0, 0.25, 0.5, 1])).sum())


@needs_empty_tensors
def test_empty(backend):
    for reduction in ("none", "sum", "mean"):
        losses, slopes = call(np.zeros((0, 3)), np.zeros((0, 3)), reduction=reduction, backend=backend)
        assert losses.sum() == 0
        assert slopes.shape == (0, 3)


def test_blocks_of_the_composite(batch, monkeypatch):
    monkeypatch.setattr(blockwise, "BLOCK", 1000)
    actual, _ = call(*batch, reduction="none", backend="composite")
    np.testing.assert_allclose(actual, in_numpy(*batch), rtol=1e-11)


def test_changes_in_place_are_seen(backend):
    logit, heatmap = paddle.zeros([4]), paddle.to_tensor([0.0, 0.5, 1.0, 0.0])
    logit.stop_gradient = False
    total = gaussian_focal_loss(logit, heatmap, backend=backend)
    heatmap.add_(paddle.full([4], -0.25))
    with pytest.raises(Exception, match="was changed in place"):
        total.backward()


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_probabilities(backend, gamma):
    """Finite and right from 0 to 1 inclusive."""
    prob = np.array([0.0, 1e-30, 1e-7, 0.01, 0.5, 0.99, 1 - 2**-30, 1.0] * 3)
    heatmap = np.repeat([0.0, 0.5, 1.0], 8)
    losses, slopes = call(
        prob, heatmap, function=binary_gaussian_focal_loss, gamma=gamma, reduction="none", backend=backend
    )
    assert np.isfinite(losses).all()
    assert np.isfinite(slopes).all()
    inner = (prob > 0) & (prob < 1)
    p, y = prob[inner], heatmap[inner]
    expected = np.where(y == 1, -((1 - p) ** gamma) * np.log(p), -((1 - y) ** 4) * p**gamma * np.log1p(-p))
    np.testing.assert_allclose(losses[inner], expected, rtol=1e-9)
    by_p = np.where(
        y == 1,
        gamma * (1 - p) ** (gamma - 1) * np.log(p) - (1 - p) ** gamma / p,
        (1 - y) ** 4 * (p**gamma / (1 - p) - gamma * p ** (gamma - 1) * np.log1p(-p)),
    )
    np.testing.assert_allclose(slopes[inner], by_p, rtol=1e-9)


class TestLayer:
    def test_hyper_parameters(self, batch):
        logit, heatmap = map(paddle.to_tensor, batch)
        layer = GaussianFocalLoss(gamma=1.5, beta=2.0, loss_weight=3.0, reduction="sum")
        np.testing.assert_allclose(float(layer(logit, heatmap)), 3 * in_numpy(*batch, 1.5, 2.0).sum(), rtol=1e-11)
        layer.beta = 4.0
        np.testing.assert_allclose(float(layer(logit, heatmap)), 3 * in_numpy(*batch, 1.5).sum(), rtol=1e-11)
        assert repr(layer) == (
            "GaussianFocalLoss(gamma=1.5, beta=4.0, loss_weight=3.0, normalizer=None, reduction='sum', "
            "activated=False, name=None)"
        )
        assert not layer.state_dict()

    def test_calls(self, batch):
        logit, heatmap = map(paddle.to_tensor, batch)
        weight = paddle.to_tensor(np.linspace(0, 1, 6).reshape(2, 3))
        losses = in_numpy(*batch)
        assert GaussianFocalLoss()(logit, heatmap).shape == [2, 3, 40, 30]
        actual = GaussianFocalLoss()(logit, heatmap, weight, avg_factor=5)
        np.testing.assert_allclose(float(actual), (losses * weight.numpy()[..., None, None]).sum() / 5, rtol=1e-11)

    def test_probabilities(self, batch):
        prob = paddle.to_tensor(1 / (1 + np.exp(-batch[0])))
        actual = GaussianFocalLoss(activated=True, reduction="sum")(prob, paddle.to_tensor(batch[1]))
        np.testing.assert_allclose(float(actual), in_numpy(*batch).sum(), rtol=1e-9)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("peaks", [0, 1, 3, 100_000])
    def test_divides_by_the_peaks(self, monkeypatch, dtype, peaks):
        heatmap = np.full(200_000, 0.5)
        heatmap[np.arange(peaks) * 2] = 1
        layer = GaussianFocalLoss(normalizer="peaks", reduction="sum")
        logit, heatmap = paddle.zeros([200_000], "float64"), paddle.to_tensor(heatmap).astype(dtype)
        without = GaussianFocalLoss(reduction="sum")(logit, heatmap)
        np.testing.assert_allclose(float(layer(logit, heatmap)), float(without) / max(peaks, 1), rtol=1e-12)

    def test_peaks_without_the_native_library(self, monkeypatch, batch):
        monkeypatch.setattr("paddle_focal.ops.native.reason_against", lambda *_: "none")
        with pytest.warns(UserWarning, match="none"):
            layer = GaussianFocalLoss(normalizer="peaks", reduction="sum")(*map(paddle.to_tensor, batch))
        np.testing.assert_allclose(float(layer), in_numpy(*batch).sum() / (batch[1] == 1).sum(), rtol=1e-11)

    @needs_library
    def test_peaks_that_cannot_be_counted(self, monkeypatch):
        monkeypatch.setenv("PADDLE_FOCAL_ISA", "sse9")
        with pytest.raises(RuntimeError, match=r"^count_ones: PADDLE_FOCAL_ISA must be one of .*, but got sse9$"):
            GaussianFocalLoss(normalizer="peaks")(paddle.zeros([3]), paddle.zeros([3]))

    @pytest.mark.parametrize("arguments", [{"avg_factor": 3.0}, {"reduction": "mean"}])
    def test_divides_once_only(self, arguments):
        layer = GaussianFocalLoss(normalizer="peaks")
        with pytest.raises(ValueError, match=r"normalizer='peaks' and .* would divide the loss twice"):
            layer(paddle.zeros([3]), paddle.zeros([3]), **arguments)

    @pytest.mark.parametrize(
        ("error", "name", "value"),
        [
            (ValueError, "beta", -1),
            (ValueError, "beta", float("inf")),
            (TypeError, "beta", "x"),
            (ValueError, "gamma", -1),
            (ValueError, "normalizer", "foreground"),
            (TypeError, "activated", 1),
        ],
    )
    def test_bad_values(self, error, name, value):
        with pytest.raises(error, match=f"{name} must be .* got {value!r}"):
            GaussianFocalLoss(**{name: value})

    def test_a_target_that_is_no_tensor(self):
        with pytest.raises(TypeError, match="heatmap must be a Tensor"):
            GaussianFocalLoss(normalizer="peaks")(paddle.zeros([3]), [0.0, 0.5, 1.0])


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, r"heatmap must have .*, \[2, 3\], but its shape is \[2\]", {"heatmap": paddle.zeros(2)}),
        (TypeError, r"heatmap must be a Tensor .*, but its dtype is int64", {"heatmap": paddle.zeros([2, 3], "int64")}),
        (ValueError, r"heatmap must be in \[0, 1\], but it contains 1.5", {"heatmap": paddle.full([2, 3], 1.5)}),
        (ValueError, r"heatmap must be in \[0, 1\], but it contains -1", {"heatmap": paddle.full([2, 3], -1.0)}),
        (ValueError, r"heatmap must be in \[0, 1\], but it contains nan", {"heatmap": paddle.full([2, 3], np.nan)}),
        (ValueError, "gamma must be a finite number >= 0, but got -1", {"gamma": -1}),
        (ValueError, "beta must be a finite number >= 0, but got nan", {"beta": float("nan")}),
        (ValueError, r"normalizer must .* shape \[\] or \[1\], but its shape is \[3\]", {"normalizer": paddle.ones(3)}),
        (ValueError, r"weight must have the leading .* \[2, 3\], .* its shape is \[3\]$", {"weight": paddle.ones(3)}),
        (ValueError, "reduction must be one of", {"reduction": "avg"}),
    ],
)  # fmt: skip
def test_refused(backend, error, message, arguments):
    with pytest.raises(error, match=message):
        gaussian_focal_loss(paddle.zeros([2, 3]), **{"heatmap": paddle.zeros([2, 3]), **arguments}, backend=backend)
