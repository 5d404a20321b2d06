"""Layers of every loss on every backend; see tests/support/losses_under_test.py."""

from __future__ import annotations

import copy

import numpy as np
import paddle
import pytest
from losses_under_test import SIGMOID, LossUnderTest
from native_library import needs_operator
from paddle_limits import needs_keywords_in_traces

CLASSES = 3


class Net(paddle.nn.Layer):
    """A linear layer and a loss."""

    def __init__(self, loss: LossUnderTest, **hyper_parameters):
        super().__init__()
        self.linear = paddle.nn.Linear(4, CLASSES)
        self.loss = loss.layer(**hyper_parameters)
        self.gives_probabilities = loss.prediction == "prob"

    def forward(self, x, label, weight):
        x = self.linear(x)
        return self.loss(paddle.nn.functional.sigmoid(x) if self.gives_probabilities else x, label, weight)


def test_hyper_parameters_reach_the_function(loss, batch):
    layer = loss.layer(reduction="none")
    changes = [(loss.focusing, 1.5), ("alpha", [0.2, 0.4, 0.6]), ("alpha", None), *loss.smoothing(0.1).items()]
    for name, value in changes:
        setattr(layer, name, value)
        smoothing = getattr(layer, "label_smoothing", 0.0)
        expected = loss.expected(*batch, gamma=getattr(layer, loss.focusing), alpha=layer.alpha, smoothing=smoothing)
        actual = layer(paddle.to_tensor(batch[0]), paddle.to_tensor(batch[1]))
        np.testing.assert_allclose(actual.numpy(), expected[0], rtol=1e-12)
    layer.loss_weight, layer.reduction = 3.0, "sum"
    actual = layer(paddle.to_tensor(batch[0]), paddle.to_tensor(batch[1]))
    np.testing.assert_allclose(float(actual), 3 * expected[0].sum(), rtol=1e-12)


def test_a_weight_of_nothing_leaves_nothing(loss, batch):
    layer = loss.layer(loss_weight=0.0, reduction="sum")
    assert float(layer(paddle.to_tensor(batch[0]), paddle.to_tensor(batch[1]))) == 0


def test_ignore_index_and_axis(loss, batch):
    label = np.where(batch[1] == -1, 255, batch[1])
    expected = loss.expected(batch[0], label, ignore_index=255)[0].sum()
    layer = loss.layer(reduction="sum", ignore_index=255, axis=0)
    np.testing.assert_allclose(float(layer(paddle.to_tensor(batch[0].T), paddle.to_tensor(label))), expected)
    layer.axis = -1  # the axis of a call goes first, 0 as well
    actual = layer(paddle.to_tensor(batch[0].T), paddle.to_tensor(label), axis=0)
    np.testing.assert_allclose(float(actual), expected)


@pytest.mark.parametrize("avg_factor", [5, 5.0, paddle.to_tensor(5.0), paddle.to_tensor([5.0], dtype="float64")])
def test_weight_and_avg_factor(loss, batch, avg_factor):
    """As mmdetection and PaddleDetection call losses: ``loss(pred, target, weight, avg_factor=n)``."""
    prediction, label = (paddle.to_tensor(one) for one in batch)
    weight = np.array([1.0, 0.0, 2.0, 1.0, 1.0, 0.5])
    expected = (loss.expected(*batch)[0].T * weight).sum()
    actual = loss.layer(loss_weight=2.0)(prediction, label, paddle.to_tensor(weight), avg_factor=avg_factor)
    assert actual.shape == []
    np.testing.assert_allclose(actual.numpy(), 2 * expected / 5, rtol=1e-12)


def test_reduction_where_nobody_says_it(loss, batch):
    prediction, label = (paddle.to_tensor(one) for one in batch)
    assert loss.layer()(prediction, label).ndim > 0
    assert loss.layer()(prediction, label, avg_factor=2.0).ndim == 0
    assert loss.layer(reduction="sum")(prediction, label).ndim == 0


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_avg_factor_goes_with_the_mean_only(loss, batch, reduction):
    prediction, label = (paddle.to_tensor(one) for one in batch)
    message = f"mean's count, but reduction is '{reduction}'"
    with pytest.raises(ValueError, match=message):
        loss.layer()(prediction, label, avg_factor=2, reduction=reduction)
    with pytest.raises(ValueError, match=message):
        loss.layer(reduction=reduction)(prediction, label, avg_factor=2)


