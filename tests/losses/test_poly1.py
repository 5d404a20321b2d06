"""What only Poly-1 focal loss has: epsilon."""

from __future__ import annotations

from functools import partial

import numpy as np
import oracle
import paddle
import pytest
from accuracy import TOLERANCE, run
from native_library import needs_library

from paddle_focal import Poly1FocalLoss, binary_poly1_focal_loss, poly1_focal_loss


def definition(logit, label, epsilon, alpha=0.25, gamma=2.0, smoothing=0.0):
    element = partial(oracle.poly1_element, epsilon=epsilon)
    return oracle.loss_and_gradient(logit, label, alpha, gamma, smoothing, element)


def test_by_hand(backend):
    """P_t of 0.8 and 0.7: 0.2^2 * -log(0.8) + 3 * 0.2^3, and 0.3^2 * -log(0.7) + 3 * 0.3^3, times 0.25 and 0.75."""
    logit = paddle.to_tensor(np.log([4.0, 3 / 7]))
    loss = poly1_focal_loss(logit, paddle.to_tensor([1.0, 0.0]), epsilon=3.0, reduction="none", backend=backend)
    np.testing.assert_allclose(loss.numpy(), [0.00823143551314, 0.0848255587159], rtol=1e-11)
    prob = paddle.to_tensor([0.8, 0.3])
    total = binary_poly1_focal_loss(prob, paddle.to_tensor([1.0, 0.0]), epsilon=3.0, backend=backend)
    np.testing.assert_allclose(float(total), 0.0930569942290, rtol=1e-6)


@pytest.mark.parametrize("epsilon", [-1.0, -0.5, 0.0, 2.0, 1e3])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_accuracy(backend, dtype, epsilon, gamma, smoothing):
    """Relative to its two terms, which may have opposite signs."""
    logit = np.array([-60.0, -17.0, -4.0, -0.5, 0.0, 1e-3, 0.7, 5.0, 20.0, 60.0])
    logit = logit.astype(dtype).astype("float64")
    x, y = np.tile(logit, 3), np.repeat([0.0, 1.0, 0.25], len(logit))
    options = {"gamma": gamma, "label_smoothing": smoothing, "epsilon": epsilon}
    results = run(x, y, dtype, function=poly1_focal_loss, alpha=None, reduction="none", backend=backend, **options)
    focal, whole = (definition(x, y, e, None, gamma, smoothing) for e in (0.0, epsilon))
    for actual, of_focal, expected in zip(results, focal, whole):
        terms = np.abs(of_focal) + np.abs(expected - of_focal)
        terms += (y == 0.25) | (smoothing > 0)  # whose gradient has terms of opposite sign by itself
        np.testing.assert_array_less(np.abs(actual - expected), 1e-36 + TOLERANCE[dtype][1] * terms)


@needs_library
@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("gamma", [0.0, 1.0, 1.5, 2.0])
def test_instruction_sets(rng, gamma):
    x, y = rng.uniform(-9, 9, 40), np.where(rng.random(40) < 0.2, rng.random(40), 0)
    truth = definition(x, y, 1.5, gamma=gamma)
    options = {"gamma": gamma, "epsilon": 1.5, "reduction": "none", "backend": "native"}
    for actual, true in zip(run(x, y, "float64", function=poly1_focal_loss, **options), truth):
        np.testing.assert_allclose(actual, true, rtol=1e-11)


@pytest.mark.parametrize("is_dense", [False, True], ids=["index", "dense"])
def test_published_code(backend, rng, is_dense):
    """That of the paper, in NumPy, without a balance: focal loss, and epsilon (1 - pt)^(gamma + 1)."""
    logit, index = rng.normal(scale=2, size=(20, 4)), rng.integers(0, 5, 20)
    labels = np.eye(5)[index][:, :4]
    p = 1 / (1 + np.exp(-logit))
    pt = labels * p + (1 - labels) * (1 - p)
    expected = (1 - pt) ** 2 * -np.log(pt) + 1.5 * (1 - pt) ** 3
    label = paddle.to_tensor(labels if is_dense else index)
    loss = poly1_focal_loss(paddle.to_tensor(logit), label, alpha=None, epsilon=1.5, reduction="none", backend=backend)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-11)


def test_the_layer_hands_epsilon_on():
    layer = Poly1FocalLoss(epsilon=-0.5, label_smoothing=0.1, gamma=1.5, reduction="sum")
    logit, label = np.array([[0.4, -0.3]]), np.array([[1.0, 0.0]])
    expected = definition(logit, label, -0.5, 0.25, 1.5, 0.1)[0].sum()
    np.testing.assert_allclose(float(layer(paddle.to_tensor(logit), paddle.to_tensor(label))), expected, rtol=1e-12)
    layer.activated = True
    prob = paddle.to_tensor(1 / (1 + np.exp(-logit)))
    np.testing.assert_allclose(float(layer(prob, paddle.to_tensor(label))), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("error", "message", "value"),
    [
        (ValueError, r"epsilon must be a number in \[-1, 1e30\], but got -1.5$", -1.5),
        (ValueError, r"epsilon must be a number in \[-1, 1e30\], but got 1e\+31$", 1e31),
        (ValueError, r"epsilon must be a number in \[-1, 1e30\], but got nan$", float("nan")),
        (TypeError, r"epsilon must be a number in \[-1, 1e30\], but got '1' \(str\)$", "1"),
    ],
)
def test_refused(error, message, value):
    with pytest.raises(error, match=message):
        poly1_focal_loss(paddle.zeros([2, 3]), paddle.to_tensor([0, 1]), epsilon=value)
    with pytest.raises(error, match=message):
        Poly1FocalLoss(epsilon=value)
