"""Loss and gradient are those of PaddleDetection's functions, called as its heads call them, where those are right."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from ppdet_losses import CLASSES, PPYOLOE, Batch, Fcos, assert_is_quality, loss_and_gradients, ppdet, tensors

from paddle_focal import (
    GaussianFocalLoss,
    QualityFocalLoss,
    VarifocalLoss,
    binary_quality_focal_loss,
    binary_varifocal_loss,
    gaussian_focal_loss,
    joint_logit,
    quality_focal_loss,
    sigmoid_focal_loss,
    varifocal_loss,
)

#: Of PaddleDetection's losses, which compute in the dtype they are given; the absolute one is a hundredth of it.
TOLERANCE = {"float32": 1e-5, "float64": 1e-9}


@pytest.fixture(params=TOLERANCE)
def batch(rng, request):
    return Batch.of(rng, request.param)


def assert_same(ours, theirs, *arrays):
    rtol = TOLERANCE[str(arrays[0].dtype)]
    for actual, expected in zip(loss_and_gradients(ours, *arrays), loss_and_gradients(theirs, *arrays)):
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol / 100)


@pytest.mark.parametrize("head", PPYOLOE)
@pytest.mark.parametrize(("alpha", "gamma"), [(0.75, 2.0), (0.3, 1.5)])
def test_varifocal_of_ppyoloe(backend, batch, head, alpha, gamma):
    dense, one_hot = tensors(batch.dense, batch.one_hot)
    head = ppdet(head)

    def stock(x):
        return head._varifocal_loss(F.sigmoid(x), dense, one_hot, alpha, gamma)

    def of_probabilities(x):
        return binary_varifocal_loss(F.sigmoid(x), *batch.pair, None, alpha, gamma, backend=backend)

    assert_same(lambda x: varifocal_loss(x, *batch.pair, None, alpha, gamma, backend=backend), stock, batch.logit)
    assert_same(of_probabilities, stock, batch.logit)


@pytest.mark.parametrize("head", [*PPYOLOE, "heads.tood_head.TOODHead"])
@pytest.mark.parametrize(("alpha", "stock_alpha"), [(0.25, 0.25), (None, -1)])
def test_quality_focal_of_heads(backend, batch, head, alpha, stock_alpha):
    (dense,) = tensors(batch.dense)
    head = ppdet(head)

    def stock(x):
        return head._focal_loss(F.sigmoid(x), dense, alpha=stock_alpha)

    def of_probabilities(x):
        return binary_quality_focal_loss(F.sigmoid(x), *batch.pair, None, alpha, backend=backend)

    assert_same(lambda x: quality_focal_loss(x, *batch.pair, None, alpha, backend=backend), stock, batch.logit)
    assert_same(lambda x: quality_focal_loss(x, dense, None, None, alpha, backend=backend), stock, batch.logit)
    assert_same(of_probabilities, stock, batch.logit)


def test_joint_score_of_tood(backend, batch, rng):
    """Of no certain objects: near 1, the 1 - p of a float32 product has few digits."""
    head = ppdet("heads.tood_head.TOODHead")
    objectness = rng.uniform(-6, 1, (len(batch.label), 1)).astype(batch.logit.dtype)
    (dense,) = tensors(batch.dense)

    def ours(a, b):
        joint = joint_logit(a, b, power=0.5, backend=backend)
        return quality_focal_loss(joint, *batch.pair, alpha=0.25, backend=backend)

    def stock(a, b):
        return head._focal_loss((F.sigmoid(a) * F.sigmoid(b)).sqrt(), dense, alpha=0.25)

    assert_same(ours, stock, batch.logit, objectness)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_varifocal_layer(batch, rng, reduction):
    hyper_parameters = {"alpha": 0.6, "gamma": 1.5, "loss_weight": 2.0, "reduction": reduction}
    stock = ppdet("losses.varifocal_loss.VarifocalLoss")(**hyper_parameters)
    ours = VarifocalLoss(**hyper_parameters)
    dense, weight = tensors(batch.dense, rng.uniform(size=batch.logit.shape).astype(batch.logit.dtype))
    assert_same(lambda x: ours(x, dense), lambda x: stock(x, dense), batch.logit)
    assert_same(lambda x: ours(x, dense, weight), lambda x: stock(x, dense, weight), batch.logit)
    if reduction == "mean":
        assert_same(lambda x: ours(x, dense, weight, 7.0), lambda x: stock(x, dense, weight, 7.0), batch.logit)


@pytest.mark.parametrize("is_weighted", [False, True])
def test_varifocal_layer_on_probabilities(batch, rng, is_weighted):
    """PicoDet's ``use_sigmoid: false`` is ``activated: true`` here; theirs sums a row's classes before the mean."""
    stock = ppdet("losses.varifocal_loss.VarifocalLoss")(use_sigmoid=False)
    ours = VarifocalLoss(activated=True, reduction="mean")
    weights = tensors(rng.uniform(size=len(batch.label)).astype(batch.logit.dtype)) if is_weighted else [None]
    arguments = *tensors(batch.dense), *weights
    divisor = paddle.to_tensor(7.0, dtype=batch.logit.dtype)

    def theirs(x):
        return stock(F.sigmoid(x), *arguments, divisor)

    assert_same(lambda x: ours(F.sigmoid(x), *arguments, divisor), theirs, batch.logit)
    assert_same(lambda x: VarifocalLoss()(x, *arguments, divisor), theirs, batch.logit)
    mean = ours(F.sigmoid(paddle.to_tensor(batch.logit)), *arguments)
    theirs = stock(F.sigmoid(paddle.to_tensor(batch.logit)), *arguments)
    np.testing.assert_allclose(CLASSES * float(mean), float(theirs), rtol=1e-5)


@pytest.mark.parametrize("use_sigmoid", [True, False])
@pytest.mark.parametrize("beta", [2.0, 1.5])
def test_quality_focal_layer(rng, use_sigmoid, beta):
    """GFL's, of pairs. With positives that of paddledet 2.6.0 multiplies a float by a bool, which Paddle 3 refuses."""
    batch = Batch.of(rng)
    stock = ppdet("losses.gfocal_loss.QualityFocalLoss")(use_sigmoid=use_sigmoid, beta=beta, loss_weight=2.0)
    ours = QualityFocalLoss(gamma=beta, loss_weight=2.0, activated=not use_sigmoid)
    label, score = batch.pair
    weight = rng.uniform(size=len(batch.label)).astype("float32")

    def called(layer, label):
        return lambda x: layer(x if use_sigmoid else F.sigmoid(x), (label, score), paddle.to_tensor(weight), 7.0)

    assert_is_quality(called(ours, label), batch.logit, batch.dense, beta, factor=weight[:, None] * 2 / 7)
    background = paddle.full_like(label, CLASSES)
    assert_same(called(ours, background), called(stock, background), batch.logit)
    try:
        called(stock, label)(paddle.to_tensor(batch.logit))
    except TypeError:
        return
    assert_same(called(ours, label), called(stock, label), batch.logit)


