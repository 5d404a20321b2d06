"""The parts of FocalRetinaHead's loss stage: deltas and their loss against numbers by hand, and what the stage runs."""

from __future__ import annotations

import math

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from native_library import needs_library
from operators import operators
from paddle_limits import IS_PADDLE_2
from ppdet.modeling.bbox_utils import bbox2delta
from ppdet.modeling.losses import SmoothL1Loss

from paddle_focal.benchmarks.retina import Batch
from paddle_focal.benchmarks.retina import create_head as create_whole_head
from paddle_focal.detection.heads import box_loss, retina_head
from paddle_focal.detection.heads.anchors import Anchors, centred

WEIGHTS = (10.0, 5.0, 4.0, 2.0)
ANCHORS = [[0, 0, 10, 20], [5, 5, 9, 13]]


def tensor(rows) -> paddle.Tensor:
    return paddle.to_tensor(np.asarray(rows, "float32"))


def grid_of(anchors, weights=WEIGHTS):
    return Anchors(lambda _: [tensor(anchors)], weights)([paddle.zeros([1, 1, 1, len(anchors)])])


class TestEncode:
    def test_by_hand(self):
        # From centre (5, 10) and size (10, 20) to (7, 8) and (20, 10); from (7, 9) and (4, 8) to the same.
        boxes = centred(tensor([[-3, 3, 17, 13]] * 2))
        assert boxes.tolist() == [[14, 16, 20, 10]] * 2
        expected = [
            [10 * 0.2, 5 * -0.1, 4 * math.log(2), 2 * math.log(0.5)],
            [10 * 0.0, 5 * -1 / 8, 4 * math.log(5), 2 * math.log(10 / 8)],
        ]
        np.testing.assert_allclose(grid_of(ANCHORS).encode(boxes).numpy(), expected, rtol=1e-6, atol=1e-6)
        chosen = grid_of(ANCHORS).encode(boxes[:1], paddle.to_tensor([1]))
        np.testing.assert_allclose(chosen.numpy(), expected[1:], rtol=1e-6, atol=1e-6)

    def test_as_ppdet(self, rng):
        corner = rng.uniform(0, 1300, (2, 500, 2))
        anchors, boxes = (tensor(np.concatenate([one, one + rng.uniform(8, 500, one.shape)], axis=1)) for one in corner)
        expected = bbox2delta(anchors, boxes, WEIGHTS).numpy()
        actual = grid_of(anchors.numpy()).encode(centred(boxes)).numpy()
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-4)


def test_the_parts_of_each_level():
    """Two kinds at 2 + 1 locations: kind, level, location."""
    generated = [[[0, 0, 1, 1], [0, 0, 2, 2], [8, 0, 9, 1], [8, 0, 10, 2]], [[0, 0, 3, 3], [0, 0, 4, 4]]]
    maps = [paddle.zeros([1, 1, 1, 2]), paddle.zeros([1, 1, 1, 1])]
    grid = Anchors(lambda _: [tensor(one) for one in generated])(maps)
    assert grid.boxes[:, 2].tolist() == [1, 9, 3, 2, 10, 4]
    of_levels = grid.split(paddle.arange(12).reshape([2, 6]))
    assert [one.tolist() for one in of_levels] == [[[[0, 1], [3, 4]], [[6, 7], [9, 10]]], [[[2], [5]], [[8], [11]]]]


class TestBoxLoss:
    @pytest.mark.parametrize("beta", [0.5, 1.0, 0.0])
    def test_by_hand(self, beta):
        prediction, expected = tensor([[0.0, 0.25, -0.5, 3.0]]), tensor([[0.0, 0.0, 0.0, 1.0]])
        losses = {0.5: 0.0625 + 0.25 + 1.75, 1.0: 0.03125 + 0.125 + 1.5, 0.0: 0.25 + 0.5 + 2.0}
        result = box_loss.sum_of(SmoothL1Loss(beta, loss_weight=4.0), prediction, expected)
        assert float(result) == pytest.approx(4 * losses[beta], rel=1e-6)

    def test_any_other(self):
        class Own(SmoothL1Loss):
            def forward(self, prediction, expected, reduction):
                assert reduction == "none"
                return prediction * expected

        assert float(box_loss.sum_of(Own(), tensor([[2.0, 3.0]]), tensor([[5.0, 7.0]]))) == 31


@pytest.fixture
def on_gpu(workspace_copy, host_gpu, monkeypatch):
    """A loss stage that takes the CPU for a GPU, and its arguments; anchors are computed already."""
    monkeypatch.setattr(retina_head, "kind", lambda tensor: "gpu")

    def prepare(images: int):
        batch = Batch(images=images, height=128, width=160, classes=4, boxes=3)
        head, outputs, targets = create_whole_head("FocalRetinaHead", 4), batch.head_outputs(), batch.targets()
        head.get_loss(outputs, targets)
        return head, outputs, targets

    return prepare


@needs_library
@pytest.mark.parametrize("images", [2, 7])
def test_number_of_launches(on_gpu, host_gpu, images):
    """Of five levels, forward and backward: those of our kernels, and Paddle's operators, on 2.6 with casts in vain."""
    head, outputs, targets = on_gpu(images)
    kept, before = [], host_gpu.driver.launch_count()
    run = operators(lambda: kept.append(head.get_loss(outputs, targets)["loss"]))
    run += operators(kept[-1].backward)
    of_kernels = host_gpu.driver.launch_count() - before
    assert of_kernels == 2 + 3 * 5
    nothing = ("empty", "reshape", "ReshapeGradNode", "NativeSum")  # memory, views, and the node of our kernels
    launched = {name: count for name, count in run.items() if not any(word in name for word in nothing)}
    assert 30 < sum(launched.values()) + of_kernels <= (75 if IS_PADDLE_2 else 60), run


@needs_library
def test_nothing_waits(on_gpu, monkeypatch):
    head, outputs, targets = on_gpu(2)

    def wait(tensor, *_):
        raise AssertionError("this waits for a GPU")

    for name in ("item", "numpy", "tolist", "nonzero", "__float__", "__int__", "__bool__", "__index__"):
        monkeypatch.setattr(paddle.Tensor, name, wait)
    taken = paddle.Tensor.__getitem__

    def take(tensor, index):
        indices = index if isinstance(index, tuple) else (index,)
        if any(getattr(one, "dtype", None) == paddle.bool for one in indices):
            wait(tensor)
        return taken(tensor, index)

    monkeypatch.setattr(paddle.Tensor, "__getitem__", take)
    head.get_loss(outputs, targets)["loss"].backward()
    monkeypatch.setattr(retina_head, "kind", lambda tensor: "cpu")
    with pytest.raises(AssertionError, match="waits"):
        head.get_loss(outputs, targets)
