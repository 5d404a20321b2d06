"""Where PaddleDetection's losses fail: theirs, and ours in their place, held to the formulas."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from ppdet_losses import CLASSES, PPYOLOE, Batch, Fcos, assert_is_quality, loss_and_gradients, ppdet, tensors

from paddle_focal import (
    ForegroundNormalizer,
    VarifocalLoss,
    binary_quality_focal_loss,
    gaussian_focal_loss,
    quality_focal_loss,
    sigmoid_focal_loss,
    varifocal_loss,
)


def at(logit, function, dtype="float32"):
    """The loss of one logit, and its gradient."""
    x = paddle.to_tensor([logit], dtype=dtype, stop_gradient=False)
    loss = function(x)
    loss.backward()
    return loss.item(), x.grad.item()


def test_ppyoloe_saturates(backend):
    """A background at 17 and an object of score 0.9 at -30: alpha |x| and alpha, q^2 |x| and -q^2."""
    head = ppdet(PPYOLOE[0])
    zero, one, score = tensors(np.float32([0]), np.float32([1]), np.float32([0.9]))
    assert at(17.0, lambda x: head._varifocal_loss(F.sigmoid(x), zero, zero)) == (75, 0)
    assert -0.1 < at(-30.0, lambda x: head._varifocal_loss(F.sigmoid(x), score, one))[1] < 0
    background = at(17.0, lambda x: varifocal_loss(x, zero, backend=backend))
    np.testing.assert_allclose(background, [12.75, 0.75], rtol=2e-6)
    np.testing.assert_allclose(at(-30.0, lambda x: varifocal_loss(x, score, backend=backend)), [24.3, -0.81], rtol=2e-6)


def test_ppyoloe_in_float16(backend):
    """There the sigmoid is 1 from 8.4 on. It has no kernel on the CPU: here a float32 one goes through a cast."""
    head, zero = ppdet(PPYOLOE[0]), paddle.zeros([1])

    def stock(x):
        return head._varifocal_loss(F.sigmoid(x).astype("float16").astype("float32"), zero, zero)

    assert np.isnan([at(logit, stock)[1] for logit in (20.0, 60.0)]).all()
    for logit, expected in ((9.0, (6.7484268, 0.7513878)), (20.0, (15.0, 0.75)), (60.0, (45.0, 0.75))):
        actual = at(logit, lambda x: varifocal_loss(x, zero, backend=backend), dtype="float16")
        np.testing.assert_allclose(actual, expected, rtol=2**-11)


@pytest.mark.parametrize("head", [*PPYOLOE, "heads.tood_head.TOODHead"])
def test_heads_with_a_fractional_gamma(backend, rng, head):
    """Theirs raises p - y to it, which is negative for objects."""
    head, batch = ppdet(head), Batch.of(rng)
    (dense,) = tensors(batch.dense)
    assert np.isnan(loss_and_gradients(lambda x: head._focal_loss(F.sigmoid(x), dense, gamma=1.5), batch.logit)[0])

    def ours(x):
        return quality_focal_loss(x, *batch.pair, gamma=1.5, backend=backend)

    assert_is_quality(ours, batch.logit, batch.dense, 1.5)


def test_teacher_with_a_fractional_beta(backend, rng):
    stock = ppdet("ssod.utils.QFLv2")
    x, teacher = rng.uniform(-6, 6, (50, CLASSES)).astype("float32"), rng.uniform(size=(50, CLASSES)).astype("float32")
    weight = rng.integers(0, 2, 50)
    dense = teacher * weight[:, None].astype("float32")
    target, targets, weights = tensors(dense, teacher, weight.astype("float32"))
    assert np.isnan(loss_and_gradients(lambda x: stock(F.sigmoid(x), targets, weights, beta=1.5), x)[0])

    def ours(x):
        return binary_quality_focal_loss(F.sigmoid(x), target, gamma=1.5, backend=backend)

    assert_is_quality(ours, x, dense, 1.5)


@pytest.mark.parametrize("is_peak", [True, False])
def test_centernet_clips(backend, is_peak):
    """Beyond |logit| 9.21 its head's clip leaves no gradient: to a missed peak, nor to a confident background."""
    stock = ppdet("losses.ctfocal_loss.CTFocalLoss")()
    logit, heatmap = (-9.5 if is_peak else 9.5), paddle.to_tensor([float(is_peak)])
    assert at(logit, lambda x: stock(F.sigmoid(x).clip(1e-4, 1 - 1e-4), heatmap))[1] == 0
    wrong = 1 / (1 + np.exp(-9.5))
    expected = wrong**2 * (2 * (1 - wrong) * np.log1p(np.exp(9.5)) + wrong)
    _, gradient = at(logit, lambda x: gaussian_focal_loss(x, heatmap, backend=backend))
    np.testing.assert_allclose(gradient, -expected if is_peak else expected, rtol=2e-6)


