"""What only SigmoidFocalLoss has: a foreground that it divides by, and the values of its own arguments."""

from __future__ import annotations

import numpy as np
import oracle
import paddle
import pytest

from paddle_focal import SigmoidFocalLoss

LABEL = [0, 3, 2, -1]


@pytest.fixture
def logit(rng):
    return paddle.to_tensor(rng.normal(size=(4, 3)))


@pytest.fixture
def label():
    return paddle.to_tensor(LABEL)


def elements(logit, **arguments):
    dense, kept = oracle.one_hot(LABEL, 3)
    return oracle.loss_and_gradient(logit.numpy(), dense, **arguments)[0] * kept


def test_foreground_normalizer(logit, label):
    loss, expected = SigmoidFocalLoss(normalizer="foreground"), elements(logit)
    np.testing.assert_allclose(loss(logit, label, reduction="sum").numpy(), expected.sum() / 2, rtol=1e-12)
    np.testing.assert_allclose(loss(logit, label).numpy(), expected / 2, rtol=1e-12)
    dense = paddle.to_tensor(oracle.one_hot([0, 3, 2, 3], 3)[0])
    expected = oracle.loss_and_gradient(logit.numpy(), dense.numpy())[0].sum() / 2
    np.testing.assert_allclose(loss(logit, dense, reduction="sum").numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_foreground_normalizer_of_half_precision_targets(dtype):
    pred, target = paddle.zeros([4, 2]), paddle.ones([4, 2]).astype(dtype)
    loss = SigmoidFocalLoss(normalizer="foreground")(pred, target, reduction="sum")
    np.testing.assert_allclose(loss.numpy(), 0.25 * np.log(2) / 4, rtol=1e-6)


def test_foreground_normalizer_counts_along_the_class_axis(rng):
    pred = paddle.to_tensor(rng.normal(size=(2, 7)))
    loss = SigmoidFocalLoss(normalizer="foreground", axis=0)(pred, paddle.to_tensor([0, 1, 2, 2, 2, 2, 2]))
    expected = oracle.loss_and_gradient(pred.numpy(), oracle.one_hot([0, 1, 2, 2, 2, 2, 2], 2, 0)[0])[0] / 2
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, "label must be a Tensor", {"target": [0, 1]}),
        (TypeError, "logit must be a Tensor", {"pred": [0.0, 1.0]}),
        (ValueError, "label of dtype int64 must have shape", {"target": paddle.zeros([3], "int64")}),
    ],
)
def test_foreground_normalizer_refuses_what_the_function_refuses(error, message, arguments):
    call = {"pred": paddle.zeros([2, 3]), "target": paddle.to_tensor([0, 3]), **arguments}
    with pytest.raises(error, match=message):
        SigmoidFocalLoss(normalizer="foreground")(**call)


def test_probabilities_are_called_so():
    with pytest.raises(TypeError, match="prob must be a Tensor"):
        SigmoidFocalLoss(normalizer="foreground", activated=True)([0.5, 0.5], paddle.to_tensor([0, 3]))


def test_foreground_normalizer_is_at_least_one(logit):
    loss = SigmoidFocalLoss(normalizer="foreground")(logit, paddle.to_tensor([3, 3, 3, 3]), reduction="sum")
    np.testing.assert_allclose(loss.numpy(), oracle.loss_and_gradient(logit.numpy(), 0)[0].sum(), rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "other"), [({"avg_factor": 2.0}, "avg_factor"), ({"reduction": "mean"}, "reduction='mean'")]
)
def test_dividing_twice_is_refused(logit, label, arguments, other):
    with pytest.raises(ValueError, match=rf"normalizer='foreground' and {other} would divide the loss twice"):
        SigmoidFocalLoss(normalizer="foreground")(logit, label, **arguments)


@pytest.mark.parametrize(("name", "value"), [("alpha", 2), ("normalizer", "batch"), ("use_sigmoid", False)])
def test_bad_values_are_refused_at_once(name, value):
    with pytest.raises(ValueError, match=f"{name} must be .* got {value!r}"):
        SigmoidFocalLoss(**{name: value})
    loss = SigmoidFocalLoss()
    before = getattr(loss, name)
    with pytest.raises(ValueError, match=f"{name} must be"):
        setattr(loss, name, value)
    assert getattr(loss, name) == before


def test_a_layer_without_a_normalizer_has_none():
    layer = SigmoidFocalLoss(normalizer="foreground")
    assert layer.foreground_normalizer is not None
    layer.normalizer = None
    assert layer.foreground_normalizer is None
    assert SigmoidFocalLoss().foreground_normalizer is None
