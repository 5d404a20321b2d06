"""The losses that heads get by their names, compared with PaddleDetection's."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from replaced_components import CLASSES, create_pair, skip_if_it_fails

pytestmark = pytest.mark.usefixtures("workspace_copy")
N = 30


@pytest.fixture
def batch(rng):
    label = rng.integers(0, CLASSES + 1, N)
    score = rng.uniform(0.1, 1, N).astype("float32")
    dense = np.eye(CLASSES + 1, dtype="float32")[label][:, :CLASSES] * score[:, None]
    arrays = {"label": label, "score": score, "dense": dense, "weight": rng.uniform(0, 2, N).astype("float32")}
    return {name: paddle.to_tensor(array) for name, array in arrays.items()}


def assert_same(rng, stock, ours, run, activated=False) -> None:
    logit = rng.normal(size=(N, CLASSES)).astype("float32") * 2
    results = []
    for loss in (stock, ours):
        pred = paddle.to_tensor(1 / (1 + np.exp(-logit)) if activated else logit, stop_gradient=False)
        value = run(loss, pred)
        value.sum().backward()
        results.append((value, pred.grad))
    (expected, expected_grad), (value, grad) = results
    assert value.shape == expected.shape
    np.testing.assert_allclose(value.numpy(), expected.numpy(), rtol=1e-4)
    np.testing.assert_allclose(grad.numpy(), expected_grad.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_focal_loss(rng, batch, reduction):
    stock, ours = create_pair("FocalLoss", alpha=0.4, gamma=1.5, loss_weight=2.0)
    assert_same(rng, stock, ours, lambda loss, pred: loss(pred, batch["label"], reduction))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_weighted_focal_loss(rng, batch, reduction):
    stock, ours = create_pair("Weighted_FocalLoss", gamma=1.5, loss_weight=2.0)
    assert_same(rng, stock, ours, lambda loss, pred: loss(pred, batch["label"], batch["weight"], None, reduction))


def test_weighted_focal_loss_with_a_divisor(rng, batch):
    stock, ours = create_pair("Weighted_FocalLoss")
    of_each = paddle.to_tensor(rng.uniform(0, 2, N * CLASSES).astype("float32"))
    assert_same(rng, stock, ours, lambda loss, pred: loss(pred, batch["label"], batch["weight"], 7.0))
    assert_same(rng, stock, ours, lambda loss, pred: loss(pred, batch["label"], of_each, paddle.to_tensor(3.0)))


@pytest.mark.parametrize("divisor", [None, 7.0])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("use_sigmoid", [True, False])
def test_quality_focal_loss(rng, batch, use_sigmoid, reduction, divisor):
    keys = {"use_sigmoid": use_sigmoid, "reduction": reduction, "beta": 1.5, "loss_weight": 0.5}
    stock, ours = create_pair("QualityFocalLoss", **keys)
    target = batch["label"], batch["score"]
    skip_if_it_fails(lambda: stock(batch["dense"], target))
    if reduction == "sum" and divisor:
        for loss in (stock, ours):
            with pytest.raises(ValueError, match="avg_factor"):
                loss(batch["dense"], target, None, divisor)
        return
    run = lambda loss, pred: loss(pred, target, batch["weight"], divisor)  # noqa: E731
    assert_same(rng, stock, ours, run, activated=not use_sigmoid)


@pytest.mark.parametrize("divisor", [None, 7.0])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("use_sigmoid", [True, False])
def test_varifocal_loss(rng, batch, use_sigmoid, reduction, divisor):
    stock, ours = create_pair("VarifocalLoss", use_sigmoid=use_sigmoid, reduction=reduction, gamma=1.5, loss_weight=0.5)
    if reduction == "sum" and divisor:
        with pytest.raises(ValueError, match="avg_factor"):
            ours(batch["dense"], batch["dense"], None, divisor)
        return
    run = lambda loss, pred: loss(pred, batch["dense"], None, divisor)  # noqa: E731
    assert_same(rng, stock, ours, run, activated=not use_sigmoid)


def test_varifocal_loss_without_scores_as_weights(rng, batch):
    stock, ours = create_pair("VarifocalLoss", iou_weighted=False)
    assert_same(rng, stock, ours, lambda loss, pred: loss(pred, batch["dense"]))


def test_own_keys():
    own = {"alpha": [0.1, 0.2, 0.3, 0.4, 0.5]}
    for name in ("FocalLoss", "Weighted_FocalLoss"):
        assert create_pair(name, own=own)[1].alpha == tuple(own["alpha"])
    quality = create_pair("QualityFocalLoss", own={**own, "gamma": 1.5})[1].focal
    assert (quality.alpha, quality.gamma) == (tuple(own["alpha"]), 1.5)
    varifocal = create_pair("VarifocalLoss", own={**own, "detach_weight": True})[1].focal
    assert (varifocal.alpha, varifocal.detach_weight) == (tuple(own["alpha"]), True)
