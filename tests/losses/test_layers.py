from __future__ import annotations

import copy

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


def test_reductions(logit, label):
    loss, expected = SigmoidFocalLoss(), elements(logit)
    np.testing.assert_allclose(loss(logit, label).numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(loss(logit, label, reduction="sum").numpy(), expected.sum(), rtol=1e-12)
    np.testing.assert_allclose(loss(logit, label, reduction="mean").numpy(), expected.sum() / 9, rtol=1e-12)
    loss.reduction = "sum"
    np.testing.assert_allclose(loss(logit, label).numpy(), expected.sum(), rtol=1e-12)


def test_parameters_take_effect_at_the_next_call(logit, label):
    loss = SigmoidFocalLoss(reduction="sum")
    for name, value in [("gamma", 1.5), ("alpha", [0.2, 0.4, 0.6]), ("alpha", None), ("label_smoothing", 0.1)]:
        setattr(loss, name, value)
        arguments = {"gamma": loss.gamma, "alpha": loss.alpha, "smoothing": loss.label_smoothing}
        np.testing.assert_allclose(loss(logit, label).numpy(), elements(logit, **arguments).sum(), rtol=1e-12)
    loss.loss_weight = 3
    expected = 3 * elements(logit, **arguments).sum()
    np.testing.assert_allclose(loss(logit, label).numpy(), expected, rtol=1e-12)


def test_ignore_index_and_axis(logit):
    loss = SigmoidFocalLoss(reduction="sum", ignore_index=255, axis=0)
    label = paddle.to_tensor([0, 255, 3, 2])
    expected = SigmoidFocalLoss(reduction="sum", ignore_index=255)(logit, label)
    np.testing.assert_allclose(loss(logit.t(), label).numpy(), expected.numpy(), rtol=1e-12)


def test_axis_of_the_call(rng):
    """The attribute yields to it, also to axis 0; no axis is the last one."""
    pred, target = rng.normal(size=(3, 3)), paddle.to_tensor([1, 3, 1])
    for axis in (0, 1):
        loss = SigmoidFocalLoss(reduction="sum", axis=1 - axis)(paddle.to_tensor(pred), target, axis=axis)
        expected = oracle.loss_and_gradient(pred, oracle.one_hot([1, 3, 1], 3, axis)[0])[0].sum()
        np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-12)


def test_weight_and_avg_factor(logit, label):
    """The call of PaddleDetection's PETRHead: ``loss_cls(pred, target, weight, avg_factor=n)``."""
    weight, expected = [1.0, 0.0, 2.0, 1.0], elements(logit) * np.array([[1.0], [0.0], [2.0], [1.0]])
    for avg_factor in (5, 5.0, paddle.to_tensor(5.0), paddle.to_tensor([5.0], dtype="float64")):
        loss = SigmoidFocalLoss(loss_weight=2.0)(logit, label, paddle.to_tensor(weight), avg_factor=avg_factor)
        assert loss.shape == []
        np.testing.assert_allclose(loss.numpy(), 2 * expected.sum() / 5, rtol=1e-12)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_avg_factor_goes_with_the_mean_only(logit, label, reduction):
    with pytest.raises(ValueError, match=f"mean's count, but reduction is '{reduction}'"):
        SigmoidFocalLoss()(logit, label, avg_factor=2, reduction=reduction)


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


@pytest.mark.parametrize(
    ("avg_factor", "message"),
    [
        (0, "avg_factor must be a finite number > 0, but got 0"),
        (paddle.ones([3]), r"avg_factor must .* shape is \[3\]"),
    ],
)
def test_bad_avg_factor(logit, label, avg_factor, message):
    with pytest.raises(ValueError, match=message):
        SigmoidFocalLoss()(logit, label, avg_factor=avg_factor)


def test_the_attribute_decides_before_avg_factor_does(logit, label):
    with pytest.raises(ValueError, match="reduction is 'sum'"):
        SigmoidFocalLoss(reduction="sum")(logit, label, avg_factor=2.0)


def test_foreground_normalizer_is_at_least_one(logit):
    loss = SigmoidFocalLoss(normalizer="foreground")(logit, paddle.to_tensor([3, 3, 3, 3]), reduction="sum")
    np.testing.assert_allclose(loss.numpy(), oracle.loss_and_gradient(logit.numpy(), 0)[0].sum(), rtol=1e-12)


@pytest.mark.parametrize("arguments", [{"avg_factor": 2.0}, {"reduction": "mean"}])
def test_dividing_twice_is_refused(logit, label, arguments):
    with pytest.raises(ValueError, match=r"normalizer='foreground' and .* would divide the loss twice"):
        SigmoidFocalLoss(normalizer="foreground")(logit, label, **arguments)


@pytest.mark.parametrize(
    ("error", "name", "value"),
    [
        (ValueError, "gamma", -1),
        (TypeError, "gamma", "x"),
        (ValueError, "alpha", 2),
        (ValueError, "alpha", []),
        (ValueError, "alpha", float("inf")),
        (ValueError, "gamma", float("inf")),
        (ValueError, "loss_weight", float("inf")),
        (ValueError, "loss_weight", -1.0),
        (TypeError, "loss_weight", None),
        (ValueError, "label_smoothing", 1.0),
        (TypeError, "ignore_index", 0.5),
        (ValueError, "reduction", "avg"),
        (ValueError, "normalizer", "batch"),
        (ValueError, "use_sigmoid", False),
        (TypeError, "axis", "C"),
    ],
)
def test_bad_values_are_refused_at_once(error, name, value):
    with pytest.raises(error, match=f"{name} must be .* got {value!r}".replace("[", r"\[")):
        SigmoidFocalLoss(**{name: value})
    loss = SigmoidFocalLoss()
    before = getattr(loss, name)
    with pytest.raises(error, match=f"{name} must be"):
        setattr(loss, name, value)
    assert getattr(loss, name) == before


def test_repr_and_state():
    loss = SigmoidFocalLoss(gamma=1.5, alpha=[0.1, 0.2])
    assert "alpha=(0.1, 0.2), gamma=1.5, loss_weight=1.0, ignore_index=-1" in repr(loss)
    assert not loss.state_dict()
    assert not loss.parameters()
    assert copy.deepcopy(loss).gamma == 1.5
