from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import oracle
import paddle
import paddle.nn.functional as F
import pytest
from accuracy import TOLERANCE, assert_accurate, run
from paddle_limits import needs_empty_tensors

from paddle_focal.losses.sigmoid import sigmoid_focal_loss
from paddle_focal.ops import label_range
from paddle_focal.ops.composite import closed_form
from paddle_focal.ops.composite import sigmoid as composite

GAMMAS = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0]


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
    LOGIT = np.concatenate(
        [np.linspace(-100, 100, 81), [-1e4, 1e4, 0.0, -1e-3, 1e-30], np.linspace(-20, 20, 64), [-88.5, -103.9, 16.7]]
    )

    @pytest.mark.parametrize("gamma", GAMMAS)
    @pytest.mark.parametrize("dtype", TOLERANCE)
    @pytest.mark.parametrize("dense", [False, True], ids=["indexed", "dense"])
    def test_every_element(self, backend, dtype, gamma, dense):
        x = paddle.to_tensor(self.LOGIT, dtype="float64").astype(dtype).astype("float64").numpy()
        for target in (0, 1):
            label = np.full((x.size, 1), float(target), "float32") if dense else np.full(x.size, 1 - target)
            loss, gradient = run(x[:, None], label, dtype, gamma=gamma, reduction="none", backend=backend)
            expected = oracle.loss_and_gradient(x, target, gamma=gamma)
            assert_accurate(loss[:, 0], expected[0], dtype, gamma)
            assert_accurate(gradient[:, 0], expected[1], dtype, gamma)

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

    def test_two_runs_give_the_same_bits(self, backend, rng):
        x, label = rng.normal(size=(4000, 80)), rng.integers(0, 81, 4000)
        first, second = (run(x, label, backend=backend) for _ in range(2))
        assert first[0] == second[0]
        assert (first[1] == second[1]).all()


