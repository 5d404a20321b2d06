"""TOOD's head compared with PaddleDetection's."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from replaced_components import (
    BOXES,
    assert_finite,
    assert_same,
    create_pair,
    levels,
    losses_and_gradients,
    padded_boxes,
)

pytestmark = pytest.mark.usefixtures("workspace_copy")
STRIDES = (8, 16, 32)
SMALL = {"stacked_convs": 2, "norm_groups": 2}


def create(use_align_head: bool, features, **own):
    stock, ours = create_pair("TOODHead", STRIDES, own=own, use_align_head=use_align_head, **SMALL)
    try:
        stock(features)
    except ValueError as error:
        pytest.skip(f"ppdet itself fails: {' '.join(str(error).split())[:80]}")
    return stock, ours


@pytest.fixture
def features(rng):
    return [paddle.to_tensor(level) for level in levels(rng, STRIDES)]


def losses_of(batch, features):
    return lambda head: head.get_loss(head(features), batch)


@pytest.mark.parametrize("boxes", BOXES)
@pytest.mark.parametrize("epoch", [0, 10])  # of the static assigner, and of the other one
@pytest.mark.parametrize("use_align_head", [True, False])
def test_same_as_ppdet(features, use_align_head, epoch, boxes):
    stock, ours = create(use_align_head, features)
    run = losses_of({**padded_boxes(*BOXES[boxes]), "epoch_id": epoch}, features)
    assert_same(stock, ours, run)
    assert_finite(ours, run)
    stock.eval(), ours.eval()
    for one, other in zip(stock(features)[:2], ours(features)[:2]):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_gradients_of_large_logits(features):
    """Those of PaddleDetection's are 0, where the true one is that of the loss."""
    stock, ours = create(False, features)
    bias = {}
    for head in (stock, ours):
        head.tood_cls.weight.set_value(paddle.zeros_like(head.tood_cls.weight))
        head.tood_cls.bias.set_value(paddle.full_like(head.tood_cls.bias, 20))
        run = losses_of({**padded_boxes([], []), "epoch_id": 10}, features)
        bias[head] = losses_and_gradients(head, run)[1]["tood_cls.bias"]
    np.testing.assert_allclose(bias[stock], 0, atol=1e-3)
    np.testing.assert_allclose(bias[ours], 2 * sum((128 // stride) ** 2 for stride in STRIDES), rtol=1e-5)


def test_own_keys(features):
    _, ours = create(False, features, alpha=[0.1, 0.2, 0.3, 0.4, 0.5], gamma=1.5)
    ours.tood_cls.weight.set_value(paddle.zeros_like(ours.tood_cls.weight))
    ours.tood_cls.bias.set_value(paddle.zeros_like(ours.tood_cls.bias))
    losses, _ = losses_and_gradients(ours, losses_of({**padded_boxes([], []), "epoch_id": 0}, features))
    places = 2 * sum((128 // stride) ** 2 for stride in STRIDES)
    assert losses["loss_class"] == pytest.approx(places * (0.9 + 0.8 + 0.7 + 0.6 + 0.5) * 0.5**1.5 * np.log(2))


def test_every_parameter_has_a_gradient(features):
    """In PaddleDetection those of the boxes have none where there are no boxes, and ranks wait for each other's."""
    stock, ours = create(False, features)
    run = losses_of({**padded_boxes([], []), "epoch_id": 0}, features)
    assert losses_and_gradients(stock, run)[1]["tood_reg.weight"] is None
    assert not losses_and_gradients(ours, run)[1]["tood_reg.weight"].any()


@pytest.mark.slow
def test_it_can_be_traced(features):
    """As for an export."""
    stock, ours = create(False, features)
    ours.eval(), stock.eval()
    with paddle.no_grad():
        expected = stock(features)[0].numpy()
        traced = paddle.jit.to_static(ours, full_graph=True)
        np.testing.assert_allclose(traced(features)[0].numpy(), expected, rtol=1e-5)
