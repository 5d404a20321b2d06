"""What only sigmoid_focal_loss has: published figures, background, dense targets."""

from __future__ import annotations

import numpy as np
import oracle
import paddle
import paddle.nn.functional as F
import pytest
from accuracy import GAMMAS, run

from paddle_focal import sigmoid_focal_loss


class TestPublishedFigures:
    """The examples of Paddle's documentation of F.sigmoid_focal_loss; printed with eight decimals."""

    def test_sum_over_foreground(self, backend):
        logit = paddle.to_tensor([[0.97, 0.91, 0.03], [0.55, 0.43, 0.71]])
        dense = paddle.to_tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        for label in (dense, paddle.to_tensor([0, 1])):
            for normalizer in (2, 2.0, paddle.to_tensor([2.0]), paddle.to_tensor(2.0)):
                loss = sigmoid_focal_loss(logit, label, normalizer=normalizer, backend=backend)
                assert loss.shape == []
                assert float(loss) == pytest.approx(0.65782464, rel=1e-6)

    def test_elements(self, backend):
        logit = paddle.to_tensor([[0.97, -0.91, 0.03], [-0.55, -0.43, 0.71]])
        expected = [[0.00607155, 0.02089742, 0.13681224], [0.04572807, 0.08544625, 0.37411609]]
        divided = [[0.00050596, 0.00174145, 0.01140102], [0.00381067, 0.00712052, 0.03117634]]
        for label in (paddle.to_tensor([0, 1]), paddle.to_tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])):
            loss = sigmoid_focal_loss(logit, label, reduction="none", backend=backend)
            np.testing.assert_allclose(loss.numpy(), expected, rtol=2e-6, atol=5e-9)
            for normalizer in ([12.0], [12.0, 12.0, 12.0]):
                loss = sigmoid_focal_loss(logit, label, paddle.to_tensor(normalizer), reduction="none", backend=backend)
                np.testing.assert_allclose(loss.numpy(), divided, rtol=2e-6, atol=5e-9)

    def test_by_hand(self, backend):
        # x = 0: p = 1/2 whatever the target, so FL = alpha_t 2^-gamma log 2 and
        # dFL/dx = -+ alpha_t 2^-gamma (gamma log(2) / 2 + 1/2).
        loss, gradient = run([[0.0, 0.0]], [0], alpha=0.25, gamma=2.0, reduction="none", backend=backend)
        np.testing.assert_allclose(loss, [[0.25 / 4 * np.log(2), 0.75 / 4 * np.log(2)]], rtol=1e-6)
        slope = (np.log(2) + 0.5) / 4
        np.testing.assert_allclose(gradient, [[-0.25 * slope, 0.75 * slope]], rtol=1e-6)


class TestAccuracy:
    @pytest.mark.parametrize("gamma", GAMMAS)
    @pytest.mark.parametrize("smoothing", [0.0, 0.2])
    def test_soft_targets(self, backend, rng, gamma, smoothing):
        x = np.concatenate([rng.uniform(-40, 40, 40), [-100.0, 100.0, 0.0, 1e4, -1e4]])
        for target in (0.0, 0.1, 0.5, 0.9, 1.0):
            label = np.full((x.size, 1), target)
            loss, gradient = run(
                x[:, None], label, "float64", gamma=gamma, label_smoothing=smoothing, reduction="none", backend=backend
            )
            expected = oracle.loss_and_gradient(x, target, gamma=gamma, smoothing=smoothing)
            np.testing.assert_allclose(loss[:, 0], expected[0], rtol=1e-12, atol=1e-300)
            # Where a soft target crosses the prediction the gradient passes through 0: held against its terms.
            np.testing.assert_allclose(gradient[:, 0], expected[1], rtol=1e-12, atol=1e-14)

    def test_sum_has_no_cancellation(self, backend):
        # The foreground logit's background loss would be 75; the true sum is 4e-9.
        loss, _ = run([[100.0, -8.0]], [0], backend=backend)
        expected = oracle.loss_and_gradient([[100.0, -8.0]], [[1, 0]])[0].sum()
        np.testing.assert_allclose(loss, expected, rtol=2e-6)

    def test_sum_of_many(self, backend, rng):
        x = rng.normal(-4, 2, (5000, 80)).astype("float32")
        label = np.where(rng.random(5000) < 0.01, rng.integers(0, 80, 5000), 80)
        z = np.where(label[:, None] == np.arange(80), -x, x).astype("float64")
        alpha_t = np.where(label[:, None] == np.arange(80), 0.25, 0.75)
        expected = (alpha_t / (1 + np.exp(-z)) ** 2 * np.logaddexp(0, z)).sum()
        loss, _ = run(x, label, backend=backend)
        np.testing.assert_allclose(loss, expected, rtol=1e-6)

    def test_nan_is_not_hidden(self, backend):
        loss, gradient = run([[np.nan, 0.0], [1.0, 2.0]], [2, 0], reduction="none", backend=backend)
        assert np.isnan(loss).tolist() == [[True, False], [False, False]]
        assert np.isnan(gradient).tolist() == [[True, False], [False, False]]


class TestGradient:
    def test_small_gradients_survive_half_precision_with_loss_scaling(self, backend):
        _, gradient = run([[-6.0]], [1], "float16", grad_out=2.0**16, normalizer=8.0, backend=backend)
        expected = oracle.loss_and_gradient([[-6.0]], 0)[1] * 2**13
        np.testing.assert_allclose(gradient, expected, rtol=2**-10)