def test_rtdetr_differentiates_the_weight(backend):
    """To an easy background at -4 that gives 2.98 times the gradient of the published one, which is alpha p^3."""
    zero, p = paddle.zeros([1, 1, 1]), 1 / (1 + np.exp(4))

    def gradient(detach_weight):
        arguments = {"detach_weight": detach_weight, "backend": backend}
        return at(-4.0, lambda x: varifocal_loss(x.reshape([1, 1, 1]), zero, **arguments))[1]

    np.testing.assert_allclose(gradient(True), 0.75 * p**3, rtol=2e-6)
    np.testing.assert_allclose(gradient(False) / gradient(True), 2.98, atol=5e-3)
    stock = ppdet("transformers.utils.varifocal_loss_with_logits")
    _, theirs = at(-4.0, lambda x: stock(x.reshape([1, 1, 1]), zero, zero))
    np.testing.assert_allclose(theirs, gradient(False), rtol=2e-6)


def test_no_boxes(backend, rng):
    """FCOS divides by the positives and PicoDet, on one GPU, by the sum of the scores, both without a least value."""
    fcos, divisor = Fcos(rng, has_boxes=False), ForegroundNormalizer()(paddle.zeros([]))
    assert np.isinf(loss_and_gradients(fcos.stock(), fcos.logit)[0])

    def ours(x):
        return sigmoid_focal_loss(x, fcos.index, divisor, axis=1, backend=backend)

    loss, gradient = loss_and_gradients(ours, fcos.logit)
    p = 1 / (1 + np.exp(-fcos.logit.astype("float64")))
    np.testing.assert_allclose(loss, -0.75 * (p**2 * np.log(1 - p)).sum(), rtol=1e-5)
    np.testing.assert_allclose(gradient, 0.75 * p**2 * (p - 2 * (1 - p) * np.log(1 - p)), rtol=1e-5)

    stock, zeros = ppdet("losses.varifocal_loss.VarifocalLoss")(use_sigmoid=False), paddle.zeros([32, CLASSES])
    rows = fcos.logit.reshape(32, CLASSES)
    assert np.isinf(loss_and_gradients(lambda x: stock(F.sigmoid(x), zeros, avg_factor=zeros.sum()), rows)[0])
    actual, _ = loss_and_gradients(lambda x: VarifocalLoss()(x, zeros, avg_factor=divisor), rows)
    np.testing.assert_allclose(actual, loss, rtol=1e-5)


def test_fcos_ignores_its_hyper_parameters(backend, rng):
    fcos = Fcos(rng)
    theirs = [loss_and_gradients(stock, fcos.logit)[0] for stock in (fcos.stock(), fcos.stock(loss_alpha=0.6))]
    assert theirs[0] == theirs[1]
    is_class = np.moveaxis(np.arange(1, CLASSES + 1) == fcos.label[..., None], -1, 1)
    p = 1 / (1 + np.exp(-fcos.logit.astype("float64")))
    p_t = np.where(is_class, p, 1 - p)
    expected = -(np.where(is_class, 0.6, 0.4) * (1 - p_t) ** 1.5 * np.log(p_t)).sum() / fcos.positives
    arguments = {"alpha": 0.6, "gamma": 1.5, "axis": 1, "backend": backend}
    ours = sigmoid_focal_loss(paddle.to_tensor(fcos.logit), fcos.index, fcos.positives, **arguments)
    np.testing.assert_allclose(float(ours), expected, rtol=1e-5)
