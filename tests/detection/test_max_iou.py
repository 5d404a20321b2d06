"""The assignment by each of its ways against ppdet's own, which compares all boxes and anchors, and numbers by hand."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from native_library import IS_BUILT
from ppdet.modeling.assigners import MaxIoUAssigner

from paddle_focal.detection.assigners import iou_matrix
from paddle_focal.detection.assigners.anchor_targets import AnchorTargets, assign
from paddle_focal.detection.assigners.iou_matrix import assign_by_matrix
from paddle_focal.detection.assigners.max_iou import BatchMaxIoUAssigner, assigner_for
from paddle_focal.ops import ladder
from paddle_focal.ops.native import assignment

BACKGROUND, IGNORED = 10_000, -7


def tensor(rows) -> paddle.Tensor:
    return paddle.to_tensor(np.asarray(rows, "float32").reshape([-1, 4]))


def grid_of_anchors(sizes=(16, 24, 40), stride: int = 8, places: int = 24) -> paddle.Tensor:
    y, x = np.mgrid[:places, :places].reshape(2, -1) * stride + stride / 2
    levels = [np.stack([x - s / 2, y - s / 2, x + s / 2, y + s / 2], axis=1) for s in sizes]
    return tensor(np.concatenate(levels))


def random_boxes(rng, count: int, smallest=4, largest=60) -> paddle.Tensor:
    corner = rng.uniform(-10, 170, (count, 2))
    return tensor(np.concatenate([corner, corner + rng.uniform(smallest, largest, (count, 2))], axis=1))


def targets_of(assigner, anchors, images, dtype="int32") -> AnchorTargets:
    """Of boxes whose classes are 100, 101, ..., from the first image on."""
    ends = np.cumsum([0, *map(len, images)])
    classes = [
        paddle.to_tensor(np.arange(start, end, dtype=dtype)[:, None] + 100) for start, end in zip(ends, ends[1:])
    ]
    return assign(BatchMaxIoUAssigner(assigner), anchors, images, classes, BACKGROUND, IGNORED)


def assert_same_assignment(assigner: MaxIoUAssigner, anchors: paddle.Tensor, *images: paddle.Tensor) -> np.ndarray:
    """Returns 1, 0 or -1 of each anchor of the last image."""
    target = targets_of(assigner, anchors, images)
    assert target.row.shape == target.label.shape == target.is_foreground.shape == [len(images), len(anchors)]
    start, total = 0, sum(map(len, images))
    for i, boxes in enumerate(images):
        match, label = (one.numpy() for one in assigner(anchors, boxes))
        row = np.where(label == 1, match + start, total)
        np.testing.assert_array_equal(target.is_foreground[i].numpy(), label == 1)
        np.testing.assert_array_equal(target.row[i].numpy(), row)
        wanted = np.where(label == 1, row + 100, np.where(label == 0, BACKGROUND, IGNORED))
        np.testing.assert_array_equal(target.label[i].numpy(), wanted)
        start += len(boxes)
    return label


@pytest.fixture(params=["library", "kernels", "operators"])
def way(request, monkeypatch):
    """Of the native library on the CPU, that of its kernels for GPUs, and Paddle's operators."""
    if request.param == "operators":
        monkeypatch.setattr(ladder, "assigns", lambda anchors: False)
    elif not IS_BUILT:
        pytest.skip("the native library has not been built")
    host_gpu = request.getfixturevalue("host_gpu") if request.param == "kernels" else None
    monkeypatch.setattr(iou_matrix, "_iou", _guarded(iou_matrix._iou, request.param == "operators"))
    yield request.param
    assert host_gpu is None or host_gpu.driver.launch_count()


def _guarded(function, is_allowed):
    def call(*arguments):
        assert is_allowed, "a matrix of all boxes and anchors"
        return function(*arguments)

    return call


