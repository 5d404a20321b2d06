"""softmax_focal_loss against its definition in up to 500 digits, on both backends."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import oracle
import paddle
import pytest

from paddle_focal import SoftmaxFocalLoss, softmax_focal_loss

GAMMAS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
#: The largest relative error of an element: of float32 with gamma 0, 1 or 2, and else; of the rounding of half numbers.
TOLERANCE = {"float64": 1e-12, "float32": 2e-5, "float16": 1.01 * 2**-11, "bfloat16": 1.01 * 2**-8}
DIGITS = 500  # where differences, which become gradients, reach down to 1e-308
SMALLEST = {"float64": 1e-300, "float32": 1.2e-38, "float16": 6.2e-5, "bfloat16": 1.2e-38}


def computed(logit, label, dtype="float64", **arguments):
    """Losses and gradients of one call with reduction 'none', as float64 arrays."""
    x = paddle.to_tensor(logit).astype(dtype).detach()
    x.stop_gradient = False
    loss = softmax_focal_loss(x, paddle.to_tensor(label), reduction="none", **arguments)
    loss.sum().backward()
    return loss.astype("float64").numpy(), x.grad.astype("float64").numpy(), x.detach().astype("float64").numpy()


def assert_accurate(actual, truth, dtype, gamma=0.5):
    tolerance = 2e-6 if dtype == "float32" and gamma in (0, 1, 2) else TOLERANCE[dtype]
    normal = np.abs(truth) >= SMALLEST[dtype]
    error = np.abs(actual - truth)[normal] / np.abs(truth)[normal]
    assert error.max(initial=0) <= tolerance
    # Below the smallest normal number: half a spacing of subnormal ones in half precision, else zero or about right.
    np.testing.assert_allclose(actual[~normal], truth[~normal], rtol=0, atol=2**-24 if dtype == "float16" else 2e-38)


@cache
def spread(dtype, gamma):
    """Logits of three classes from far apart to equal, rounded to the dtype, with labels and their truth."""
    extreme = [0.1, 0.1, 1e-3, 1.3, -1.7, 10.1, -17.3, 30.7, 60.9, -85.3, 99.7, -100.0]
    rng = np.random.default_rng(3)
    rows = np.array(list(itertools.permutations(extreme, 3)))[rng.permutation(1320)[:24]]
    # Differences of which rounding takes as much as the tolerance allows.
    rows = np.concatenate([rows, rng.uniform([0, 30, -45], [20, 40, -38], (24, 3))])
    logit = paddle.to_tensor(rows, dtype="float64").astype(dtype)
    label = np.append(rng.integers(0, 3, 24), np.zeros(24, "int64"))
    return logit, label, *oracle.softmax_loss_and_gradient(logit.astype("float64").numpy(), label, gamma, digits=DIGITS)


class TestAccuracy:
    @pytest.mark.parametrize("gamma", GAMMAS)
    @pytest.mark.parametrize("dtype", TOLERANCE)
    def test_of_every_element(self, backend, dtype, gamma):
        logit, label, true_loss, true_gradient = spread(dtype, gamma)
        loss, gradient, _ = computed(logit, label, dtype, gamma=gamma, backend=backend)
        assert_accurate(loss, true_loss, dtype, gamma)
        assert_accurate(gradient, true_gradient, dtype, gamma)

    def test_far_out(self, backend):
        logit = [[1e4, -1e4, 3.0], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4]]
        for dtype in ("float32", "float64"):
            for label in ([0, 0, 0], [1, 1, 1]):
                loss, gradient, rounded = computed(logit, label, dtype, gamma=1.5, backend=backend)
                truth = oracle.softmax_loss_and_gradient(rounded, label, 1.5, digits=DIGITS)
                np.testing.assert_allclose(loss, truth[0], rtol=2e-6, atol=1e-38)
                np.testing.assert_allclose(gradient, truth[1], rtol=2e-6, atol=1e-38)

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

    @pytest.mark.parametrize("gamma", [0.0, 1.5])
    def test_label_smoothing(self, backend, rng, gamma):
        logit, label = rng.normal(scale=3, size=(12, 5)), rng.integers(0, 5, 12)
        loss, gradient, _ = computed(logit, label, gamma=gamma, label_smoothing=0.2, backend=backend)
        truth = oracle.softmax_loss_and_gradient(logit, label, gamma, smoothing=0.2)
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

    @pytest.mark.parametrize("axis", [0, 1, 2, -1])
    def test_axis(self, backend, rng, axis):
        logit = rng.normal(size=(3, 4, 70))
        moved = np.moveaxis(logit, axis, -1)
        label = rng.integers(0, moved.shape[-1], moved.shape[:-1])
        truth = oracle.softmax_loss_and_gradient(moved.reshape(-1, moved.shape[-1]), label.ravel())
        loss, gradient, _ = computed(logit, label, axis=axis, backend=backend)
        np.testing.assert_allclose(loss.ravel(), truth[0], rtol=1e-12)
        np.testing.assert_allclose(np.moveaxis(gradient, axis, -1).reshape(truth[1].shape), truth[1], rtol=1e-12)

    def test_alpha_normalizer_and_weight(self, backend, rng):
        logit, label = rng.normal(size=(6, 3)), np.array([0, 1, 2, 0, 1, 2], "int32")
        weight = rng.uniform(size=6).astype("float32")
        alpha = np.array([0.25, 1.5, 3.0])
        truth = oracle.softmax_loss_and_gradient(logit, label, 2.0, alpha)
        loss, gradient, _ = computed(
            logit, label, alpha=alpha.tolist(), normalizer=4.0, weight=paddle.to_tensor(weight), backend=backend
        )
        factor = weight.astype("float64") / 4
        np.testing.assert_allclose(loss, factor * truth[0], rtol=1e-12)
        np.testing.assert_allclose(gradient, factor[:, None] * truth[1], rtol=1e-12)

    @pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
    def test_ignored_labels(self, backend, reduction):
        logit = paddle.to_tensor([[0.0, 0.0], [float("nan"), 1.0], [0.0, 0.0]], stop_gradient=False)
        loss = softmax_focal_loss(
            logit, paddle.to_tensor([1, -100, 0]), reduction=reduction, ignore_index=-100, backend=backend
        )
        one = 0.25 * np.log(2)
        np.testing.assert_allclose(
            loss.numpy(), {"none": [one, 0, one], "mean": one, "sum": 2 * one}[reduction], rtol=2e-6
        )
        loss.sum().backward()
        assert logit.grad[1].tolist() == [0, 0]
        assert float(logit.grad[0, 1]) < 0

    def test_nothing_to_do(self, backend):
        ignored = softmax_focal_loss(
            paddle.zeros([2, 3]), paddle.to_tensor([-1, -1]), reduction="mean", backend=backend
        )
        empty = softmax_focal_loss(paddle.zeros([0, 3]), paddle.zeros([0], "int64"), reduction="sum")
        assert (float(ignored), float(empty)) == (0, 0)

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
            ([0, 1], {"alpha": float("inf")}, "alpha must be None, a finite number >= 0 or a list.* but got inf"),
            ([0, 1], {"weight": paddle.ones([3])}, r"weight must broadcast to the shape of the labels, \[2\], but"),
            ([0, 1, 2], {}, r"label of dtype int64 must have shape \[2\]"),
        ],
        ids=str,
    )
    def test_what_is_wrong_is_said(self, backend, label, arguments, message):
        dtype = "int64" if np.ndim(label) == 1 else "float32"
        with pytest.raises(ValueError, match=message):
            softmax_focal_loss(paddle.zeros([2, 3]), paddle.to_tensor(label, dtype=dtype), backend=backend, **arguments)


class TestPasses:
    def test_upstream_gradients(self, backend, rng):
        logit, label = rng.normal(size=(5, 3)), rng.integers(0, 3, 5)
        upstream = rng.normal(size=5)
        x = paddle.to_tensor(logit, stop_gradient=False)
        loss = softmax_focal_loss(x, paddle.to_tensor(label), reduction="none", backend=backend)
        (loss * paddle.to_tensor(upstream)).sum().backward()
        np.testing.assert_allclose(
            x.grad.numpy(), upstream[:, None] * oracle.softmax_loss_and_gradient(logit, label)[1], rtol=1e-12
        )

    def test_only_once(self, backend):
        x = paddle.to_tensor([[1.0, 2.0]], stop_gradient=False)
        loss = softmax_focal_loss(x, paddle.to_tensor([0]), backend=backend)
        with pytest.raises((RuntimeError, OSError), match="softmax_focal_loss cannot be differentiated twice"):
            paddle.grad(paddle.grad(loss, [x], create_graph=True)[0].sum(), [x])

    def test_same_bits_with_any_number_of_threads(self, rng):
        logit, label = rng.normal(size=(3000, 81)).astype("float32"), rng.integers(0, 81, 3000)
        sums = set()
        for threads in (1, 2, 3):
            paddle.base.core.set_num_threads(threads)
            sums.add(float(softmax_focal_loss(paddle.to_tensor(logit), paddle.to_tensor(label))))
        assert len(sums) == 1


class TestLayer:
    def test_hyper_parameters_take_effect_when_set(self):
        loss = SoftmaxFocalLoss()
        logit, label = paddle.zeros([1, 2]), paddle.to_tensor([1])
        loss.gamma, loss.alpha, loss.loss_weight, loss.reduction = 1.0, [1.0, 4.0], 3.0, "sum"
        np.testing.assert_allclose(float(loss(logit, label)), 3 * 4 * 0.5 * np.log(2), rtol=2e-6)
        with pytest.raises(ValueError, match="gamma must be a finite number >= 0, but got -1"):
            loss.gamma = -1

    def test_reduction_and_avg_factor_as_in_mmdetection(self):
        loss = SoftmaxFocalLoss(gamma=0)
        logit, label = paddle.zeros([3, 2]), paddle.to_tensor([0, 1, 1])
        assert loss(logit, label).shape == [3]
        np.testing.assert_allclose(float(loss(logit, label, avg_factor=6)), 0.5 * np.log(2), rtol=2e-6)
        with pytest.raises(ValueError, match="avg_factor takes the place of the mean's count"):
            loss(logit, label, avg_factor=6, reduction="sum")


@pytest.mark.parametrize("label", [[[0.3, 0.0, 0.7]], [2]])
def test_class_that_is_ruled_out(backend, label):
    """A logit of -infinity is a class less."""
    whole = computed([[0.5, -np.inf, 1.0]], label, backend=backend)
    rest = computed([[0.5, 1.0]], [[0.3, 0.7]] if np.ndim(label) == 2 else [1], backend=backend)
    np.testing.assert_allclose(whole[0], rest[0], rtol=1e-12)
    np.testing.assert_allclose(whole[1], [[rest[1][0, 0], 0, rest[1][0, 1]]], rtol=1e-12)


@pytest.mark.parametrize("label", [[[0.25] * 4] * 3, [0, 1, 2]])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_reduced_loss_is_a_scalar(backend, label, reduction):
    loss = softmax_focal_loss(paddle.zeros([3, 4]), paddle.to_tensor(label), reduction=reduction, backend=backend)
    assert loss.shape == []
    # Every class has p = 1/4.
    assert float(loss) == pytest.approx((3 / 4) ** 2 * np.log(4) * (1 if reduction == "mean" else 3), rel=1e-6)