class TestGradient:
    @pytest.mark.parametrize("gamma", GAMMAS)
    @pytest.mark.parametrize("smoothing", [0.0, 0.3])
    def test_central_differences(self, backend, rng, gamma, smoothing):
        x, label, h = rng.normal(size=(6, 4)) * 3, rng.integers(0, 5, 6), 1e-5
        arguments = {"gamma": gamma, "label_smoothing": smoothing, "alpha": [0.1, 0.4, 0.6, 1.0], "backend": backend}
        _, gradient = run(x, label, "float64", **arguments)
        above = run(x + h, label, "float64", reduction="none", **arguments)[0]
        below = run(x - h, label, "float64", reduction="none", **arguments)[0]
        np.testing.assert_allclose(gradient, (above - below) / (2 * h), rtol=1e-7, atol=1e-9)

    @pytest.mark.parametrize("dtype", TOLERANCE)
    @pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
    def test_upstream_gradient(self, backend, rng, dtype, reduction):
        x = paddle.to_tensor(rng.normal(size=(5, 3))).astype(dtype).astype("float64").numpy()
        upstream = rng.choice([-3.0, 0.5, 1 / 1024], (5, 3) if reduction == "none" else ())
        label = [0, 1, 2, 3, 3]
        _, gradient = run(x, label, dtype, upstream, reduction=reduction, backend=backend)
        expected = oracle.loss_and_gradient(x, oracle.one_hot(label, 3)[0])[1] * upstream
        if reduction == "mean":
            expected /= 15
        np.testing.assert_allclose(
            gradient, expected, rtol=TOLERANCE[dtype][0] * 1.01, atol=6e-8 * (dtype == "float16")
        )

    def test_small_gradients_survive_half_precision_with_loss_scaling(self, backend):
        _, gradient = run([[-6.0]], [1], "float16", upstream=2.0**16, normalizer=8.0, backend=backend)
        expected = oracle.loss_and_gradient([[-6.0]], 0)[1] * 2**13
        np.testing.assert_allclose(gradient, expected, rtol=2**-10)

    def test_a_second_derivative_is_refused(self, backend):
        x = paddle.ones([2, 3])
        x.stop_gradient = False
        loss = sigmoid_focal_loss(x, paddle.to_tensor([0, 3]), backend=backend)

        def differentiate_twice():
            (gradient,) = paddle.grad(loss, x, create_graph=True)
            gradient.sum().backward()

        with pytest.raises(Exception, match="cannot be differentiated twice"):
            differentiate_twice()

    @pytest.mark.parametrize("name", ["logit", "label", "weight"])
    def test_changes_in_place_are_seen(self, backend, name):
        x = paddle.ones([2, 3])
        x.stop_gradient = False
        tensors = {"logit": x * 1.0, "label": paddle.to_tensor([0, 3]), "weight": paddle.ones([2])}
        loss = sigmoid_focal_loss(**tensors, backend=backend)
        tensors[name].add_(paddle.ones_like(tensors[name]))
        with pytest.raises(Exception, match=r"in ?place"):
            loss.backward()

    def test_flows_to_logit_only(self, backend):
        tensors = [paddle.rand([4, 3]) for _ in range(3)]
        for tensor in tensors:
            tensor.stop_gradient = False
        logit, label, weight = tensors
        sigmoid_focal_loss(logit, label, weight=weight, backend=backend).backward()
        assert logit.grad is not None
        assert label.grad is None
        assert weight.grad is None

    def test_retained_graph(self, backend, rng):
        # By paddle.grad: Paddle frees a PyLayer in its first backward(), whether the graph is retained or not.
        x = paddle.to_tensor(rng.normal(size=(4, 3)), stop_gradient=False)
        loss = sigmoid_focal_loss(x, paddle.to_tensor([0, 1, 2, 3]), backend=backend)
        expected = oracle.loss_and_gradient(x.numpy(), oracle.one_hot([0, 1, 2, 3], 3)[0])[1]
        for retain in (True, True, False):
            (gradient,) = paddle.grad(loss, x, retain_graph=retain)
            np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-12)

    def test_accumulates(self, backend, rng):
        x = paddle.to_tensor(rng.normal(size=(4, 3)), stop_gradient=False)
        for _ in range(3):
            sigmoid_focal_loss(x, paddle.to_tensor([0, 1, 2, 3]), backend=backend).backward()
        expected = oracle.loss_and_gradient(x.numpy(), oracle.one_hot([0, 1, 2, 3], 3)[0])[1]
        np.testing.assert_allclose(x.grad.numpy(), 3 * expected, rtol=1e-12)

    def test_no_grad(self, backend):
        x = paddle.ones([2, 3])
        x.stop_gradient = False
        with paddle.no_grad():
            loss = sigmoid_focal_loss(x, paddle.to_tensor([0, 3]), backend=backend)
        assert loss.stop_gradient

    def test_auto_cast_keeps_float32(self, backend, rng):
        x, label = rng.normal(size=(30, 8)), rng.integers(0, 9, 30)
        expected = run(x, label, backend=backend)
        for level in ("O1", "O2"):
            with paddle.amp.auto_cast(level=level, dtype="bfloat16"):
                actual = run(x, label, backend=backend)
            np.testing.assert_array_equal(actual[0], expected[0])
            np.testing.assert_array_equal(actual[1], expected[1])


