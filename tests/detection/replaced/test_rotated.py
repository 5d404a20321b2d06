"""The heads of FCOSR and S2ANet compared with PaddleDetection's."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from ppdet.core import workspace
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
PLACES = sum((128 // stride) ** 2 for stride in STRIDES)
OWN = {"alpha": [0.1, 0.2, 0.3, 0.4, 0.5], "gamma": 1.5}
#: The loss of five logits 0 of the background.
OF_PLACE = (0.9 + 0.8 + 0.7 + 0.6 + 0.5) * 0.5**1.5 * np.log(2)


@pytest.fixture
def features(rng):
    return [paddle.to_tensor(level) for level in levels(rng, STRIDES)]


def rotated(*images) -> dict:
    """A batch of boxes that are turned by 0.3."""
    batch = padded_boxes(*images)
    low, high = batch["gt_bbox"].split(2, axis=-1)
    angle = paddle.full([*low.shape[:2], 1], 0.3)
    batch["gt_rbox"] = paddle.concat([(low + high) / 2, high - low, angle], axis=-1)
    batch["is_crowd"] = paddle.zeros([*low.shape[:2], 1], "int32")
    return batch


def boxes_iou(boxes: paddle.Tensor, others: paddle.Tensor) -> paddle.Tensor:
    """As ppdet's operator that a user compiles, but of boxes that are not turned."""
    (centre, side), (other_centre, other_side) = (
        (box[..., :2], box[..., 2:4]) for box in (boxes.numpy()[:, None], others.numpy()[None])
    )
    low = np.maximum(centre - side / 2, other_centre - other_side / 2)
    high = np.minimum(centre + side / 2, other_centre + other_side / 2)
    common = (high - low).clip(0).prod(-1)
    return paddle.to_tensor(common / (side.prod(-1) + other_side.prod(-1) - common))


@pytest.fixture
def operators(monkeypatch):
    monkeypatch.setitem(
        sys.modules,
        "ext_op",
        SimpleNamespace(
            rbox_iou=boxes_iou,
            matched_rbox_iou=lambda boxes, others: paddle.full([len(boxes)], 1 + 1e-6),
        ),
    )


def create_fcosr(score_type: str = "gaussian", **own):
    workspace.global_config["FCOSRAssigner"].update(
        boundary=[[-1, 64], [64, 128], [128, 10000.0]], num_classes=5, score_type=score_type
    )
    keys = {"feat_channels": 8, "stacked_convs": 1, "norm_cfg": {"name": "gn", "num_groups": 2}}
    return create_pair("FCOSRHead", STRIDES, own=own, fpn_strides=list(STRIDES), **keys)


def create_s2anet(**own):
    keys = {"feat_in": 8, "feat_out": 8, "stacked_convs": 1, "align_conv_type": "Conv"}
    keys |= {"anchor_strides": list(STRIDES), "anchor_assign": "RBoxAssigner"}
    try:
        return create_pair("S2ANetHead", own=own, **keys)
    except TypeError as error:
        pytest.skip(f"ppdet itself fails: {' '.join(str(error).split())[:80]}")


@pytest.mark.parametrize("boxes", BOXES)
def test_fcosr(features, boxes):
    stock, ours = create_fcosr()
    batch = rotated(*BOXES[boxes])
    assert_same(stock, ours, lambda head: head(features, batch))
    assert_finite(ours, lambda head: head(features, batch))


def test_fcosr_with_ious_that_are_rounded(features, operators):
    stock, ours = create_fcosr(score_type="iou")
    assert_same(stock, ours, lambda head: head(features, rotated(*BOXES["boxes"])))


def test_fcosr_with_large_logits(features):
    """The gradients of PaddleDetection are 0 there, where the true ones are those of the loss."""
    stock, ours = create_fcosr()
    bias = {}
    for head in (stock, ours):
        head.pred_cls.weight.set_value(paddle.zeros_like(head.pred_cls.weight))
        head.pred_cls.bias.set_value(paddle.full_like(head.pred_cls.bias, 20))
        bias[head] = losses_and_gradients(head, lambda head: head(features, rotated([], [])))[1]["pred_cls.bias"]
    np.testing.assert_allclose(bias[stock], 0, atol=1e-3)
    np.testing.assert_allclose(bias[ours], 2 * PLACES, rtol=1e-5)


def test_own_keys_of_fcosr(features):
    _, ours = create_fcosr(**OWN)
    ours.pred_cls.weight.set_value(paddle.zeros_like(ours.pred_cls.weight))
    ours.pred_cls.bias.set_value(paddle.zeros_like(ours.pred_cls.bias))
    losses, _ = losses_and_gradients(ours, lambda head: head(features, rotated([], [])))
    assert losses["loss_cls"] == pytest.approx(2 * PLACES * OF_PLACE)


def test_s2anet(features, operators):
    stock, ours = create_s2anet()
    batch = rotated(*BOXES["boxes"])
    assert_same(stock, ours, lambda head: head(features, batch))
    assert_finite(ours, lambda head: head(features, batch))


@pytest.mark.parametrize("boxes", ["an empty image", "no boxes"])
def test_s2anet_without_boxes(features, operators, boxes):
    stock, ours = create_s2anet(**OWN)
    batch = rotated(*BOXES[boxes])
    with pytest.raises(ValueError, match="empty"):
        losses_and_gradients(stock, lambda head: head(features, batch))
    for name in ("fam_cls", "odm_cls"):
        getattr(ours, name).weight.set_value(paddle.zeros_like(getattr(ours, name).weight))
        getattr(ours, name).bias.set_value(paddle.zeros_like(getattr(ours, name).bias))
    assert_finite(ours, lambda head: head(features, batch))
    if boxes == "no boxes":
        losses, _ = losses_and_gradients(ours, lambda head: head(features, batch))
        assert losses["fam_cls_loss"] == pytest.approx(1.1 * PLACES * OF_PLACE)
        assert losses["odm_cls_loss"] == pytest.approx(1.05 * PLACES * OF_PLACE)
        assert losses["fam_reg_loss"] == losses["odm_reg_loss"] == 0
