"""PP-YOLOE's heads compared with PaddleDetection's."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from replaced_components import BOXES, assert_finite, assert_same, create_pair, levels, padded_boxes

pytestmark = pytest.mark.usefixtures("workspace_copy")
STRIDES = (32, 16, 8)


@pytest.mark.parametrize("boxes", BOXES)
@pytest.mark.parametrize("epoch", [0, 10])  # of the static assigner, and of the other one
@pytest.mark.parametrize("use_varifocal_loss", [True, False])
def test_same_as_ppdet(rng, use_varifocal_loss, epoch, boxes):
    stock, ours = create_pair("PPYOLOEHead", STRIDES, use_varifocal_loss=use_varifocal_loss)
    features = [paddle.to_tensor(level) for level in levels(rng, STRIDES)]
    batch = {**padded_boxes(*BOXES[boxes]), "epoch_id": epoch}
    assert_same(stock, ours, lambda head: head(features, batch))
    assert_finite(ours, lambda head: {name: loss for name, loss in head(features, batch).items() if name != "loss_l1"})


def test_gradients_of_large_logits(rng):
    """Those of PaddleDetection are 0 at a background logit of 17, where the true one is that of the loss."""
    stock, ours = create_pair("PPYOLOEHead", STRIDES)
    features = [paddle.to_tensor(level) for level in levels(rng, STRIDES)]
    batch = {**padded_boxes([], []), "epoch_id": 10}
    bias = {}
    for head in (stock, ours):
        head.train()
        for conv in head.pred_cls:
            conv.weight.set_value(paddle.zeros_like(conv.weight))
            conv.bias.set_value(paddle.full_like(conv.bias, 17))
        losses = head(features, batch)
        losses["loss"].backward()
        bias[head] = np.stack([conv.bias.grad.numpy() for conv in head.pred_cls])
        count = np.array([[level.shape[2] * level.shape[3] * 2.0] for level in features])
    np.testing.assert_allclose(bias[stock], 0)
    np.testing.assert_allclose(bias[ours], np.broadcast_to(0.75 * count, bias[ours].shape), rtol=1e-5)


def test_own_keys(rng):
    own = {"alpha": [0.1, 0.2, 0.3, 0.4, 0.5], "gamma": 1.5, "detach_weight": True}
    _, ours = create_pair("PPYOLOEHead", STRIDES, own=own)
    assert {key: getattr(ours.loss_class, key) for key in own} == {**own, "alpha": tuple(own["alpha"])}


def test_scores_of_others_are_probabilities(rng):
    """An auxiliary head hands in scores of its own, of which no logits are known."""
    stock, ours = create_pair("PPYOLOEHead", STRIDES)
    features = [paddle.to_tensor(level) for level in levels(rng, STRIDES)]
    batch = {**padded_boxes(*BOXES["boxes"]), "epoch_id": 10}
    places = sum(level.shape[2] * level.shape[3] for level in features)
    scores = paddle.to_tensor(rng.uniform(0.1, 0.9, [2, places, 5]).astype("float32"))
    distances = paddle.to_tensor(rng.normal(size=[2, places, 68]).astype("float32"))
    assert_same(stock, ours, lambda head: head(features, batch, [scores, distances]))


def test_half_precision(rng):
    """Half of PaddleDetection's chain is NaN: sigmoid is 1 from a logit of 8.4 on, whose slope is 0."""
    logit = np.linspace(-60, 60, 2 * 5 * 16).astype("float16").reshape(2, 5, 4, 4)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        prob = 1 / (1 + np.exp(-logit))
        of_background = 0.75 * prob**2 / (1 - prob) * (prob * (1 - prob))  # by the chain rule
    assert prob.dtype == np.float16
    assert np.isnan(of_background).any()

    _, ours = create_pair("PPYOLOEHead", STRIDES)
    pred = paddle.to_tensor(logit, stop_gradient=False)
    label = paddle.to_tensor(rng.integers(0, 6, [2, 16]))
    dense = paddle.nn.functional.one_hot(label, 6)[..., :5] * 0.5
    ours._scores, ours._logits, ours._assigned = dense, [pred], [(label,)]
    ours._focal_loss(dense, dense).backward()
    assert pred.grad.dtype == paddle.float16
    assert np.isfinite(pred.grad.numpy()).all()
    is_background = (dense.numpy() == 0).transpose(0, 2, 1).reshape(logit.shape)
    x = logit[is_background].astype("float64")
    p, softplus = 1 / (1 + np.exp(-x)), np.logaddexp(0, x)
    expected = 0.75 * p**2 * (2 * (1 - p) * softplus + p)
    np.testing.assert_allclose(pred.grad.numpy()[is_background], expected, rtol=1e-3, atol=1e-7)