@pytest.mark.parametrize("has_peaks", [True, False])
def test_heatmap(batch, rng, has_peaks):
    """CenterNet's and TTFNet's, without peaks, too."""
    stock = ppdet("losses.ctfocal_loss.CTFocalLoss")(loss_weight=0.5)
    heatmap = rng.uniform(size=batch.logit.shape).astype(batch.logit.dtype)
    heatmap[::7] = 0
    if has_peaks:
        heatmap[::5, 2] = 1
    (target,) = tensors(heatmap)
    ours = GaussianFocalLoss(loss_weight=0.5, normalizer="peaks", reduction="sum")
    assert_same(lambda x: ours(x, target), lambda x: stock(F.sigmoid(x), target), batch.logit)
    ours.activated = True
    assert_same(lambda x: ours(F.sigmoid(x), target), lambda x: stock(F.sigmoid(x), target), batch.logit)


def test_heatmap_of_key_points(backend, rng):
    """PETR's, where elements of a mask are left out."""
    stock = ppdet("losses.keypoint_loss.CenterFocalLoss")(loss_weight=0.5)
    x, heatmap = rng.uniform(-6, 6, (2, 3, 8, 8)).astype("float32"), rng.uniform(size=(2, 3, 8, 8)).astype("float32")
    mask = np.zeros_like(heatmap)
    heatmap[:, :, 2, 4], mask[:, :, 6:] = 1, 1
    target, padding, kept = tensors(heatmap, mask, 1 - mask)

    def ours(x):
        return 0.5 * gaussian_focal_loss(x, target, 6.0, weight=kept, backend=backend)

    assert_same(ours, lambda x: stock(F.sigmoid(x), target, mask=padding), x)


def test_fcos(backend, rng):
    fcos = Fcos(rng)

    def ours(x):
        return sigmoid_focal_loss(x, fcos.index, fcos.positives, axis=1, backend=backend)

    assert_same(ours, fcos.stock(), fcos.logit)


@pytest.mark.parametrize("detach_weight", [False, True])
def test_varifocal_of_rtdetr(backend, rng, monkeypatch, detach_weight):
    """It takes the mean over the queries."""
    stock = ppdet("transformers.utils.varifocal_loss_with_logits")
    if detach_weight:  # its weight is all that it takes a sigmoid for
        sigmoid = F.sigmoid
        monkeypatch.setattr(F, "sigmoid", lambda x: sigmoid(x).detach())
    batch, boxes, queries = Batch.of(rng, shape=(2, 30)), 5.0, 30
    dense, one_hot = tensors(batch.dense, batch.one_hot)

    def ours(x):
        return varifocal_loss(x, *batch.pair, boxes, detach_weight=detach_weight, backend=backend)

    assert_same(ours, lambda x: stock(x, dense, one_hot, boxes / queries), batch.logit)


def test_quality_focal_of_a_teacher(backend, rng):
    """ARSL's, on probabilities: rows of weight 1 take the teacher's, 0 is background, and below 0 is left out."""
    stock = ppdet("ssod.utils.QFLv2")
    x, teacher = rng.uniform(-6, 6, (50, CLASSES)).astype("float32"), rng.uniform(size=(50, CLASSES)).astype("float32")
    weight = rng.integers(-1, 2, 50)
    targets, weights = tensors(teacher, weight.astype("float32"))
    target, kept = tensors(teacher * (weight > 0)[:, None], weight >= 0)

    def ours(x):
        return binary_quality_focal_loss(F.sigmoid(x), target, weight=kept, backend=backend)

    assert_same(ours, lambda x: stock(F.sigmoid(x), targets, weights, reduction="sum"), x)
