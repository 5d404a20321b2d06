"""The composite backend on devices other than the CPU: everything at once, no look at the labels."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import paddle
import pytest
from accuracy import run
from surroundings import on_another_device

from paddle_focal.ops import label_range
from paddle_focal.ops.composite import blockwise


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    monkeypatch.setattr(blockwise, "on_cpu", lambda tensor: False)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_numbers(loss, rng, reduction):
    prediction = loss.typical(rng, (6, 4, 3))
    label = np.where(rng.random((6, 3)) < 0.2, -1, loss.labels(rng, (6, 4, 3), 1))
    options = {**loss.power(1.5), "reduction": reduction, "axis": 1, "backend": "composite"}
    actual = run(prediction, label, "float64", function=loss.function, **options)
    losses, gradient = loss.expected(prediction, label, 1, gamma=1.5)
    count = (label >= 0).sum() * (4 if loss.keeps_class_axis else 1) if reduction == "mean" else 1
    np.testing.assert_allclose(actual[0], losses if reduction == "none" else losses.sum() / count, rtol=1e-12)
    np.testing.assert_allclose(actual[1], gradient / count, rtol=1e-12)


def test_dense_labels(loss, rng):
    prediction, label = loss.typical(rng, (6, 4)), rng.dirichlet(np.ones(4), 6)
    options = {**loss.power(1.5), "reduction": "none", "backend": "composite"}
    results = run(prediction, label, "float64", function=loss.function, **options)
    for actual, expected in zip(results, loss.definition(prediction, label, gamma=1.5)):
        np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_a_label_out_of_range_is_seen(loss, monkeypatch):
    monkeypatch.setattr(label_range, "check", lambda *arguments: None)
    label = [0, loss.highest_label(2) + 1, -7, -1]
    for result in run([[0.25, 0.5]] * 4, label, reduction="none", function=loss.function, backend="composite"):
        rows = result.reshape(4, -1)
        assert np.isnan(rows).all(axis=1).tolist() == [False, True, True, False]
        assert np.isfinite(rows[[0, 3]]).all()


@pytest.mark.parametrize("value", ["0", "1"])
def test_labels_are_looked_at_on_demand_only(loss, monkeypatch, value):
    monkeypatch.setenv("PADDLE_FOCAL_CHECK", value)
    for label in ([0, 4], np.full((2, 3), 1.5)):
        with pytest.raises(ValueError, match="label must be") if value == "1" else nullcontext():
            run([[0.25, 0.5, 0.75]] * 2, label, function=loss.function, backend="composite")


@pytest.mark.parametrize("kind", ["cpu", "gpu", "xpu"])
def test_blocks_are_for_the_cpu_alone(monkeypatch, kind):
    monkeypatch.undo()  # the fixture above
    monkeypatch.setattr(blockwise.devices, "kind", lambda tensor: kind)
    assert blockwise.on_cpu(paddle.zeros([1])) == (kind == "cpu")


def test_out_of_reach_of_auto_cast(rng, loss):
    """Which casts on GPUs only."""
    prediction, label = loss.typical(rng, (6, 4)), loss.labels(rng, (6, 4), 1)
    x, label_here = paddle.to_tensor(prediction.astype("float32"), stop_gradient=False), paddle.to_tensor(label)
    with on_another_device():
        result = loss.function(x, label_here, **loss.power(1.5), reduction="sum", backend="composite")
        (grad,) = paddle.grad([result], [x])
    losses, gradient = loss.expected(prediction, label, 1, gamma=1.5)
    assert float(result) == pytest.approx(losses.sum(), rel=1e-5)
    np.testing.assert_allclose(grad.numpy(), gradient, rtol=1e-4, atol=1e-6)
