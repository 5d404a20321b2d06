"""What the shape of a weight says: it has leading axes of the labels, or every axis of the logits, or is flattened.

With logits and gamma of 0 every loss is a logarithm, whatever its target is, and what is left is the weight.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import paddle
import pytest
from accuracy import run

from paddle_focal import (
    binary_focal_loss,
    gaussian_focal_loss,
    quality_focal_loss,
    sigmoid_focal_loss,
    softmax_focal_loss,
    varifocal_loss,
)

SIGMOIDS = {
    "sigmoid": partial(sigmoid_focal_loss, alpha=None),
    "quality": quality_focal_loss,
    "varifocal": partial(varifocal_loss, alpha=None),
    "binary": partial(binary_focal_loss, alpha=None),
}


def factors(weight, its_axes, axes, shape):
    """The factor of each loss, looked up one by one; axes are letters, ``1`` one of size 1."""
    result = np.empty(shape)
    for place in np.ndindex(*shape):
        result[place] = weight[tuple(0 if axis == "1" else place[axes.index(axis)] for axis in its_axes)]
    return result


def weighted(function, axes, its_axes, sizes, rng, label, backend, loss_axes=None, **options):
    """Losses and gradients with a weight, and the factors that they should have."""
    shape = [sizes[axis] for axis in axes]
    weight = rng.random([1 if axis == "1" else sizes[axis] for axis in its_axes])
    prediction = np.full(shape, 0.5 if function is SIGMOIDS["binary"] else 0.0)
    given = {"weight": paddle.to_tensor(weight), "gamma": 0.0, "reduction": "none", "backend": backend, **options}
    loss, gradient = run(prediction, label, "float64", function=function, **given)
    loss_axes = loss_axes or axes
    return loss, gradient, factors(weight, its_axes, loss_axes, [sizes[axis] for axis in loss_axes])


DIFFERENT, EQUAL, SINGLE = {"n": 4, "c": 3, "l": 2}, {"n": 3, "c": 3, "l": 3}, {"n": 1, "c": 3, "l": 1}


@pytest.mark.parametrize("function", SIGMOIDS.values(), ids=SIGMOIDS)
@pytest.mark.parametrize("is_dense", [False, True], ids=["indices", "dense"])
@pytest.mark.parametrize("sizes", [DIFFERENT, EQUAL, SINGLE, {"n": 3, "c": 1, "l": 3}], ids=str)
@pytest.mark.parametrize(
    ("axes", "its_axes"),
    [
        ("nc", ["", "1", "n", "nc", "n1", "1c", "11"]),
        ("cn", ["n", "cn", "c1", "1n"]),
        ("ncl", ["", "n", "nl", "1l", "n1", "ncl", "1c1", "n1l", "1cl", "11l"]),
        ("nlc", ["n", "nl", "1l", "nlc", "11c", "1lc", "n1c"]),
        ("c", ["", "c", "1"]),
    ],
)
def test_of_losses_of_logits(function, is_dense, sizes, axes, its_axes, backend, rng):
    """The class axis is ``c``. The weights of labels are the same for class indices and for dense targets."""
    shape = [sizes[axis] for axis in axes]
    label = np.zeros([sizes[axis] for axis in axes if axis != "c"], "int64")
    if is_dense:
        label = (np.indices(shape)[axes.index("c")] == 0).astype("float64")
    for its in its_axes:
        options = {"axis": axes.index("c"), "backend": backend}
        loss, gradient, factor = weighted(function, axes, its, sizes, rng, label, **options)
        np.testing.assert_allclose(loss, np.log(2) * factor, rtol=1e-12, err_msg=its)
        # p - y = +-1/2; by a probability of 1/2 it is four times as steep.
        steepness = 2.0 if function is SIGMOIDS["binary"] else 0.5
        np.testing.assert_allclose(np.abs(gradient), steepness * factor, rtol=1e-12, err_msg=its)


@pytest.mark.parametrize("is_dense", [False, True], ids=["indices", "shares"])
@pytest.mark.parametrize("sizes", [DIFFERENT, EQUAL, SINGLE], ids=str)
@pytest.mark.parametrize(
    ("axes", "its_axes"),
    [
        ("nc", ["", "1", "n"]),
        ("cn", ["", "n"]),
        ("ncl", ["", "n", "nl", "1l", "n1"]),
        ("nlc", ["n", "nl", "1l"]),
        ("c", [""]),
    ],
)
def test_of_a_loss_of_labels(is_dense, sizes, axes, its_axes, backend, rng):
    loss_axes = axes.replace("c", "")
    label = np.zeros([sizes[axis] for axis in loss_axes], "int64")
    if is_dense:
        label = np.full([sizes[axis] for axis in axes], 1 / 3)
    for its in its_axes:
        options = {"axis": axes.index("c"), "backend": backend, "loss_axes": loss_axes or "1"}
        loss, gradient, factor = weighted(softmax_focal_loss, axes, its, {**sizes, "1": 1}, rng, label, **options)
        np.testing.assert_allclose(loss.reshape(factor.shape), np.log(3) * factor, rtol=1e-12, err_msg=its)
        slope = np.zeros(3) if is_dense else np.array([-2 / 3, 1 / 3, 1 / 3])
        expected = np.moveaxis(np.multiply.outer(factor.reshape(loss.shape), slope), -1, axes.index("c"))
        np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-16, err_msg=its)


@pytest.mark.parametrize("sizes", [DIFFERENT, EQUAL], ids=str)
@pytest.mark.parametrize(
    ("axes", "its_axes"),
    [("nc", ["", "1", "n", "nc", "n1", "1c"]), ("ncl", ["", "n", "nc", "1c", "n1", "ncl", "1cl", "n1l", "11l"])],
)
def test_of_a_heatmap(sizes, axes, its_axes, backend, rng):
    """It has no classes: leading axes are those of the heatmap itself."""
    heatmap = rng.integers(0, 2, [sizes[axis] for axis in axes]).astype("float64")
    for its in its_axes:
        loss, gradient, factor = weighted(gaussian_focal_loss, axes, its, sizes, rng, heatmap, backend=backend)
        np.testing.assert_allclose(loss, np.log(2) * factor, rtol=1e-12, err_msg=its)
        np.testing.assert_allclose(gradient, (0.5 - heatmap) * factor, rtol=1e-12, err_msg=its)


@pytest.mark.parametrize("label", [[0, 3], np.eye(3)[:2]], ids=["indices", "dense"])
def test_flattened(label, backend):
    loss, _ = run(
        np.zeros((2, 3)), label, "float64", function=sigmoid_focal_loss, alpha=None, gamma=0.0, reduction="none",
        weight=paddle.to_tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), backend=backend,
    )  # fmt: skip
    np.testing.assert_allclose(loss / np.log(2), [[1, 2, 3], [4, 5, 6]], rtol=1e-12)


def test_a_sample_that_does_not_count(backend):
    """N == C: the weight of samples is not one of classes. 2 log 2 + log(1 + e) for each sample that counts."""
    logit, weight = paddle.eye(3), paddle.to_tensor([1.0, 0.0, 0.0])
    for label in (paddle.to_tensor([1, 2, 0]), paddle.to_tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])):
        loss = sigmoid_focal_loss(logit, label, alpha=None, gamma=0.0, weight=weight, backend=backend)
        assert float(loss) == pytest.approx(2 * np.log(2) + np.log1p(np.e), rel=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int32", "int64", "bool"])
def test_dtypes(backend, dtype):
    weight = paddle.to_tensor([1, 0, 1]).astype(dtype)
    loss, _ = run(np.zeros((3, 1)), [0, 0, 1], alpha=None, gamma=0.0, weight=weight, reduction="none", backend=backend)
    np.testing.assert_allclose(loss, [[np.log(2)], [0], [np.log(2)]], rtol=1e-6)


OF_LOGITS = (
    "weight must have the leading axes of the {}, {}, or broadcast to the predictions, {}, with as many axes, or be "
    "that flattened, but its shape is {}"
)
OF_LABELS = "weight must have the leading axes of the labels, {}, but its shape is {}"


@pytest.mark.parametrize(
    ("function", "shape", "axis", "given", "message"),
    [
        ("sigmoid", [4, 3], 1, [3],
         OF_LOGITS.format("labels", [4], [4, 3], [3]) + "; for a factor of each class it is [1, 3]"),
        ("quality", [2, 3, 5], 1, [3],
         OF_LOGITS.format("labels", [2, 5], [2, 3, 5], [3]) + "; for a factor of each class it is [1, 3, 1]"),
        ("sigmoid", [4, 3], 1, [5], OF_LOGITS.format("labels", [4], [4, 3], [5])),
        ("varifocal", [4, 3], 1, [2, 3], OF_LOGITS.format("labels", [4], [4, 3], [2, 3])),
        ("binary", [4, 3], 1, [1, 4, 3], OF_LOGITS.format("labels", [4], [4, 3], [1, 4, 3])),
        ("sigmoid", [2, 3, 5], 1, [5], OF_LOGITS.format("labels", [2, 5], [2, 3, 5], [5])),
        ("sigmoid", [2, 3, 5], 1, [3, 5], OF_LOGITS.format("labels", [2, 5], [2, 3, 5], [3, 5])),
        ("gaussian", [2, 3, 5], -1, [3], OF_LOGITS.format("heatmap", [2, 3, 5], [2, 3, 5], [3])),
        ("gaussian", [4, 3], -1, [3], OF_LOGITS.format("heatmap", [4, 3], [4, 3], [3])),
        ("softmax", [2, 3], 1, [3], OF_LABELS.format([2], [3])),
        ("softmax", [2, 3], 1, [2, 1], OF_LABELS.format([2], [2, 1])),
        ("softmax", [2, 3, 5], 1, [5], OF_LABELS.format([2, 5], [5])),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_dense", [False, True], ids=["indices", "dense"])
def test_refused(function, shape, axis, given, message, is_dense, backend):
    label = paddle.zeros(shape if is_dense or function == "gaussian" else np.delete(shape, axis).tolist())
    functions = {**SIGMOIDS, "softmax": softmax_focal_loss}
    call = partial(gaussian_focal_loss if function == "gaussian" else functions[function], paddle.zeros(shape))
    options = {} if function == "gaussian" else {"axis": axis}
    label = label if is_dense or function == "gaussian" else label.astype("int64")
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message follows
        call(label, weight=paddle.ones(given), backend=backend, **options)
    assert str(error.value) == message