class TestArguments:
    @pytest.mark.parametrize("index_dtype", ["int32", "int64"])
    @pytest.mark.parametrize(
        ("shape", "axis"),
        [
            ((3,), -1),
            ((1, 1), -1),
            ((5, 3), -1),
            ((3, 5), 0),
            ((2, 3, 4), 1),
            ((2, 3, 4), -1),
            ((2, 2, 3, 5), 2),
            ((1, 2, 1, 3, 2), 3),
            ((7, 13, 3), 1),
        ],
    )
    def test_shapes_and_axes(self, backend, rng, shape, axis, index_dtype):
        classes = shape[axis]
        label = rng.integers(-1, classes + 1, [n for i, n in enumerate(shape) if i != axis % len(shape)])
        alpha = np.linspace(0.1, 0.9, classes)
        x, weight = rng.normal(size=shape) * 3, rng.random(label.shape)
        divisor = np.linspace(1, 2, classes)
        dense, kept = oracle.one_hot(label, classes, axis)
        per_class = [1] * len(shape)
        per_class[axis] = classes
        factor = kept * np.expand_dims(weight, axis) / divisor.reshape(per_class)
        expected = oracle.loss_and_gradient(x, dense, alpha.reshape(per_class), 1.5, 0.1)

        loss, gradient = run(
            x,
            label.astype(index_dtype),
            "float64",
            normalizer=paddle.to_tensor(divisor),
            alpha=list(alpha),
            gamma=1.5,
            weight=paddle.to_tensor(weight),
            label_smoothing=0.1,
            reduction="none",
            axis=axis,
            backend=backend,
        )
        np.testing.assert_allclose(loss, expected[0] * factor, rtol=1e-12)
        np.testing.assert_allclose(gradient, expected[1] * factor, rtol=1e-12, atol=1e-16)

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
            weight, upstream = 2.0 ** rng.integers(-3, 4, label.shape), 2.0 ** rng.integers(-3, 4, shape)
            weighted = run(
                x,
                label,
                upstream=upstream,
                weight=paddle.to_tensor(weight),
                axis=axis,
                reduction="none",
                backend=backend,
            )
            factor = np.expand_dims(weight, axis)
            np.testing.assert_allclose(weighted[0], elements * factor, rtol=1e-6)
            np.testing.assert_allclose(weighted[1], gradient * factor * upstream, rtol=1e-6)

    def test_mean_of_dense_labels(self, backend, rng):
        x, target = rng.normal(size=(2, 3, 4)), rng.integers(0, 2, (2, 3, 4)).astype("float64")
        loss, _ = run(x, target, "float64", reduction="mean", backend=backend)
        np.testing.assert_allclose(loss, oracle.loss_and_gradient(x, target)[0].mean(), rtol=1e-12)

    @pytest.mark.parametrize("dtype", ["int64", "bool"])
    def test_weight_of_whole_numbers(self, backend, rng, dtype):
        x, weight = rng.normal(size=(3, 2)), paddle.to_tensor([1, 0, 1]).astype(dtype)
        loss, _ = run(x, [0, 1, 2], "float64", weight=weight, reduction="none", backend=backend)
        expected = oracle.loss_and_gradient(x, oracle.one_hot([0, 1, 2], 2)[0])[0] * [[1], [0], [1]]
        np.testing.assert_allclose(loss, expected, rtol=1e-12)

    def test_one_alpha_in_a_list(self, backend, rng):
        x = rng.normal(size=(3, 2))
        loss, _ = run(x, [0, 1, 2], "float64", alpha=[0.3], backend=backend)
        expected = oracle.loss_and_gradient(x, oracle.one_hot([0, 1, 2], 2)[0], alpha=0.3)[0].sum()
        np.testing.assert_allclose(loss, expected, rtol=1e-12)

    def test_background_is_an_all_zero_row(self, backend, rng):
        x = rng.normal(size=(4, 3))
        indexed = run(x, [3, 3, 3, 3], "float64", reduction="none", backend=backend)
        expected = oracle.loss_and_gradient(x, np.zeros((4, 3)))
        np.testing.assert_allclose(indexed[0], expected[0], rtol=1e-12)
        np.testing.assert_allclose(indexed[1], expected[1], rtol=1e-12)

    @pytest.mark.parametrize("ignore_index", [-1, -100, 255])
    def test_ignored_rows_are_exactly_zero(self, backend, ignore_index):
        x = [[1.0, 2.0], [np.nan, np.inf], [3.0, -1.0]]
        loss, gradient = run(x, [0, ignore_index, 2], reduction="none", ignore_index=ignore_index, backend=backend)
        assert (loss[1] == 0).all()
        assert (gradient[1] == 0).all()
        assert (loss[[0, 2]] > 0).all()
        mean, _ = run(x, [0, ignore_index, 2], reduction="mean", ignore_index=ignore_index, backend=backend)
        np.testing.assert_allclose(mean, loss.sum() / 4, rtol=1e-6)

    def test_all_ignored(self, backend):
        loss, gradient = run([[1.0, 2.0]], [-1], reduction="mean", backend=backend)
        assert loss == 0
        assert (gradient == 0).all()

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

    @pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3), (1, 3), (3,)])
    @pytest.mark.parametrize("dense", [False, True], ids=["indexed", "dense"])
    def test_weight(self, backend, rng, shape, dense):
        x, label, weight = rng.normal(size=(4, 3)), rng.integers(0, 4, 4), rng.random(shape)
        target = oracle.one_hot(label, 3)[0]
        if dense and shape == (4,):
            with pytest.raises(ValueError, match="weight must have the shape of label"):
                run(x, target, weight=paddle.to_tensor(weight), backend=backend)
            return
        factor = weight[:, None] if shape == (4,) else weight
        expected = oracle.loss_and_gradient(x, target)
        loss, gradient = run(
            x, target if dense else label, "float64", weight=paddle.to_tensor(weight), reduction="none", backend=backend
        )
        np.testing.assert_allclose(loss, expected[0] * factor, rtol=1e-12)
        np.testing.assert_allclose(gradient, expected[1] * factor, rtol=1e-12)

    @pytest.mark.parametrize("dtype", TOLERANCE)
    def test_result_dtype(self, backend, dtype):
        x, label = paddle.zeros([2, 3]).astype(dtype), paddle.to_tensor([0, 3])
        scalar = paddle.float64 if dtype == "float64" else paddle.float32
        for reduction in ("none", "sum", "mean"):
            loss = sigmoid_focal_loss(x, label, reduction=reduction, backend=backend)
            assert loss.dtype == (x.dtype if reduction == "none" else scalar)
            assert loss.shape == (x.shape if reduction == "none" else [])

    @needs_empty_tensors
    @pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3)])
    @pytest.mark.parametrize("dense", [False, True], ids=["indexed", "dense"])
    def test_empty(self, backend, shape, dense):
        label = np.zeros(shape, "float32") if dense else np.zeros(shape[:-1], "int64")
        for reduction in ("sum", "mean", "none"):
            loss, gradient = run(np.zeros(shape), label, reduction=reduction, backend=backend)
            assert loss.sum() == 0
            assert gradient.shape == shape

    def test_transposed_logit(self, backend, rng):
        x, label = rng.normal(size=(3, 6)), rng.integers(0, 4, 6)
        logit = paddle.to_tensor(x, stop_gradient=False)
        sigmoid_focal_loss(logit.transpose([1, 0]), paddle.to_tensor(label), backend=backend).backward()
        expected = oracle.loss_and_gradient(x.T, oracle.one_hot(label, 3)[0])[1].T
        np.testing.assert_allclose(logit.grad.numpy(), expected, rtol=1e-12)


