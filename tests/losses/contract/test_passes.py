"""Forward and backward passes of every loss on every backend; see tests/support/losses_under_test.py."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from accuracy import DTYPES, GAMMAS, TOLERANCE, run
from paddle.distributed.fleet.utils import recompute

from paddle_focal.ops.composite import blockwise

CLASSES = 3


def differentiable(values, dtype="float64") -> paddle.Tensor:
    return paddle.to_tensor(values, dtype=dtype, stop_gradient=False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_gradient_of_the_result(loss, backend, rng, batch, dtype, reduction):
    prediction = paddle.to_tensor(batch[0]).astype(dtype).astype("float64").numpy()
    losses, gradient = loss.expected(prediction, batch[1])
    grad_out = rng.choice([-3.0, 0.5, 1 / 1024], losses.shape if reduction == "none" else ())
    options = {"reduction": reduction, "function": loss.function, "backend": backend}
    _, actual = run(prediction, batch[1], dtype, grad_out, **options)
    count = 5 * (CLASSES if loss.keeps_class_axis else 1) if reduction == "mean" else 1
    factor = grad_out[:, None] if grad_out.ndim == 1 else grad_out
    tolerance = {"rtol": TOLERANCE[dtype][not loss.has_exact_powers] * 1.01, "atol": 6e-8 * (dtype == "float16")}
    np.testing.assert_allclose(actual, gradient * factor / count, **tolerance)


@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_blocks_of_the_composite(loss, rng, monkeypatch, reduction):
    """Two rows at a time, the last one alone, each with the labels, the weights and the gradients that are its own."""
    monkeypatch.setattr(blockwise, "BLOCK", 2 * CLASSES * 2 + 1)
    prediction, label, weight = (
        loss.typical(rng, (5, CLASSES, 2)),
        loss.labels(rng, (5, CLASSES, 2), 1),
        rng.random((5, 2)),
    )
    label[3, 1] = -1
    losses, gradient = loss.expected(prediction, label, 1)
    grad_out = rng.random(losses.shape if reduction == "none" else ())
    options = {"weight": paddle.to_tensor(weight), "axis": 1, "reduction": reduction, "backend": "composite"}
    actual = run(prediction, label, "float64", grad_out, loss.function, **options)
    losses = losses * (weight[:, None] if loss.keeps_class_axis else weight)
    factor = grad_out[:, None] if grad_out.ndim == 2 else grad_out
    np.testing.assert_allclose(actual[0], losses if reduction == "none" else losses.sum(), rtol=1e-12)
    np.testing.assert_allclose(actual[1], gradient * weight[:, None] * factor, rtol=1e-12)


@pytest.mark.parametrize("view", ["label", "weight", "result"])
def test_tensors_that_are_not_contiguous(loss, backend, rng, view):
    """Each alone: every other label or weight, or a gradient that comes from above transposed."""
    prediction, label, weight = (
        loss.typical(rng, (4, CLASSES, 2)),
        loss.labels(rng, (4, CLASSES, 2), 1),
        rng.random((4, 2)),
    )
    tensors = {"label": paddle.to_tensor(label), "weight": paddle.to_tensor(weight)}
    if view in tensors:
        tensors[view] = paddle.stack([tensors[view], paddle.zeros_like(tensors[view])], -1)[..., 0]
    x = differentiable(prediction)
    result = loss.function(x, **tensors, reduction="none", axis=1, backend=backend)
    losses, gradient = loss.expected(prediction, label, 1)
    factor = rng.random(losses.shape)
    axes = [*range(losses.ndim)][:: -1 if view == "result" else 1]
    (result.transpose(axes) * paddle.to_tensor(factor.transpose(axes))).sum().backward()
    per_label = weight[:, None]
    np.testing.assert_allclose(result.numpy(), losses * (per_label if loss.keeps_class_axis else weight), rtol=1e-12)
    factor = factor if loss.keeps_class_axis else factor[:, None]
    np.testing.assert_allclose(x.grad.numpy(), gradient * per_label * factor, rtol=1e-12)


def test_views_of_a_tensor_that_was_changed_in_place(loss, backend, rng):
    """They are differentiated, and stay views."""
    prediction, label = loss.typical(rng, (4, CLASSES)), loss.labels(rng, (4, CLASSES))
    x = differentiable(np.pad(prediction, [(0, 0), (0, 2)]))
    wide = x * 1
    wide[:, CLASSES:] = 0.5
    view = wide[:, :CLASSES]
    loss.function(view, paddle.to_tensor(label), reduction="sum", backend=backend).backward()
    np.testing.assert_allclose(x.grad.numpy()[:, :CLASSES], loss.expected(prediction, label, 1)[1], rtol=1e-12)
    with paddle.no_grad():
        wide[0, 0] = 0.25
    assert float(view[0, 0]) == 0.25


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_central_differences(loss, backend, rng, gamma, smoothing):
    """Of each prediction in turn, all of them in one call."""
    prediction, label, h = loss.typical(rng, (6, 4)), loss.labels(rng, (6, 4)), 1e-5
    options = {**loss.power(gamma), **loss.smoothing(smoothing), "alpha": [0.1, 0.4, 0.6, 1.0], "backend": backend}
    _, gradient = run(prediction, label, "float64", function=loss.function, **options)
    steps, labels = h * np.eye(24).reshape(24, 6, 4), np.tile(label, 24)
    above, below = (
        run((prediction + sign * steps).reshape(-1, 4), labels, "float64", function=loss.function, reduction="none",
            **options)[0].reshape(24, -1).sum(1)
        for sign in (1, -1)
    )  # fmt: skip
    np.testing.assert_allclose(gradient.ravel(), (above - below) / (2 * h), rtol=1e-7, atol=1e-9)


def test_flows_to_the_predictions_only(loss, backend):
    tensors = [paddle.rand([4, 3]), paddle.rand([4, 3]), paddle.rand([4]), paddle.rand([3]) + 1]
    for tensor in tensors:
        tensor.stop_gradient = False
    prediction, label, weight, normalizer = tensors
    weight = weight.unsqueeze(1) if loss.keeps_class_axis else weight
    loss.function(prediction, label, normalizer=normalizer, weight=weight, backend=backend).backward()
    assert prediction.grad is not None
    assert [tensor.grad for tensor in tensors[1:]] == [None] * 3


def test_retained_graph(loss, backend, batch):
    # By paddle.grad: Paddle frees a PyLayer in its first backward(), whether the graph is retained or not.
    prediction = differentiable(batch[0])
    total = loss.function(prediction, paddle.to_tensor(batch[1]), backend=backend)
    for retain in (True, True, False):
        (gradient,) = paddle.grad(total, prediction, retain_graph=retain)
        np.testing.assert_allclose(gradient.numpy(), loss.expected(*batch)[1], rtol=1e-12)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_a_second_backward_is_refused(loss, backend, batch, reduction):
    """Where Paddle would end the process."""
    prediction = differentiable(batch[0])
    result = loss.function(prediction, paddle.to_tensor(batch[1]), reduction=reduction, backend=backend).sum()
    result.backward(retain_graph=True)
    before = prediction.grad.numpy()
    said = (
        r"backward\(\) was called a second time through (?!binary)\w+_loss: add the losses up and call it "
        r"once, or use paddle\.grad, which can be called again"
    )
    with pytest.raises(OSError, match=said):
        result.backward()
    np.testing.assert_array_equal(prediction.grad.numpy(), before)


def test_accumulates(loss, backend, batch):
    prediction = differentiable(batch[0])
    for _ in range(3):
        loss.function(prediction, paddle.to_tensor(batch[1]), backend=backend).backward()
    np.testing.assert_allclose(prediction.grad.numpy(), 3 * loss.expected(*batch)[1], rtol=1e-12)


def test_no_grad(loss, backend, batch):
    with paddle.no_grad():
        result = loss.function(differentiable(batch[0]), paddle.to_tensor(batch[1]), backend=backend)
    assert result.stop_gradient


def test_a_second_derivative_is_refused(loss, backend, batch):
    prediction = differentiable(batch[0])
    total = loss.function(prediction, paddle.to_tensor(batch[1]), backend=backend)

    def differentiate_twice():
        (gradient,) = paddle.grad(total, prediction, create_graph=True)
        gradient.sum().backward()

    with pytest.raises(Exception, match="cannot be differentiated twice"):
        differentiate_twice()


@pytest.mark.parametrize("name", ["prediction", "label", "weight"])
def test_changes_in_place_are_seen(loss, backend, batch, name):
    if (loss.name, name) == ("binary", "prediction"):
        pytest.skip("the logits of probabilities are a tensor of their own")
    tensors = {
        "prediction": differentiable(batch[0]) * 1.0,
        "label": paddle.to_tensor(batch[1]),
        "weight": paddle.ones([6]),
    }
    total = loss.function(tensors["prediction"], tensors["label"], weight=tensors["weight"], backend=backend)
    tensors[name].add_(paddle.ones_like(tensors[name]))
    with pytest.raises(Exception, match=r"in ?place"):
        total.backward()


def test_auto_cast_keeps_the_dtype(loss, backend, batch):
    expected = run(*batch, function=loss.function, backend=backend)
    for level in ("O1", "O2"):
        with paddle.amp.auto_cast(level=level, dtype="bfloat16"):
            actual = run(*batch, function=loss.function, backend=backend)
        for one, other in zip(actual, expected):
            np.testing.assert_array_equal(one, other)


def test_recompute(loss, batch):
    prediction = differentiable(batch[0])
    total = recompute(loss.layer(reduction="sum"), prediction, paddle.to_tensor(batch[1]))
    total.backward()
    losses, gradient = loss.expected(*batch)
    np.testing.assert_allclose(float(total), losses.sum(), rtol=1e-12)
    np.testing.assert_allclose(prediction.grad.numpy(), gradient, rtol=1e-12)
