"""What only softmax_focal_loss has: classes that exclude each other, shares, classes that are ruled out."""

from __future__ import annotations

import numpy as np
import oracle
import paddle
import pytest

from paddle_focal import SoftmaxFocalLoss, softmax_focal_loss

DIGITS = 500  # where differences, which become gradients, reach down to 1e-308


def computed(logit, label, dtype="float64", **arguments):
    """Losses and gradients of one call with reduction 'none', as float64 arrays."""
    x = paddle.to_tensor(logit).astype(dtype).detach()
    x.stop_gradient = False
    loss = softmax_focal_loss(x, paddle.to_tensor(label), reduction="none", **arguments)
    loss.sum().backward()
    return loss.astype("float64").numpy(), x.grad.astype("float64").numpy(), x.detach().astype("float64").numpy()


class TestAccuracy:
    def test_far_out(self, backend):
        logit = [[1e4, -1e4, 3.0], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4]]
        for dtype in ("float32", "float64"):
            for label in ([0, 0, 0], [1, 1, 1]):
                loss, gradient, rounded = computed(logit, label, dtype, gamma=1.5, backend=backend)
                truth = oracle.softmax_loss_and_gradient(rounded, label, 1.5, digits=DIGITS)
                np.testing.assert_allclose(loss, truth[0], rtol=2e-6, atol=1e-38)
                np.testing.assert_allclose(gradient, truth[1], rtol=2e-6, atol=1e-38)

    def test_beyond_the_largest_number_of_float32(self, backend):
        logit = np.array([[1e39, 1e39], [0.0, 8e307]])
        loss, gradient, _ = computed(logit, [0, 0], alpha=None, gamma=0.0, backend=backend)
        np.testing.assert_allclose(loss, [np.log(2), 8e307], rtol=1e-12)
        np.testing.assert_allclose(gradient, [[-0.5, 0.5], [-1, 1]], rtol=1e-12)

    @pytest.mark.parametrize("classes", [1, 2, 7, 8, 9, 1203])
    def test_sum_over_classes(self, backend, rng, classes):
        logit = rng.normal(scale=3, size=(70, classes))  # more labels than a tile has lanes
        label = rng.integers(0, classes, 70)
        p = np.exp(logit) / np.exp(logit).sum(axis=1, keepdims=True)
        p_t = p[np.arange(70), label]
        truth = (-((1 - p_t) ** 2) * np.log(p_t)).sum()
        x = paddle.to_tensor(logit.astype("float32"), stop_gradient=False)
        loss = softmax_focal_loss(x, paddle.to_tensor(label), backend=backend)
        loss.backward()
        np.testing.assert_allclose(float(loss), truth, rtol=1e-6, atol=1e-12)
        # A softmax does not change when all its logits move together.
        np.testing.assert_allclose(x.grad.sum(axis=1).numpy(), np.zeros(70), atol=2e-6)

    @pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_soft_labels(self, backend, rng, gamma, smoothing):
        logit = np.concatenate([rng.normal(scale=4, size=(20, 4)), [[80.0, 0.0, 0.0, -80.0], [50.0, 50.0, 0.0, 0.0]]])
        label = rng.dirichlet(np.ones(4), 22)
        label[0], label[1] = [0, 1, 0, 0], [0.5, 0, 0, 0.2]
        alpha = [0.5, 2.0, 1.0, 0.0]
        loss, gradient, _ = computed(logit, label, gamma=gamma, alpha=alpha, label_smoothing=smoothing, backend=backend)
        truth = oracle.softmax_loss_and_gradient(logit, label, gamma, alpha, smoothing)
        np.testing.assert_allclose(loss, truth[0], rtol=1e-12)
        np.testing.assert_allclose(gradient, truth[1], rtol=1e-11, atol=1e-15)


