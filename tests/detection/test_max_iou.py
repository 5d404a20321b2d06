"""The assignment block by block against ppdet's own, which compares all boxes and anchors, and numbers by hand."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from paddle_limits import COMPARES_EXACTLY
from ppdet.modeling.assigners import MaxIoUAssigner

from paddle_focal.detection.assigners import iou_matrix, max_iou
from paddle_focal.detection.assigners.iou_matrix import assign_by_matrix
from paddle_focal.detection.assigners.max_iou import BlockMaxIoUAssigner, assigner_for


def tensor(rows) -> paddle.Tensor:
    return paddle.to_tensor(np.asarray(rows, "float32").reshape([-1, 4]))


def grid_of_anchors(sizes=(16, 24, 40), stride: int = 8, places: int = 24) -> paddle.Tensor:
    y, x = np.mgrid[:places, :places].reshape(2, -1) * stride + stride / 2
    levels = [np.stack([x - s / 2, y - s / 2, x + s / 2, y + s / 2], axis=1) for s in sizes]
    return tensor(np.concatenate(levels))


def assert_same_assignment(assigner: MaxIoUAssigner, anchors: paddle.Tensor, boxes: paddle.Tensor) -> np.ndarray:
    """Returns the labels."""
    expected_match, expected = (one.numpy() for one in assigner(anchors, boxes))
    by_block = BlockMaxIoUAssigner(assigner)(anchors, boxes)
    by_matrix = (one[0] for one in assign_by_matrix(assigner, anchors, [boxes]))
    for results in (by_block, by_matrix):
        match, label = (one.numpy() for one in results)
        np.testing.assert_array_equal(label, expected)
        np.testing.assert_array_equal(match[label == 1], expected_match[label == 1])
        assert (match.dtype, label.dtype) == (expected_match.dtype, expected.dtype)
    return label


@pytest.fixture(params=[64, max_iou.BLOCK])
def block(request, monkeypatch):
    monkeypatch.setattr(max_iou, "BLOCK", request.param)


class TestSameAsMaxIoUAssigner:
    @pytest.mark.parametrize("allow_low_quality", [True, False])
    @pytest.mark.parametrize("count", [0, 1, 7, 60])
    def test_random_boxes(self, block, rng, count, allow_low_quality):
        corner = rng.uniform(-10, 170, (count, 2))
        boxes = tensor(np.concatenate([corner, corner + rng.uniform(4, 60, (count, 2))], axis=1))
        assigner = MaxIoUAssigner(0.5, 0.4, allow_low_quality)
        label = assert_same_assignment(assigner, grid_of_anchors(), boxes)
        assert count < 7 or set(label.tolist()) == {-1, 0, 1}

    def test_several_anchors_are_the_best_of_a_box(self, block):
        # Boxes centred between anchors: two or four of them overlap equally, in one block of anchors and in several.
        boxes = tensor([[4, 0, 20, 16], [44, 44, 52, 52], [44, 44, 52, 52]])
        label = assert_same_assignment(MaxIoUAssigner(0.9, 0.1), grid_of_anchors(sizes=(16,)), boxes)
        assert (label == 1).sum() > 3

    def test_anchors_that_are_nearly_the_best(self, rng):
        """Inside of a large box all have the same IoU but for rounding, which Paddle 2.6 overlooks."""
        assigner, corner = MaxIoUAssigner(0.5, 0.4), rng.uniform(0, 30, (20, 2))
        boxes = tensor(np.concatenate([corner, corner + rng.uniform(90, 150, (20, 2))], axis=1))
        anchors = grid_of_anchors() + 0.3
        expected, label = (one(anchors, boxes)[1].numpy() for one in (assigner, assigner_for(assigner)))
        assert (expected == 1).sum() >= 20
        np.testing.assert_array_equal(label, expected)

    def test_boxes_without_area_outside_or_inverted(self, block):
        boxes = tensor([[30, 30, 30, 30], [900, 900, 950, 950], [60, 60, 20, 20], [8, 8, 30, 30]])
        assert_same_assignment(MaxIoUAssigner(0.5, 0.4), grid_of_anchors(), boxes)

    def test_boxes_that_touch_few_anchors_and_little(self, block, rng):
        """Overlaps of less than a pixel, one way or both, and none; the thresholds tell them apart."""
        corner = rng.uniform(0, 150, (9, 2))
        boxes = tensor(np.concatenate([corner, corner + rng.uniform(0.1, 3, (9, 2))], axis=1))
        for thresholds in ((0.01, 0.001), (0.003, 0.003), (1e-4, 1e-5)):
            label = assert_same_assignment(MaxIoUAssigner(*thresholds, False), grid_of_anchors(), boxes)
            assert {0, 1} <= set(label.tolist())

    def test_equal_thresholds(self, block, rng):
        corner = rng.uniform(0, 150, (5, 2))
        boxes = tensor(np.concatenate([corner, corner + 20], axis=1))
        assert -1 not in assert_same_assignment(MaxIoUAssigner(0.5, 0.5), grid_of_anchors(), boxes)

    @pytest.mark.parametrize(("positive", "negative"), [(0.5, 0.25), (0.75, 0.5), (0.25, 0.25)])
    def test_exactly_at_a_threshold(self, positive, negative):
        # IoU 1/4, 1/2 and 3/4 without rounding: the upper threshold is foreground, the lower one is not background.
        anchors = tensor([[0, 0, width, 16] for width in (4, 8, 12)])
        label = assert_same_assignment(
            MaxIoUAssigner(positive, negative, allow_low_quality=False), anchors, tensor([[0, 0, 16, 16]])
        )
        assert label.tolist() == [1 if iou >= positive else 0 if iou < negative else -1 for iou in (0.25, 0.5, 0.75)]


class TestBlockMaxIoUAssigner:
    def test_by_hand(self):
        # IoU with the first box: 1, 1/3 and 0; with the second 0, 0 and 1/4, its best.
        anchors = tensor([[0, 0, 10, 10], [5, 0, 15, 10], [100, 0, 110, 10]])
        boxes = tensor([[0, 0, 10, 10], [100, 0, 105, 5]])
        assigner = BlockMaxIoUAssigner(MaxIoUAssigner(0.5, 0.3))
        match, label = assigner(anchors, boxes)
        assert (label.tolist(), match[0].item(), match[2].item()) == ([1, -1, 1], 0, 1)

    def test_other_anchors_in_turns(self):
        assigner = BlockMaxIoUAssigner(MaxIoUAssigner(0.5, 0.4))
        near, far = tensor([[0, 0, 10, 10]]), tensor([[50, 50, 60, 60], [0, 0, 10, 10]])
        box = tensor([[0, 0, 10, 10]])
        for _ in range(2):
            assert assigner(near, box)[1].tolist() == [1]
            assert assigner(far, box)[1].tolist() == [0, 1]

    @pytest.mark.parametrize("kind", ["cpu", "gpu"])
    @pytest.mark.parametrize("most", [1, 2 * 20 * 1728, 1 << 30])
    def test_several_images(self, monkeypatch, rng, kind, most):
        """Of which one has no boxes; on a GPU by a matrix for one, for two, or for all of them."""
        monkeypatch.setattr(max_iou, "kind", lambda _: kind)
        monkeypatch.setattr(iou_matrix, "MOST_PAIRS", most)
        assigner, anchors, boxes = MaxIoUAssigner(0.5, 0.4), grid_of_anchors(), []
        for count in (3, 0, 20, 1):
            corner = rng.uniform(-10, 170, (count, 2))
            boxes.append(tensor(np.concatenate([corner, corner + rng.uniform(4, 60, (count, 2))], axis=1)))
        match, label = BlockMaxIoUAssigner(assigner).of_images(anchors, boxes)
        assert match.shape == label.shape == [4, 1728]
        for i, of_image in enumerate(boxes):
            expected_match, expected = (one.numpy() for one in assigner(anchors, of_image))
            np.testing.assert_array_equal(label[i].numpy(), expected)
            np.testing.assert_array_equal(match[i].numpy()[expected == 1], expected_match[expected == 1])
        assert (label == 1).sum(axis=1).astype("bool").tolist() == [True, False, True, True]

    @pytest.mark.parametrize(("most", "matrices"), [(1, 3), (2 * 2 * 1728, 2), (1 << 30, 1)])
    def test_size_of_a_matrix(self, monkeypatch, most, matrices):
        computed, iou = [], iou_matrix._iou
        monkeypatch.setattr(iou_matrix, "MOST_PAIRS", most)
        monkeypatch.setattr(iou_matrix, "_iou", lambda *given: computed.append(iou(*given)) or computed[-1])
        boxes = [tensor([[0, 0, 16, 16]]), tensor([[0, 0, 16, 16], [0, 0, 9, 9]]), tensor([])]
        assign_by_matrix(MaxIoUAssigner(0.5, 0.4), grid_of_anchors(), boxes)
        assert len(computed) == matrices


class TestAssignerFor:
    def test_max_iou(self):
        assert isinstance(
            assigner_for(MaxIoUAssigner(0.5, 0.4)), BlockMaxIoUAssigner if COMPARES_EXACTLY else MaxIoUAssigner
        )

    def test_a_paddle_that_does_not_compare_exactly(self, monkeypatch):
        monkeypatch.setattr(max_iou, "_compares_exactly", lambda: False)
        configured = MaxIoUAssigner(0.5, 0.4)
        assert assigner_for(configured) is configured

    def test_any_other(self):
        class Own(MaxIoUAssigner):
            pass

        own = Own(0.5, 0.4)
        assert assigner_for(own) is own
