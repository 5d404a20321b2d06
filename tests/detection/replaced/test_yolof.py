"""YOLOF's assigner compared with PaddleDetection's."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from replaced_components import create_pair

pytestmark = pytest.mark.usefixtures("workspace_copy")


@pytest.fixture
def pair():
    return create_pair("UniformAssigner", pos_ignore_thr=0.15, neg_ignore_thr=0.7, match_times=2)


@pytest.fixture
def anchors(rng):
    corner = rng.uniform(0, 60, [12, 2])
    return paddle.to_tensor(np.concatenate([corner, corner + 30], 1).astype("float32"))


def test_same_as_ppdet(pair, anchors):
    boxes = paddle.to_tensor(np.float32([[5, 5, 40, 40], [30, 20, 80, 70]]))
    stock, ours = (assigner(anchors + 1, anchors, boxes) for assigner in pair)
    for one, expected in zip(ours, stock):
        np.testing.assert_array_equal(one.numpy(), expected.numpy())


def test_an_image_without_boxes(pair, anchors):
    stock, ours = pair
    with pytest.raises((ValueError, TypeError)):  # of Paddle 3 and of 2.6
        stock(anchors, anchors, paddle.zeros([0, 4]))
    label, boxes, targets = ours(anchors, anchors, paddle.zeros([0, 4]))
    assert label.tolist() == [-1] * 12
    assert boxes is targets is None
