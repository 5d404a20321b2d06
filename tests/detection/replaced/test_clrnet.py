"""The loss of lanes compared with PaddleDetection's."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from replaced_components import create_pair

pytestmark = pytest.mark.usefixtures("workspace_copy")
POINTS = 6


def results(loss, predictions, lanes, segmentation):
    tensors = [[paddle.to_tensor(image, stop_gradient=False) for image in stage] for stage in predictions]
    # As in the model, an image's predictions are a view of a stage's.
    output = {"predictions_lists": [paddle.stack(stage) for stage in tensors], "seg": paddle.to_tensor(segmentation)}
    seg = paddle.zeros([2, *segmentation.shape[2:]], "int64")
    value = loss(output, {"lane_line": paddle.to_tensor(lanes), "seg": seg})["cls_loss"]
    value.backward()
    return float(value), [one.grad.numpy()[:, :2] for stage in tensors for one in stage]


def test_without_lanes(rng):
    """The classification loss alone: every prediction is background."""
    stock, ours = create_pair("CLRNetLoss", num_points=POINTS, refine_layers=2, num_classes=5)
    predictions = rng.normal(size=[2, 2, 9, 6 + POINTS]).astype("float32")
    lanes = np.zeros([2, 3, 6 + POINTS], "float32")
    segmentation = rng.normal(size=[2, 5, 8, 8]).astype("float32")
    expected, value = (results(loss, predictions, lanes, segmentation) for loss in (stock, ours))
    assert value[0] == pytest.approx(expected[0], rel=1e-4)
    for one, other in zip(value[1], expected[1]):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)


def test_with_lanes(rng):
    """PaddleDetection subtracts integers from numbers, which Paddle 3 refuses, but for this test."""
    keys = {"num_points": POINTS, "refine_layers": 2, "num_classes": 5, "img_w": 80, "img_h": 32}
    stock, ours = create_pair("CLRNetLoss", **keys)
    predictions = rng.uniform(0.1, 0.9, [2, 2, 9, 6 + POINTS]).astype("float32")
    lanes = np.zeros([2, 3, 6 + POINTS], "float32")
    lanes[:, :2, 1:6] = 1, 0, 0.4, 0.3, 3  # a lane, its start, place and angle, and its length
    lanes[:, :, 6:] = -1e5
    lanes[:, :2, 6:9] = rng.uniform(10, 70, [2, 2, 3])
    segmentation = rng.normal(size=[2, 5, 8, 8]).astype("float32")
    minus = paddle.Tensor.__sub__
    with pytest.MonkeyPatch.context() as monkeypatch:
        taken = lambda one, other: minus(one, other.astype(one.dtype) if paddle.is_tensor(other) else other)  # noqa: E731
        monkeypatch.setattr(paddle.Tensor, "__sub__", taken)
        expected = results(stock, predictions, lanes, segmentation)
    value = results(ours, predictions, lanes, segmentation)
    assert paddle.Tensor.__sub__ is minus
    assert value[0] == pytest.approx(expected[0], rel=1e-4)
    for one, other in zip(value[1], expected[1]):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)


def test_own_keys():
    focal = create_pair("CLRNetLoss", own={"alpha": [0.4, 0.6], "gamma": 1.5})[1].focal
    assert (focal.alpha, focal.gamma) == ((0.4, 0.6), 1.5)