@pytest.mark.parametrize(
    ("avg_factor", "message"),
    [
        (0, "avg_factor must be a finite number > 0, but got 0"),
        (paddle.ones([3]), r"avg_factor must .* shape is \[3\]"),
    ],
)
def test_bad_avg_factor(loss, batch, avg_factor, message):
    with pytest.raises(ValueError, match=message):
        loss.layer()(paddle.to_tensor(batch[0]), paddle.to_tensor(batch[1]), avg_factor=avg_factor)


@pytest.mark.parametrize(
    ("error", "name", "value"),
    [
        (ValueError, "gamma", -1),
        (ValueError, "gamma", float("inf")),
        (TypeError, "gamma", "x"),
        (ValueError, "alpha", -1),
        (ValueError, "alpha", []),
        (ValueError, "alpha", float("inf")),
        (ValueError, "loss_weight", -1.0),
        (ValueError, "loss_weight", float("inf")),
        (TypeError, "loss_weight", None),
        (ValueError, "label_smoothing", 1.0),
        (TypeError, "ignore_index", 0.5),
        (ValueError, "reduction", "avg"),
        (TypeError, "axis", "C"),
        (TypeError, "name", 1),
    ],
)
def test_bad_values_are_refused_at_once(loss, error, name, value):
    name = loss.focusing if name == "gamma" else name
    with pytest.raises(error, match=f"{name} must be .* got {value!r}".replace("[", r"\[")):
        loss.layer(**{name: value})
    layer = loss.layer()
    before = getattr(layer, name)
    with pytest.raises(error, match=f"{name} must be"):
        setattr(layer, name, value)
    assert getattr(layer, name) == before


def test_repr_state_and_copy(loss):
    layer = loss.layer(**loss.power(1.5), alpha=[0.1, 0.2])
    assert f"alpha=(0.1, 0.2), {loss.focusing}=1.5, " in repr(layer)
    smoothing = "label_smoothing=0.0, " if loss.has_smoothing else ""
    assert f"ignore_index=-1, {smoothing}reduction=None, axis=-1" in repr(layer)
    assert not layer.state_dict()
    assert not layer.parameters()
    assert getattr(copy.deepcopy(layer), loss.focusing) == 1.5


@needs_operator
@pytest.mark.parametrize("full_graph", [True, pytest.param(False, marks=needs_keywords_in_traces)])
@pytest.mark.parametrize("batch_size", [None, 5], ids=["any_batch", "known_batch"])
def test_to_static_trains_the_same(loss, rng, full_graph, batch_size):
    if loss.prediction == "prob":
        pytest.skip("probabilities become logits in a PyLayer, which cannot be traced")
    x = paddle.to_tensor(rng.normal(size=(5, 4)).astype("float32"))
    label = paddle.to_tensor([0, 1, 2, loss.highest_label(CLASSES), -1])
    weight = paddle.to_tensor([1.0, 2.0, 3.0, 0.5, 1.0])
    spec = [
        paddle.static.InputSpec([batch_size, 4], "float32"),
        paddle.static.InputSpec([batch_size], "int64"),
        paddle.static.InputSpec([batch_size], "float32"),
    ]
    for hyper_parameters in ({"reduction": "mean", "alpha": [0.1, 0.5, 0.9]}, {"reduction": "sum"}):
        net = Net(loss, **hyper_parameters)
        dynamic = net(x, label, weight)
        dynamic.backward()
        expected = net.linear.weight.grad.numpy()
        net.clear_gradients()
        static = paddle.jit.to_static(net, input_spec=spec if full_graph else None, full_graph=full_graph)
        result = static(x, label, weight)
        result.backward()
        np.testing.assert_allclose(float(result), float(dynamic), rtol=1e-6)
        # Of float32 numbers that cancel in sums over the batch, the largest one counts.
        tolerance = {"rtol": 1e-6, "atol": 1e-6 * np.abs(expected).max()}
        np.testing.assert_allclose(net.linear.weight.grad.numpy(), expected, **tolerance)


def test_the_composite_backend_cannot_be_traced():
    def traced(x, label):
        return SIGMOID.function(x, label, backend="composite")

    static = paddle.jit.to_static(traced, full_graph=True)
    with pytest.raises(RuntimeError, match="cannot be traced into a static graph"):
        static(paddle.zeros([2, 3]), paddle.to_tensor([0, 3]))