class TestArguments:
    def test_by_hand(self, backend):
        # Equal logits: p = 1/2, (1/2)^2 log 2 = 0.17328...; then p = 3/4: (1/4)^2 log(4/3) = 0.01798...
        logit = paddle.to_tensor([[0.0, 0.0], [np.log(3.0), 0.0]], dtype="float32")
        loss = softmax_focal_loss(logit, paddle.to_tensor([1, 0]), reduction="none", backend=backend)
        np.testing.assert_allclose(loss.numpy(), [0.25 * np.log(2), np.log(4 / 3) / 16], rtol=2e-6)

    def test_gamma_0_is_the_cross_entropy(self, backend, rng):
        logit = paddle.to_tensor(rng.normal(size=(9, 4)))
        label = paddle.to_tensor(rng.integers(0, 4, 9))
        ours = softmax_focal_loss(logit, label, gamma=0, reduction="mean", label_smoothing=0.1, backend=backend)
        theirs = paddle.nn.functional.cross_entropy(logit, label, label_smoothing=0.1)  # smooths in float32
        np.testing.assert_allclose(float(ours), float(theirs), rtol=1e-6)

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
    @pytest.mark.parametrize("label", [[0], [[0.015625]]])
    def test_one_class_has_no_gradient(self, backend, label, dtype):
        """What smoothing gives it, it takes back, to the last bit."""
        for gamma in (0.0, 1.5):
            label = np.asarray(label, np.float32 if np.ndim(label) == 2 else np.int64)
            arguments = {"gamma": gamma, "label_smoothing": 0.1, "backend": backend}
            for logit in ([[0.0]], [[0.7]]):
                assert computed(logit, label, dtype, **arguments)[1] == 0.0

    def test_smoothing_far_from_zero(self, backend):
        """Of equal logits p is 1/C; smoothing adds nothing to the cross entropy, however large they are."""
        label = np.full((1, 70), 1 / 64)
        loss, *_ = computed(np.full((1, 70), 1e4), label, gamma=0.0, label_smoothing=0.9, backend=backend)
        np.testing.assert_allclose(loss, [70 / 64 * np.log(70)], rtol=1e-14)

    def test_mean_of_soft_labels(self, backend):
        label = paddle.to_tensor([[0.5, 0.5], [1.0, 0.0]])
        loss = softmax_focal_loss(paddle.zeros([2, 2]), label, reduction="mean", backend=backend)
        np.testing.assert_allclose(float(loss), 0.25 * np.log(2), rtol=2e-6)

    def test_nan_is_not_hidden(self, backend):
        logit = paddle.to_tensor([[float("nan"), 0.0, 1.0], [1.0, 2.0, 3.0]], stop_gradient=False)
        loss = softmax_focal_loss(logit, paddle.to_tensor([1, 1]), reduction="none", backend=backend)
        assert np.isnan(loss.numpy()).tolist() == [True, False]
        loss.sum().backward()
        assert np.isnan(logit.grad[0].numpy()).all()

    def test_classes_ruled_out(self, backend):
        logit = paddle.to_tensor([[0.0, -float("inf"), 0.0], [2.0, -float("inf"), -float("inf")]], stop_gradient=False)
        loss = softmax_focal_loss(logit, paddle.to_tensor([0, 0]), reduction="none", backend=backend)
        np.testing.assert_allclose(loss.numpy(), [0.25 * np.log(2), 0], rtol=2e-6)
        loss.sum().backward()
        assert logit.grad[0, 1] == 0
        assert logit.grad[1].tolist() == [0, 0, 0]
        loss = softmax_focal_loss(logit, paddle.to_tensor([0, 0]), gamma=0.0, reduction="none", backend=backend)
        np.testing.assert_allclose(loss.numpy(), [np.log(2), 0], rtol=2e-6)

    def test_soft_labels_with_classes_ruled_out(self, backend):
        logit = paddle.to_tensor([[0.0, -float("inf"), 0.0], [2.0, -float("inf"), -float("inf")]], stop_gradient=False)
        label = paddle.to_tensor([[0.5, 0.0, 0.5], [1.0, 0.0, 0.0]])
        loss = softmax_focal_loss(logit, label, reduction="none", backend=backend)
        np.testing.assert_allclose(loss.numpy(), [0.25 * np.log(2), 0], rtol=2e-6)
        loss.sum().backward()
        np.testing.assert_allclose(logit.grad.numpy(), np.zeros((2, 3)), atol=1e-7)

    def test_gradients_of_a_certain_soft_label(self, backend):
        # With gamma 0, p - y: 4e-18 here, where Paddle's == finds 0; and a share of 1e-20 counts, too.
        _, gradient, _ = computed([[40.0, 0.0]], np.array([[1.0, 0.0]]), gamma=0.0, backend=backend)
        np.testing.assert_allclose(gradient, [[-np.exp(-40.0), np.exp(-40.0)]], rtol=1e-12)
        loss, *_ = computed([[0.0, 0.0]], np.array([[1e-20, 0.0]]), gamma=0.0, backend=backend)
        np.testing.assert_allclose(loss, 1e-20 * np.log(2), rtol=1e-12)

    @pytest.mark.parametrize(
        ("label", "arguments", "message"),
        [
            ([0, 3], {}, r"label must be in \[0, 2\] or ignore_index -1, but it contains 3"),
            ([0, -2], {}, r"label must be in \[0, 2\] or ignore_index -1, but it contains -2"),
            ([[0.1, 0.2, 1.5], [0, 0, 0.0]], {}, r"label must be in \[0, 1\], but it contains 1.5"),
            ([0, 1], {"ignore_index": 2}, r"ignore_index must lie outside \[0, 2\], the classes, but got 2"),
            ([0, 1], {"alpha": [1.0, 2.0]}, "alpha must be one number or 3 numbers, one per class, but got 2"),
            ([0, 1], {"alpha": -1.0}, "alpha must be None, a finite number >= 0 or a list.* but got -1"),
            ([0, 1], {"alpha": 1e300}, r"alpha / normalizer must be at most 3.4e\+38, .* but got up to 1e\+300 / 1"),
            ([0, 1], {"alpha": [1, 1e39, 1]}, r"alpha / normalizer must be at most 3.4e\+38, .* up to 1e\+39 / 1"),
            ([0, 1], {"alpha": float("inf")}, "alpha must be None, a finite number >= 0 or a list.* but got inf"),
            ([0, 1, 2], {}, r"label of dtype int64 must have shape \[2\]"),
        ],
        ids=str,
    )
    def test_what_is_wrong_is_said(self, backend, label, arguments, message):
        dtype = "int64" if np.ndim(label) == 1 else "float32"
        with pytest.raises(ValueError, match=message):
            softmax_focal_loss(paddle.zeros([2, 3]), paddle.to_tensor(label, dtype=dtype), backend=backend, **arguments)


