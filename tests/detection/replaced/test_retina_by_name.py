"""RetinaHead under its own name, and YOLOF's with the loss by its name."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from ppdet.core import workspace
from replaced_components import BOXES, CHANNELS, assert_finite, assert_same, create_pair, levels

from paddle_focal.detection import FocalRetinaHead

pytestmark = pytest.mark.usefixtures("workspace_copy")
STRIDES = (8, 16, 32)


def create(**keys):
    return create_pair(
        "RetinaHead",
        replaced=["FocalLoss"],
        conv_feat={"name": "RetinaFeat", "feat_in": CHANNELS, "feat_out": CHANNELS, "num_convs": 1, "norm_type": None},
        anchor_generator={"name": "RetinaAnchorGenerator", "strides": list(STRIDES)},
        bbox_assigner={"name": "MaxIoUAssigner", "positive_overlap": 0.5, "negative_overlap": 0.4},
        loss_bbox={"name": "SmoothL1Loss", "beta": 0.0},
        nms={"name": "MultiClassNMS"},
        **keys,
    )


def batch_of(name: str) -> dict:
    boxes, classes = [], []
    for image in BOXES[name]:
        boxes.append(paddle.to_tensor(np.array([box for box, _ in image], "float32").reshape(-1, 4)))
        classes.append(paddle.to_tensor(np.array([label for _, label in image], "int32").reshape(-1, 1)))
    return {"gt_bbox": boxes, "gt_class": classes, "im_shape": paddle.to_tensor([[128.0, 128.0]] * 2)}


def test_same_as_ppdet(rng):
    stock, ours = create(loss_class={"name": "FocalLoss", "alpha": 0.4, "gamma": 1.5, "loss_weight": 1.0})
    assert isinstance(ours, FocalRetinaHead)
    assert (ours.loss_class.alpha, ours.loss_class.gamma) == (0.4, 1.5)
    features, batch = [paddle.to_tensor(level) for level in levels(rng, STRIDES)], batch_of("boxes")
    assert_same(stock, ours, lambda head: head(features, batch))


@pytest.mark.parametrize("boxes", ["an empty image", "no boxes"])
def test_without_boxes(rng, boxes):
    _, ours = create()
    features, batch = [paddle.to_tensor(level) for level in levels(rng, STRIDES)], batch_of(boxes)
    assert_finite(ours, lambda head: head(features, batch))


def test_own_key():
    assert create(own={"normalizer": "ema"})[1].normalizer.mode == "ema"


def test_the_section_of_the_loss():
    workspace.global_config["FocalLoss"].update(gamma=1.5)
    assert create()[1].loss_class.gamma == 1.5