LOGIT = paddle.zeros([2, 3])
LABEL = paddle.to_tensor([0, 3])


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, r"alpha must be .*\[0, 1\].* got 2", {"alpha": 2}),
        (ValueError, r"alpha must be .* got -0.1", {"alpha": [0.5, -0.1, 0.5]}),
        (ValueError, r"alpha must be one number or 3 numbers, one per class, but got 2", {"alpha": [0.5, 0.5]}),
        (TypeError, r"alpha must be .* got 'x' \(str\)", {"alpha": "x"}),
        (ValueError, r"alpha must be .* got inf", {"alpha": float("inf")}),
        (ValueError, r"alpha must be .* got nan", {"alpha": [0.5, float("nan"), 0.5]}),
        (ValueError, r"gamma must be a finite number >= 0, but got -1", {"gamma": -1}),
        (ValueError, r"gamma must be a finite number >= 0, but got nan", {"gamma": float("nan")}),
        (ValueError, r"gamma must be a finite number >= 0, but got inf", {"gamma": float("inf")}),
        (TypeError, r"gamma must be a finite number >= 0, but got 'x' \(str\)", {"gamma": "x"}),
        (TypeError, r"gamma must be .* got True \(bool\)", {"gamma": True}),
        (TypeError, r"label must be a Tensor .* got \[0, 3\] \(list\)", {"label": [0, 3]}),
        (TypeError, r"label must be .* its dtype is bool", {"label": paddle.to_tensor([True, False])}),
        (ValueError, r"label of dtype int64 must have shape \[2\] .* is \[3\]", {"label": paddle.to_tensor([0, 1, 2])}),
        (ValueError, r"cast label to a floating dtype", {"label": paddle.zeros([2, 3], "int64")}),
        (ValueError, r"label of dtype float32 must have shape \[2, 3\]", {"label": paddle.zeros([2])}),
        (ValueError, r"label must be in \[0, 3\] .* contains 4", {"label": paddle.to_tensor([0, 4])}),
        (ValueError, r"label must be in .* ignore_index -1, but it contains -2", {"label": paddle.to_tensor([-2, 0])}),
        (ValueError, r"label must be in \[0, 1\], but it contains 5", {"label": paddle.full([2, 3], 5.0)}),
        (ValueError, r"label must be in \[0, 1\], but it contains nan", {"label": paddle.full([2, 3], float("nan"))}),
        (TypeError, r"logit must be .* its dtype is int64", {"logit": paddle.zeros([2, 3], "int64")}),
        (TypeError, r"logit must be a Tensor .* got 1.0 \(float\)", {"logit": 1.0}),
        (ValueError, r"logit must have at least one class", {"logit": paddle.zeros([2, 0])}),
        (ValueError, r"ignore_index must be a 32-bit integer, but got 4294967296", {"ignore_index": 2**32}),
        (ValueError, r"logit must have at least one axis", {"logit": paddle.to_tensor(1.0)}),
        (ValueError, r"reduction must be one of .* got 'avg'", {"reduction": "avg"}),
        (ValueError, r"axis must be in \[-2, 1\] .* got 2", {"axis": 2}),
        (TypeError, r"axis must be an integer, but got 0.5", {"axis": 0.5}),
        (ValueError, r"normalizer must be a finite number > 0, but got 0", {"normalizer": 0}),
        (ValueError, r"normalizer must be a finite number > 0, but got -2.0", {"normalizer": -2.0}),
        (ValueError, r"normalizer must be .* its shape is \[2\]", {"normalizer": paddle.ones([2])}),
        (TypeError, r"normalizer must be .* got \[1.0\] \(list\)", {"normalizer": [1.0]}),
        (ValueError, r"weight must have .* its shape is \[5\]", {"weight": paddle.ones([5])}),
        (TypeError, r"weight must be a Tensor", {"weight": 0.5}),
        (ValueError, r"ignore_index must lie outside \[0, 3\].* got 3", {"ignore_index": 3}),
        (TypeError, r"ignore_index must be an integer, but got None", {"ignore_index": None}),
        (ValueError, r"label_smoothing must be a number in \[0, 1\), but got 1.0", {"label_smoothing": 1.0}),
        (ValueError, r"label_smoothing must be .* got -0.1", {"label_smoothing": -0.1}),
        (ValueError, r"backend must be None or one of .* got 'cuda'", {"backend": "cuda"}),
    ],
)
def test_refused(error, message, arguments):
    with pytest.raises(error, match=message):
        sigmoid_focal_loss(**{"logit": LOGIT, "label": LABEL, **arguments})