@pytest.mark.usefixtures("way")
class TestSameAsMaxIoUAssigner:
    @pytest.mark.parametrize("allow_low_quality", [True, False])
    @pytest.mark.parametrize("count", [0, 1, 7, 100])
    def test_random_boxes(self, rng, count, allow_low_quality):
        assigner = MaxIoUAssigner(0.5, 0.4, allow_low_quality)
        label = assert_same_assignment(assigner, grid_of_anchors(), random_boxes(rng, count))
        assert count < 7 or set(label.tolist()) == {-1, 0, 1}

    def test_several_images(self, rng):
        """Of which two have no boxes."""
        images = [random_boxes(rng, count) for count in (3, 0, 20, 0, 1)]
        label = assert_same_assignment(MaxIoUAssigner(0.5, 0.4), grid_of_anchors(), *images)
        assert (label == 1).any()

    def test_several_anchors_are_the_best_of_a_box(self):
        # Boxes centred between anchors: two or four of them overlap equally; the last box is there twice.
        boxes = tensor([[4, 0, 20, 16], [44, 44, 52, 52], [44, 44, 52, 52]])
        label = assert_same_assignment(MaxIoUAssigner(0.9, 0.1), grid_of_anchors(sizes=(16,)), boxes)
        assert (label == 1).sum() > 3

    def test_anchors_that_are_nearly_the_best(self, rng):
        """Inside of a large box all have the same IoU but for rounding, which Paddle 2.6 overlooks."""
        corner = rng.uniform(0, 30, (20, 2))
        boxes = tensor(np.concatenate([corner, corner + rng.uniform(90, 150, (20, 2))], axis=1))
        label = assert_same_assignment(MaxIoUAssigner(0.5, 0.4), grid_of_anchors() + 0.3, boxes)
        assert (label == 1).sum() >= 20

    def test_boxes_without_area_outside_or_inverted(self):
        boxes = tensor([[30, 30, 30, 30], [900, 900, 950, 950], [60, 60, 20, 20], [8, 8, 30, 30], [0, 0, 0, 0]])
        assert_same_assignment(MaxIoUAssigner(0.5, 0.4), grid_of_anchors(), boxes)

    def test_boxes_that_touch_few_anchors_and_little(self, rng):
        """Overlaps of less than a pixel, one way or both, and none; the thresholds tell them apart."""
        boxes = random_boxes(rng, 9, 0.1, 3)
        for thresholds in ((0.01, 0.001), (0.003, 0.003), (1e-4, 1e-5)):
            label = assert_same_assignment(MaxIoUAssigner(*thresholds, False), grid_of_anchors(), boxes)
            assert {0, 1} <= set(label.tolist())

    def test_equal_thresholds(self, rng):
        assert -1 not in assert_same_assignment(MaxIoUAssigner(0.5, 0.5), grid_of_anchors(), random_boxes(rng, 5))

    @pytest.mark.parametrize(("positive", "negative"), [(0.5, 0.25), (0.75, 0.5), (0.25, 0.25)])
    def test_exactly_at_a_threshold(self, positive, negative):
        # IoU 1/4, 1/2 and 3/4 without rounding: the upper threshold is foreground, the lower one is not background.
        anchors = tensor([[0, 0, width, 16] for width in (4, 8, 12)])
        label = assert_same_assignment(
            MaxIoUAssigner(positive, negative, allow_low_quality=False), anchors, tensor([[0, 0, 16, 16]])
        )
        assert label.tolist() == [1 if iou >= positive else 0 if iou < negative else -1 for iou in (0.25, 0.5, 0.75)]

    @pytest.mark.parametrize("dtype", ["int32", "int64"])
    def test_by_hand(self, dtype):
        # IoU with the first box: 1, 1/3 and 0; with the second 0, 0 and 1/4, its best.
        anchors = tensor([[0, 0, 10, 10], [5, 0, 15, 10], [100, 0, 110, 10]])
        boxes = tensor([[0, 0, 10, 10], [100, 0, 105, 5]])
        target = targets_of(MaxIoUAssigner(0.5, 0.3), anchors, [boxes[:0], boxes], dtype)
        assert target.label.tolist() == [[BACKGROUND] * 3, [100, IGNORED, 101]]
        assert target.row.tolist() == [[2, 2, 2], [0, 2, 1]]
        assert target.boxes.tolist() == [*boxes.tolist(), anchors[0].tolist()]
        assert target.label.dtype == getattr(paddle, dtype)

    def test_more_images_than_a_launch_takes(self, rng):
        """Every image has the box of one anchor, the last one has none."""
        anchors = tensor([[8 * i, 0, 8 * i + 8, 8] for i in range(40)])
        chosen = rng.integers(0, 40, 600)
        images = [anchors[int(i) : int(i) + 1] for i in chosen]
        target = targets_of(MaxIoUAssigner(0.5, 0.4), anchors, [*images, anchors[:0]])
        expected = np.full((601, 40), BACKGROUND)
        expected[np.arange(600), chosen] = np.arange(600) + 100
        np.testing.assert_array_equal(target.label.numpy(), expected)


