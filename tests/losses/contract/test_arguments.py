"""Arguments of every loss on every backend; see tests/support/losses_under_test.py."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from accuracy import DTYPES, run
from paddle_limits import needs_empty_tensors

CLASSES = 3


@pytest.mark.parametrize("index_dtype", ["int32", "int64"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((3,), -1), ((1, 1), -1), ((5, 3), -1), ((3, 5), 0), ((2, 3, 4), 1), ((2, 3, 4), -1),
        ((2, 2, 3, 5), 2), ((1, 2, 1, 3, 2), 3), ((7, 13, 3), 1), ((3, 4, 70), 1), ((3, 4), -2),
    ],
)  # fmt: skip
def test_shapes_and_axes(loss, backend, rng, shape, axis, index_dtype):
    """With everything that may differ from class to class and from label to label."""
    classes = shape[axis]
    prediction, label = loss.typical(rng, shape), np.array(loss.labels(rng, shape, axis))
    label[...] = np.where(rng.random(label.shape) < 0.2, -1, label)
    alpha, divisor = np.linspace(0.1, 0.9, classes), np.linspace(1, 2, classes)
    weight = rng.random(label.shape)
    per_label = np.expand_dims(weight, axis)
    if loss.keeps_class_axis:
        per_label = per_label / np.moveaxis(np.broadcast_to(divisor, np.moveaxis(prediction, axis, -1).shape), -1, axis)
    else:
        per_label = per_label / divisor[np.expand_dims(np.where(label < 0, 0, label), axis)]
    smoothing = 0.1 if loss.has_smoothing else 0.0
    expected = loss.expected(prediction, label, axis, gamma=1.5, alpha=alpha, smoothing=smoothing)
    results = run(
        prediction,
        label.astype(index_dtype),
        "float64",
        function=loss.function,
        normalizer=paddle.to_tensor(divisor),
        alpha=list(alpha),
        **loss.power(1.5),
        weight=paddle.to_tensor(weight),
        reduction="none",
        axis=axis,
        backend=backend,
        **loss.smoothing(smoothing),
    )
    factors = per_label if loss.keeps_class_axis else np.squeeze(per_label, axis), per_label
    for actual, truth, factor in zip(results, expected, factors):
        np.testing.assert_allclose(actual, truth * factor, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("dtype", ["int64", "float16", "float32", "float64"])
def test_a_tensor_of_one_number_as_normalizer(loss, backend, batch, dtype):
    """On the CPU it is read; 0, which the caller must keep it from being, is no error."""
    options = {"function": loss.function, "backend": backend}
    for shape in ([], [1]):
        total, _ = run(*batch, "float64", normalizer=paddle.full(shape, 4, dtype), **options)
        assert total == pytest.approx(loss.expected(*batch)[0].sum() / 4, rel=1e-12)
        assert not np.isfinite(run(*batch, normalizer=paddle.zeros(shape, dtype), **options)[0])


@pytest.mark.parametrize("ignore_index", [-1, -100, 255])
def test_reductions(loss, backend, batch, ignore_index):
    prediction, label = batch
    label = np.where(label == -1, ignore_index, label)
    losses, gradient = loss.expected(prediction, label, ignore_index=ignore_index)
    counted = 5 * (CLASSES if loss.keeps_class_axis else 1)
    for reduction, expected, slope in (
        ("none", losses, gradient),
        ("sum", losses.sum(), gradient),
        ("mean", losses.sum() / counted, gradient / counted),
    ):
        options = {"reduction": reduction, "ignore_index": ignore_index, "backend": backend}
        actual = run(prediction, label, "float64", function=loss.function, **options)
        np.testing.assert_allclose(actual[0], expected, rtol=1e-12)
        np.testing.assert_allclose(actual[1], slope, rtol=1e-12)


@pytest.mark.parametrize("alpha", [None, 0.0, 0.3, 1.0, [0.3], [0.0, 0.5, 1.0], np.array([0.2, 0.3, 0.4])], ids=str)
@pytest.mark.parametrize("normalizer", [None, 4, 4.0])
def test_alpha_and_normalizer(loss, backend, batch, alpha, normalizer):
    options = {"alpha": alpha, "normalizer": normalizer, "reduction": "none", "backend": backend}
    results = run(*batch, "float64", function=loss.function, **options)
    for actual, expected in zip(results, loss.expected(*batch, alpha=alpha)):
        np.testing.assert_allclose(actual, expected / (normalizer or 1), rtol=1e-12)


@pytest.mark.parametrize("alpha", [0.3, [0.2, 0.3, 0.4]], ids=str)
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_alpha_in_a_tensor(loss, backend, batch, alpha, dtype):
    tensor = paddle.to_tensor(alpha, dtype="float64").astype(dtype)
    options = {"alpha": tensor, "reduction": "none", "backend": backend}
    results = run(*batch, "float64", function=loss.function, **options)
    for actual, expected in zip(results, loss.expected(*batch, alpha=tensor.astype("float64").numpy())):
        np.testing.assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "bool"])
def test_weight(loss, backend, batch, dtype):
    weight = np.array([1, 0, 4097, 1, 1, 0]).astype(dtype)  # of which half precision has no 4097
    options = {"weight": paddle.to_tensor(weight), "reduction": "none", "backend": backend}
    losses, gradient = run(*batch, "float64", function=loss.function, **options)
    expected = loss.expected(*batch)
    np.testing.assert_allclose(losses, (expected[0].T * weight).T, rtol=1e-12)
    np.testing.assert_allclose(gradient, expected[1] * weight[:, None], rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_of_the_result(loss, backend, batch, dtype):
    prediction, label = paddle.to_tensor(batch[0]).astype(dtype), paddle.to_tensor(batch[1])
    scalar = paddle.float64 if dtype == "float64" else paddle.float32
    for reduction in ("none", "sum", "mean"):
        result = loss.function(prediction, label, reduction=reduction, backend=backend)
        assert result.dtype == (prediction.dtype if reduction == "none" else scalar)
        assert result.shape == ([] if reduction != "none" else [6, CLASSES] if loss.keeps_class_axis else [6])


def test_dense_labels_have_no_index_to_ignore(loss, batch):
    label = paddle.full([6, CLASSES], 0.5)
    expected = loss.function(paddle.to_tensor(batch[0]), label)
    for index in (1, 2**31):
        assert float(loss.function(paddle.to_tensor(batch[0]), label, ignore_index=index)) == float(expected)


def test_all_ignored(loss, backend, batch):
    losses, gradient = run(batch[0], [-1] * 6, reduction="mean", function=loss.function, backend=backend)
    assert losses == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("ignore_index", [-1, -100, 255])
def test_ignored_rows_are_exactly_zero(loss, backend, ignore_index):
    prediction = np.array([[0.5, 0.25], [np.nan, np.inf], [0.125, 0.75]])
    if loss.prediction == "prob":
        prediction[1] = 0.0, 1.0  # a probability is not NaN
    options = {"ignore_index": ignore_index, "function": loss.function, "backend": backend}
    losses, gradient = run(prediction, [0, ignore_index, 1], reduction="none", **options)
    assert (losses[1] == 0).all()
    assert (gradient[1] == 0).all()
    assert (losses[[0, 2]] > 0).all()
    mean, _ = run(prediction, [0, ignore_index, 1], reduction="mean", **options)
    np.testing.assert_allclose(mean, losses.sum() / losses[[0, 2]].size, rtol=1e-6)


@needs_empty_tensors
@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3)])
@pytest.mark.parametrize("is_dense", [False, True], ids=["indexed", "dense"])
def test_empty(loss, backend, shape, is_dense):
    label = np.zeros(shape, "float32") if is_dense else np.zeros(shape[:-1], "int64")
    for reduction in ("sum", "mean", "none"):
        options = {"reduction": reduction, "function": loss.function, "backend": backend}
        losses, gradient = run(np.zeros(shape), label, **options)
        assert losses.sum() == 0
        assert gradient.shape == shape


def test_transposed_predictions(loss, backend, batch):
    prediction = paddle.to_tensor(batch[0].T, stop_gradient=False)
    loss.function(prediction.transpose([1, 0]), paddle.to_tensor(batch[1]), backend=backend).backward()
    np.testing.assert_allclose(prediction.grad.numpy(), loss.expected(*batch)[1].T, rtol=1e-12)


def test_the_first_label_out_of_range_is_named(loss, backend):
    label = paddle.to_tensor([0, 2**53 + 1, 7])
    with pytest.raises(ValueError, match=r"it contains 9007199254740993$"):
        loss.function(paddle.full([3, 3], 0.5), label, backend=backend)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, r"alpha must be .* got -0.1", {"alpha": [0.5, -0.1, 0.5]}),
        (ValueError, r"alpha must be one number or 3 numbers, one per class, but got 2", {"alpha": [0.5, 0.5]}),
        (ValueError, r"alpha must be .* got inf", {"alpha": float("inf")}),
        (ValueError, r"alpha must be .* got nan", {"alpha": [0.5, float("nan"), 0.5]}),
        (TypeError, r"alpha must be .* got 'x' \(str\)", {"alpha": "x"}),
        (ValueError, r"gamma must be a finite number >= 0, but got -1", {"gamma": -1}),
        (ValueError, r"gamma must be a finite number >= 0, but got nan", {"gamma": float("nan")}),
        (ValueError, r"gamma must be a finite number >= 0, but got inf", {"gamma": float("inf")}),
        (ValueError, r"gamma must be a finite number >= 0, but got 10000", {"gamma": 10**400}),
        (TypeError, r"gamma must be a finite number >= 0, but got 'x' \(str\)", {"gamma": "x"}),
        (TypeError, r"gamma must be .* got True \(bool\)", {"gamma": True}),
        (TypeError, r"label must be a Tensor .* got \[0, 1\] \(list\)", {"label": [0, 1]}),
        (TypeError, r"label must be .* its dtype is bool", {"label": paddle.to_tensor([True, False])}),
        (ValueError, r"label of dtype int64 must have shape \[2\] .* \[3\]", {"label": paddle.zeros([3], "int64")}),
        (ValueError, r"cast label to a floating dtype", {"label": paddle.zeros([2, 3], "int64")}),
        (ValueError, r"label of dtype float32 must have shape \[2, 3\]", {"label": paddle.zeros([2])}),
        (ValueError, r"label must be in .* contains 4", {"label": paddle.to_tensor([0, 4])}),
        (ValueError, r"label must be .* or ignore_index -1, .* contains -2", {"label": paddle.to_tensor([-2, 0])}),
        (ValueError, r"label must be .* 255, .* -1", {"label": paddle.to_tensor([-1, 0]), "ignore_index": 255}),
        (ValueError, r"label must be in \[0, 1\], but it contains 5", {"label": paddle.full([2, 3], 5.0)}),
        (ValueError, r"label must be in \[0, 1\], .* contains nan", {"label": paddle.full([2, 3], float("nan"))}),
        (TypeError, r"(logit|prob) must be .* its dtype is int64", {"prediction": paddle.zeros([2, 3], "int64")}),
        (TypeError, r"(logit|prob) must be a Tensor .* got 1.0 \(float\)", {"prediction": 1.0}),
        (ValueError, r"(logit|prob) must have at least one class", {"prediction": paddle.zeros([2, 0])}),
        (ValueError, r"(logit|prob) must have at least one axis", {"prediction": paddle.to_tensor(1.0)}),
        (ValueError, r"ignore_index must be a 32-bit integer, but got 2147483648", {"ignore_index": 2**31}),
        (ValueError, r"ignore_index must be a 32-bit integer, but got -2147483649", {"ignore_index": -(2**31) - 1}),
        (ValueError, r"ignore_index must lie outside \[0, [23]\].* got 2", {"ignore_index": 2}),
        (TypeError, r"ignore_index must be an integer, but got None", {"ignore_index": None}),
        (ValueError, r"reduction must be one of .* got 'avg'", {"reduction": "avg"}),
        (ValueError, r"axis must be in \[-2, 1\] .* got 2", {"axis": 2}),
        (TypeError, r"axis must be an integer, but got 0.5", {"axis": 0.5}),
        (ValueError, r"normalizer must be a finite number > 0, but got 0", {"normalizer": 0}),
        (ValueError, r"normalizer must be a finite number > 0, but got -2.0", {"normalizer": -2.0}),
        (ValueError, r"normalizer must be .* its shape is \[2\]", {"normalizer": paddle.ones([2])}),
        (ValueError, r"normalizer must be .* its shape is \[5, 3\]", {"normalizer": paddle.ones([5, 3])}),
        (TypeError, r"normalizer must be .* got \[1.0\] \(list\)", {"normalizer": [1.0]}),
        (ValueError, r"weight must .* its shape is \[5\]", {"weight": paddle.ones([5])}),
        (TypeError, r"weight must be a Tensor", {"weight": 0.5}),
        (ValueError, r"label_smoothing must be a number in \[0, 1\), but got 1.0", {"label_smoothing": 1.0}),
        (ValueError, r"label_smoothing must be .* got -0.1", {"label_smoothing": -0.1}),
        (ValueError, r"backend must be None or one of .* got 'cuda'", {"backend": "cuda"}),
    ],
)  # fmt: skip
def test_refused(loss, error, message, arguments):
    if "gamma" in arguments:
        arguments, message = loss.power(arguments["gamma"]), message.replace("gamma", loss.focusing)
    call = {"prediction": paddle.zeros([2, 3]), "label": paddle.to_tensor([0, 1]), **arguments}
    with pytest.raises(error, match=message):
        loss.function(call.pop("prediction"), call.pop("label"), **call)


@pytest.mark.parametrize(
    ("name", "accepted", "refused"),
    [("gamma", 1, True), ("label_smoothing", 0, False), ("axis", 1, True), ("axis", 1, 1.0), ("alpha", 1, True),
     ("ignore_index", -1, -1.0), ("gamma", 2.0, [2.0]), ("reduction", "sum", ["sum"])],
)  # fmt: skip
def test_what_equals_an_accepted_value_is_still_looked_at(loss, batch, name, accepted, refused):
    """Checks are remembered by their arguments, and True == 1."""
    prediction, label = map(paddle.to_tensor, batch)
    name = loss.focusing if name == "gamma" else name
    loss.function(prediction, label, **{name: accepted})
    with pytest.raises((TypeError, ValueError), match=f"{name} must be"):
        loss.function(prediction, label, **{name: refused})


@pytest.mark.parametrize("gamma", [np.float32(1.5), np.float64(1.5), np.array(1.5), np.array(1.5, "float16")], ids=repr)
def test_numbers_of_numpy(loss, backend, batch, gamma):
    arguments = {**loss.power(gamma), "normalizer": np.array(4.0), "reduction": "none", "backend": backend}
    results = run(*batch, "float64", function=loss.function, **arguments)
    for actual, expected in zip(results, loss.expected(*batch, gamma=1.5)):
        np.testing.assert_allclose(actual, expected / 4, rtol=1e-12)
    with pytest.raises(TypeError, match=f"{loss.focusing} must be a finite number"):
        loss.function(*map(paddle.to_tensor, batch), **loss.power(np.array([1.5])), backend=backend)
    with pytest.raises(TypeError, match=f"{loss.focusing} must be a finite number"):
        loss.function(*map(paddle.to_tensor, batch), **loss.power(np.array(True)), backend=backend)