@pytest.mark.parametrize("label", [[[0.3, 0.0, 0.7]], [2]])
def test_class_that_is_ruled_out(backend, label):
    """A logit of -infinity is a class less."""
    whole = computed([[0.5, -np.inf, 1.0]], label, backend=backend)
    rest = computed([[0.5, 1.0]], [[0.3, 0.7]] if np.ndim(label) == 2 else [1], backend=backend)
    np.testing.assert_allclose(whole[0], rest[0], rtol=1e-12)
    np.testing.assert_allclose(whole[1], [[rest[1][0, 0], 0, rest[1][0, 1]]], rtol=1e-12)


def test_alpha_of_a_layer_may_exceed_one():
    loss = SoftmaxFocalLoss(alpha=[3.0, 0.5], reduction="sum")
    # Equal logits: (1/2)^2 log 2 for each label, times the alpha of its class.
    assert float(loss(paddle.zeros([2, 2]), paddle.to_tensor([0, 1]))) == pytest.approx(3.5 / 4 * np.log(2), rel=1e-6)


@pytest.mark.parametrize("label", [[[0.25] * 4] * 3, [0, 1, 2]])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_reduced_loss_is_a_scalar(backend, label, reduction):
    loss = softmax_focal_loss(paddle.zeros([3, 4]), paddle.to_tensor(label), reduction=reduction, backend=backend)
    assert loss.shape == []
    # Every class has p = 1/4.
    assert float(loss) == pytest.approx((3 / 4) ** 2 * np.log(4) * (1 if reduction == "mean" else 3), rel=1e-6)


def test_a_second_backward_names_the_loss(backend):
    logit = paddle.to_tensor([[0.0, 1.0]], stop_gradient=False)
    loss = softmax_focal_loss(logit, paddle.to_tensor([0]), backend=backend)
    loss.backward(retain_graph=True)
    with pytest.raises(OSError, match="a second time through softmax_focal_loss: "):
        loss.backward()