def test_classes_of_another_type():
    anchors = tensor([[0, 0, 10, 10], [5, 0, 15, 10], [100, 0, 110, 10]])
    target = targets_of(MaxIoUAssigner(0.5, 0.3), anchors, [anchors[:1]], "float32")
    assert target.label.tolist() == [[100, IGNORED, BACKGROUND]]
    assert target.label.dtype == paddle.float32


def test_size_of_a_matrix(monkeypatch):
    boxes = [tensor([[0, 0, 16, 16]]), tensor([[0, 0, 16, 16], [0, 0, 9, 9]]), tensor([])]
    expected = [one.tolist() for one in assign_by_matrix(MaxIoUAssigner(0.5, 0.4), grid_of_anchors(), boxes)]
    for most, matrices in ((1, 3), (2 * 2 * 1728, 2), (1 << 30, 1)):
        computed, iou = [], iou_matrix._iou
        with monkeypatch.context() as patch:
            patch.setattr(iou_matrix, "MOST_PAIRS", most)
            patch.setattr(iou_matrix, "_iou", lambda *given: computed.append(iou(*given)) or computed[-1])  # noqa: B023
            actual = assign_by_matrix(MaxIoUAssigner(0.5, 0.4), grid_of_anchors(), boxes)
        assert len(computed) == matrices
        assert [one.tolist() for one in actual] == expected


class TestKernels:
    def test_a_launch_for_each_pass(self, host_gpu, rng):
        """None of the first pass where no box needs it."""
        boxes, anchors = random_boxes(rng, 5), grid_of_anchors()
        targets_of(MaxIoUAssigner(0.5, 0.4), anchors, [boxes])
        for keeps_best, count, launches in ((True, 5, 2), (False, 5, 1), (True, 0, 1)):
            before = host_gpu.driver.launch_count()
            targets_of(MaxIoUAssigner(0.5, 0.4, keeps_best), anchors, [boxes[:count], boxes[:0]])
            assert host_gpu.driver.launch_count() - before == launches

    def test_wrong_numbers(self, host_gpu, monkeypatch, rng):
        right = assignment.assign
        monkeypatch.setattr(assignment, "assign", lambda rule, *given: right(rule._replace(negative=0.2), *given))
        assert assignment.reason_against(tensor([])) is None
        host_gpu.forget()
        monkeypatch.setattr(assignment, "assign", lambda rule, *given: right(rule._replace(negative=0.35), *given))
        with pytest.warns(UserWarning, match="kernels for GPUs compute wrong numbers on GPU 0"):
            assert_same_assignment(MaxIoUAssigner(0.5, 0.4), grid_of_anchors(), random_boxes(rng, 5))

    def test_a_launch_that_fails(self, host_gpu):
        targets_of(MaxIoUAssigner(0.5, 0.4), grid_of_anchors(), [tensor([])])
        host_gpu.fail("cuLaunchKernel", 719)
        with pytest.raises(RuntimeError, match="cuLaunchKernel of focal_label_anchors: unspecified launch failure"):
            targets_of(MaxIoUAssigner(0.5, 0.4), grid_of_anchors(), [tensor([])])


class TestAssignerFor:
    def test_max_iou(self):
        assert isinstance(assigner_for(MaxIoUAssigner(0.5, 0.4)), BatchMaxIoUAssigner)

    def test_any_other(self):
        class Own(MaxIoUAssigner):
            pass

        own = Own(0.5, 0.4)
        assert assigner_for(own) is own