class TestOtherDevices:
    """The composite backend's path on devices other than the CPU: everything at once, no look at the labels."""

    @pytest.fixture(autouse=True)
    def elsewhere(self, monkeypatch):
        for module in (closed_form, composite):
            monkeypatch.setattr(module, "on_cpu", lambda logit: False)

    @pytest.mark.parametrize("dense", [False, True], ids=["indexed", "dense"])
    def test_numbers(self, rng, dense):
        x, label = rng.normal(size=(6, 4, 3)) * 3, rng.integers(-1, 5, (6, 3))
        target, kept = oracle.one_hot(label, 4, 1)
        expected = oracle.loss_and_gradient(x, target, gamma=1.5)
        kept = np.ones_like(kept) if dense else kept
        loss, gradient = run(
            x, target if dense else label, "float64", gamma=1.5, reduction="none", axis=1, backend="composite"
        )
        np.testing.assert_allclose(loss, expected[0] * kept, rtol=1e-12)
        np.testing.assert_allclose(gradient, expected[1] * kept, rtol=1e-12)

    def test_a_label_out_of_range_is_seen(self, monkeypatch):
        monkeypatch.setattr(label_range, "check", lambda *arguments: None)
        loss, gradient = run([[1.0, 2.0]] * 4, [0, 3, -7, -1], reduction="none", backend="composite")
        for result in (loss, gradient):
            assert np.isnan(result).all(axis=1).tolist() == [False, True, True, False]
            assert np.isfinite(result[[0, 3]]).all()

    @pytest.mark.parametrize("value", ["0", "1"])
    def test_labels_are_looked_at_on_demand_only(self, monkeypatch, value):
        monkeypatch.setenv("PADDLE_FOCAL_CHECK", value)
        for label in ([0, 4], np.full((2, 3), 1.5)):
            with pytest.raises(ValueError, match="label must be") if value == "1" else nullcontext():
                run([[1.0, 2.0, 3.0]] * 2, label, backend="composite")