class TestArguments:
    def test_more_than_one_block(self, backend, rng):
        # Twice the composite backend's block and a remainder, in rows and in columns, and columns of many blocks.
        for shape, axis in (((7001, 80), -1), ((9, 80, 1000), 1), ((2, 3, 21_000), 1)):
            x = rng.normal(size=shape).astype("float32")
            classes = shape[axis]
            label = rng.integers(-1, classes + 1, shape[:1] if axis == -1 else (shape[0], shape[2]))
            dense, kept = oracle.one_hot(label, classes, axis)
            z = np.where(dense == 1, -x, x).astype("float64")
            expected = kept * np.where(dense == 1, 0.25, 0.75) / (1 + np.exp(-z)) ** 2 * np.logaddexp(0, z)
            total, gradient = run(x, label, axis=axis, backend=backend)
            elements, same = run(x, label, axis=axis, reduction="none", backend=backend)
            np.testing.assert_allclose(elements, expected, rtol=2e-6)
            np.testing.assert_allclose(total, expected.sum(), rtol=1e-6)
            np.testing.assert_array_equal(gradient, same)
            # Powers of two, so that the product is exact.
            weight, grad_out = 2.0 ** rng.integers(-3, 4, label.shape), 2.0 ** rng.integers(-3, 4, shape)
            weighted = run(
                x,
                label,
                grad_out=grad_out,
                weight=paddle.to_tensor(weight),
                axis=axis,
                reduction="none",
                backend=backend,
            )
            factor = np.expand_dims(weight, axis)
            np.testing.assert_allclose(weighted[0], elements * factor, rtol=1e-6)
            np.testing.assert_allclose(weighted[1], gradient * factor * grad_out, rtol=1e-6)

    def test_mean_of_dense_labels(self, backend, rng):
        x, target = rng.normal(size=(2, 3, 4)), rng.integers(0, 2, (2, 3, 4)).astype("float64")
        loss, _ = run(x, target, "float64", reduction="mean", backend=backend)
        np.testing.assert_allclose(loss, oracle.loss_and_gradient(x, target)[0].mean(), rtol=1e-12)

    def test_background_is_an_all_zero_row(self, backend, rng):
        x = rng.normal(size=(4, 3))
        indexed = run(x, [3, 3, 3, 3], "float64", reduction="none", backend=backend)
        expected = oracle.loss_and_gradient(x, np.zeros((4, 3)))
        np.testing.assert_allclose(indexed[0], expected[0], rtol=1e-12)
        np.testing.assert_allclose(indexed[1], expected[1], rtol=1e-12)

    @pytest.mark.parametrize("alpha", [None, 0.0, 0.25, 1.0, [0.0, 0.5, 1.0], np.array([0.2, 0.3, 0.4])])
    def test_alpha(self, backend, rng, alpha):
        x, label = rng.normal(size=(8, 3)), rng.integers(0, 4, 8)
        dense, _ = oracle.one_hot(label, 3)
        expected = oracle.loss_and_gradient(x, dense, alpha)
        for target in (label, dense):
            loss, gradient = run(x, target, "float64", alpha=alpha, reduction="none", backend=backend)
            np.testing.assert_allclose(loss, expected[0], rtol=1e-12)
            np.testing.assert_allclose(gradient, expected[1], rtol=1e-12)

    def test_gamma_zero_without_alpha_is_cross_entropy(self, backend, rng):
        x, target = paddle.to_tensor(rng.normal(size=(8, 3))), paddle.to_tensor(rng.random((8, 3)))
        loss = sigmoid_focal_loss(x, target, alpha=None, gamma=0, reduction="none", backend=backend)
        expected = F.binary_cross_entropy_with_logits(x, target, reduction="none")
        np.testing.assert_allclose(loss.numpy(), expected.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        (r"alpha must be .*\[0, 1\].* got 2", {"alpha": 2}),
        (r"label must be in \[0, 3\] \(3 is background\) .* contains 4", {"label": paddle.to_tensor([0, 4])}),
        (r"alpha / normalizer must be at most 3.4e\+38, .* but got up to 1 / 1e-39", {"normalizer": 1e-39}),
        (r"ignore_index must lie outside \[0, 3\], the classes and the background, .* got 3", {"ignore_index": 3}),
    ],
)
def test_refused(message, arguments):
    with pytest.raises(ValueError, match=message):
        sigmoid_focal_loss(**{"logit": paddle.zeros([2, 3]), "label": paddle.to_tensor([0, 3]), **arguments})


def test_a_row_of_more_than_one_block(backend):
    x = paddle.zeros([2, 3, 100_000])
    total, _ = run(x.numpy(), np.zeros((2, 100_000), "int64"), axis=1, alpha=None, gamma=0.0, backend=backend)
    assert float(total) == pytest.approx(6e5 * np.log(2), rel=1e-5)  # all roundings of equal losses are the same way


def test_small_blocks_count_beside_large_ones(backend):
    # Rows of the composite backend's block: 2^18 losses of 64, and twice a loss of 1, which float32 would drop.
    logit, weight = np.full((3, 2**18), 64.0), np.zeros((3, 2**18))
    weight[0], weight[1:, 0] = 1, 1 / 64
    label = paddle.zeros([3, 2**18])
    options = {"weight": paddle.to_tensor(weight, "float32"), "alpha": None, "gamma": 0.0, "backend": backend}
    assert float(sigmoid_focal_loss(paddle.to_tensor(logit, "float32"), label, **options)) == 2**24 + 2
