"""PicoDet's heads compared with PaddleDetection's."""

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
CONV = {
    "name": "PicoFeat",
    "feat_in": 8,
    "feat_out": 8,
    "num_convs": 1,
    "num_fpn_stride": 3,
    "share_cls_reg": True,
    "use_se": True,
}


def create(**keys):
    return create_pair(
        "PicoHeadV2",
        replaced=["VarifocalLoss"],
        conv_feat=CONV,
        fpn_stride=list(STRIDES),
        feat_in_chan=8,
        prior_prob=0.3,
        loss_class={"name": "VarifocalLoss", "use_sigmoid": False},
        reg_max=7,
        nms={"name": "MultiClassNMS"},
        **keys,
    )


def losses_of(head, features, batch):
    return head.get_loss(head(features), batch)


@pytest.mark.parametrize("boxes", ["boxes", "an empty image"])
@pytest.mark.parametrize("epoch", [0, 100])  # of the static assigner, and of the other one
@pytest.mark.parametrize("use_align_head", [True, False])
def test_same_as_ppdet(rng, use_align_head, epoch, boxes):
    stock, ours = create(use_align_head=use_align_head)
    features = [paddle.to_tensor(level) for level in levels(rng, STRIDES)]
    batch = {**padded_boxes(*BOXES[boxes]), "epoch_id": epoch}
    assert_same(stock, ours, lambda head: losses_of(head, features, batch))


def test_without_boxes(rng):
    stock, ours = create()
    features = [paddle.to_tensor(level) for level in levels(rng, STRIDES)]
    batch = {**padded_boxes(*BOXES["no boxes"]), "epoch_id": 100}
    losses, _ = losses_and_gradients(stock, lambda head: losses_of(head, features, batch))
    assert not np.isfinite(list(losses.values())).any()
    bare = {**batch, **{name: batch[name][:, :0] for name in ("gt_bbox", "gt_class", "pad_gt_mask")}}
    for one in (batch, bare):
        assert_finite(ours, lambda head, one=one: losses_of(head, features, one), unused="scale_reg")
