"""FocalRetinaHead against ppdet's RetinaHead with ppdet's FocalLoss: the same losses, gradients and predictions."""

from __future__ import annotations

import math

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

import two_ranks
from paddle_limits import IS_PADDLE_2, needs_boxless_retina_head
from ppdet.core import workspace
from ppdet.modeling.losses import FocalLoss
from two_ranks import CLASSES, SIZE, STRIDES, create_head, head_outputs

from paddle_focal import SigmoidFocalLoss
from paddle_focal.detection import FocalRetinaHead
from paddle_focal.detection.assigners.anchor_targets import assign
from paddle_focal.detection.assigners.max_iou import BatchMaxIoUAssigner
from paddle_focal.detection.heads import retina_head
from paddle_focal.detection.heads.anchors import Anchors
from paddle_focal.ops import ladder

pytestmark = pytest.mark.usefixtures("workspace_copy")


@pytest.fixture
def on_backend(backend, monkeypatch):
    select = ladder.select
    monkeypatch.setattr(ladder, "select", lambda _, logit, loss: select(backend, logit, loss))


@pytest.fixture(params=["foreground only", "all anchors"])
def box_loss_over(request, monkeypatch):
    """The box loss as it is on the CPU, and as it is on a GPU."""
    if request.param == "all anchors":
        monkeypatch.setattr(retina_head, "kind", lambda tensor: "gpu")


def losses_and_gradients(head, outputs, targets) -> tuple[dict, list[np.ndarray]]:
    tensors = [*outputs[0], *outputs[1]]
    losses = head.get_loss(outputs, targets)
    losses["loss"].backward()
    gradients = [np.zeros(t.shape, "float32") if t.grad is None else t.grad.astype("float32").numpy() for t in tensors]
    for tensor in tensors:
        tensor.clear_gradient(set_to_zero=False)
    return {name: float(loss) for name, loss in losses.items()}, gradients


class TestSameAsRetinaHead:
    @pytest.mark.parametrize(
        "boxes",
        [[3, 2], *(pytest.param(boxes, marks=needs_boxless_retina_head) for boxes in ([0, 3], [2, 0, 0], [0, 0]))],
        ids=str,
    )
    def test_losses_and_gradients(self, on_backend, box_loss_over, rng, boxes):
        targets = two_ranks.batch(two_ranks.images(boxes))
        outputs = head_outputs(rng, len(boxes))
        expected = losses_and_gradients(create_head("RetinaHead"), outputs, targets)
        actual = losses_and_gradients(create_head("FocalRetinaHead"), outputs, targets)
        assert set(actual[0]) == set(expected[0])
        for name, loss in expected[0].items():
            assert actual[0][name] == pytest.approx(loss, rel=1e-5)
        for ours, theirs in zip(actual[1], expected[1]):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6 * np.abs(theirs).max())
        assert np.abs(actual[1][0]).max() > 0

    def test_with_other_settings(self, rng):
        targets = two_ranks.batch(two_ranks.images([3, 2]))
        outputs = head_outputs(rng, 2)
        options = {"weights": [10.0, 10.0, 5.0, 5.0], "loss_bbox": {"name": "SmoothL1Loss", "loss_weight": 3.0}}
        focal = {"alpha": 0.4, "gamma": 1.5, "loss_weight": 2.0}
        theirs = create_head("RetinaHead", **options, loss_class={"name": "FocalLoss", **focal})
        ours = create_head("FocalRetinaHead", **options, loss_class={"name": "SigmoidFocalLoss", **focal})
        expected, actual = losses_and_gradients(theirs, outputs, targets), losses_and_gradients(ours, outputs, targets)
        for name, loss in expected[0].items():
            assert actual[0][name] == pytest.approx(loss, rel=1e-5)
        for one, other in zip(actual[1], expected[1]):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6 * np.abs(other).max())

    def test_crowds_and_ignored_anchors_are_there(self, rng):
        # ppdet's RetinaHead takes a crowd's box like any other.
        targets = two_ranks.batch(two_ranks.images([3, 2]))
        targets["is_crowd"] = [paddle.to_tensor([[1], [0], [0]]), paddle.to_tensor([[0], [1]])]
        outputs = head_outputs(rng, 2)
        head = create_head("FocalRetinaHead")
        expected, _ = losses_and_gradients(create_head("RetinaHead"), outputs, targets)
        actual, gradients = losses_and_gradients(head, outputs, targets)
        assert actual["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        anchors = head._anchors(outputs[0]).boxes
        ignored = sum(int((head.bbox_assigner(anchors, boxes)[1] == -1).sum()) for boxes in targets["gt_bbox"])
        assert ignored > 0
        assert sum(int((gradient == 0).sum()) for gradient in gradients[: len(STRIDES)]) == ignored * CLASSES

    def test_any_index_may_stand_for_ignored_anchors(self, rng):
        targets, outputs = two_ranks.batch(two_ranks.images([3, 2])), head_outputs(rng, 2)
        expected = losses_and_gradients(create_head("FocalRetinaHead"), outputs, targets)
        loss = {"name": "SigmoidFocalLoss", "ignore_index": 255}
        actual = losses_and_gradients(create_head("FocalRetinaHead", loss_class=loss), outputs, targets)
        assert actual[0] == expected[0]

    def test_checkpoints_and_predictions(self, rng):
        theirs, ours = create_head("RetinaHead"), create_head("FocalRetinaHead", normalizer="ema")
        state = theirs.state_dict()
        assert {name: list(value.shape) for name, value in ours.state_dict().items()} == {
            name: list(value.shape) for name, value in state.items()
        }
        missing, unexpected = ours.set_state_dict(state)
        assert (missing, unexpected) == ([], [])
        features = [
            paddle.to_tensor(rng.normal(size=(2, 8, SIZE // stride, SIZE // stride)).astype("float32"))
            for stride in STRIDES
        ]
        predictions = []
        for head in (theirs, ours):
            head.eval()
            shape, scale = paddle.to_tensor([[SIZE, SIZE]] * 2, dtype="float32"), paddle.ones([2, 2])
            boxes, number, _ = head.post_process(head(features), shape, scale)
            predictions.append((boxes.numpy(), number.numpy()))
        assert predictions[0][1].sum() > 0
        for one, other in zip(*predictions):
            np.testing.assert_array_equal(one, other)


class TestLossStage:
    def test_half_precision(self, rng):
        targets = two_ranks.batch(two_ranks.images([3, 2]))
        outputs = head_outputs(rng, 2, "bfloat16")
        head = create_head("FocalRetinaHead")
        full = [[t.detach().astype("float32") for t in level] for level in outputs]
        for tensor in [*full[0], *full[1]]:
            tensor.stop_gradient = False
        actual, expected = losses_and_gradients(head, outputs, targets), losses_and_gradients(head, full, targets)
        assert actual[0]["loss"] == pytest.approx(expected[0]["loss"], rel=1e-5)
        # The gradients of the deltas go through Paddle's own cast, which in 2.6 cuts off instead of rounding.
        of_deltas = 2**-7 if IS_PADDLE_2 else 2**-8
        rounding = [2**-8] * len(STRIDES) + [of_deltas] * len(STRIDES)
        for half, whole, rtol in zip(actual[1], expected[1], rounding):
            np.testing.assert_allclose(half, whole, rtol=rtol, atol=1e-6 * np.abs(whole).max())

    def test_every_parameter_has_a_gradient_without_any_box(self, box_loss_over):
        model = two_ranks.SmallRetinaNet(create_head("FocalRetinaHead"))
        model(two_ranks.batch(two_ranks.images([0, 0])))["loss"].backward()
        gradients = two_ranks.gradients(model)
        assert set(gradients) == {name for name, _ in model.named_parameters()}
        assert np.abs(gradients["head.retina_reg.weight"]).max() == 0
        assert np.abs(gradients["head.retina_cls.weight"]).max() > 0

    def test_one_normalizer_divides_both_losses(self, rng):
        targets = two_ranks.batch(two_ranks.images([3, 2]))
        outputs = head_outputs(rng, 2)
        head = create_head("FocalRetinaHead")
        anchors = head._anchors(outputs[0]).boxes
        count = sum(int((head.bbox_assigner(anchors, boxes)[1] == 1).sum()) for boxes in targets["gt_bbox"])
        local, _ = losses_and_gradients(head, outputs, targets)
        ema, _ = losses_and_gradients(create_head("FocalRetinaHead", normalizer="ema"), outputs, targets)
        for name in ("loss_cls", "loss_reg"):
            assert ema[name] == pytest.approx(local[name] * count / (0.9 * 100 + 0.1 * count), rel=1e-5)

    @pytest.mark.parametrize("beyond", [0, 1])
    def test_class_out_of_range(self, rng, beyond):
        # The loss alone would take the first of these classes for background.
        targets = two_ranks.batch(two_ranks.images([3, 2]))
        targets["gt_class"][0][0] = CLASSES + beyond
        with pytest.raises(ValueError, match="gt_class must be") as error:
            create_head("FocalRetinaHead").get_loss(head_outputs(rng, 2), targets)
        assert str(error.value) == (
            f"gt_class must be in [0, 3], but it contains {CLASSES + beyond}: the data set has more categories than "
            "num_classes, which is 4"
        )

    def test_alpha_of_another_number_of_classes(self, rng):
        loss = {"name": "SigmoidFocalLoss", "alpha": [0.25, 0.5, 0.75]}
        head = create_head("FocalRetinaHead", loss_class=loss)
        with pytest.raises(ValueError, match="alpha must be one number or 4 numbers, one per class, but got 3"):
            head.get_loss(head_outputs(rng, 1), two_ranks.batch(two_ranks.images([1])))


class TestAnchors:
    def test_computed_once_for_each_size_and_the_latest_kept(self):
        calls = []

        def generator(outputs):
            calls.append([tuple(output.shape[-2:]) for output in outputs])
            return [paddle.zeros([output.shape[-2] * output.shape[-1] * 3, 4]) for output in outputs]

        anchors = Anchors(generator, kept=2)
        small, large, third = ([paddle.zeros([1, 6, n, n + 1])] for n in (2, 3, 4))
        for outputs in (small, large, small, large):
            anchors(outputs)
        assert calls == [[(2, 3)], [(3, 4)]]
        for outputs in (third, large, small):
            anchors(outputs)
        assert calls == [[(2, 3)], [(3, 4)], [(4, 5)], [(2, 3)]]

    def test_sizes_of_equal_width_or_height_are_different(self):
        anchors = Anchors(lambda outputs: [paddle.zeros([math.prod(output.shape[-2:]), 4]) for output in outputs])
        for height, width in ((2, 4), (3, 4), (2, 5)):
            assert len(anchors([paddle.zeros([1, 1, height, width])]).boxes) == height * width

    def test_the_least_recently_used_goes_first(self):
        calls = []

        def generator(outputs):
            calls.append(outputs[0].shape[-1])
            return [paddle.zeros([outputs[0].shape[-1], 4])]

        anchors = Anchors(generator, kept=2)
        for width in (1, 2, 1, 3, 1, 2):
            anchors([paddle.zeros([1, 1, 1, width])])
        assert calls == [1, 2, 3, 2]

    def test_32_sizes_are_kept(self):
        calls = []
        anchors = Anchors(lambda outputs: calls.append(outputs[0].shape[-1]) or [paddle.zeros([calls[-1], 4])])
        for width in (*range(1, 34), 2, 1):
            anchors([paddle.zeros([1, 1, 1, width])])
        assert calls == [*range(1, 34), 1]

    def test_kind_before_place(self):
        # Two kinds at each of 1 x 2 places, as ppdet orders them: place, then kind.
        generated = [paddle.to_tensor([[0, 0, 1, 1], [0, 0, 2, 2], [8, 0, 9, 1], [8, 0, 10, 2]], dtype="float32")]
        grid = Anchors(lambda outputs: generated)([paddle.zeros([1, 2, 1, 2])])
        assert grid.boxes.tolist() == [[0, 0, 1, 1], [8, 0, 9, 1], [0, 0, 2, 2], [8, 0, 10, 2]]
        assert grid.levels == [2]


class TestAssign:
    def test_rows_of_several_images(self):
        # Three images with 1, 2 and 2 boxes; each anchor is foreground of its image's last box, or background.
        def assigner(anchors, boxes):
            count = len(anchors)
            return paddle.full([count], len(boxes) - 1, "int64"), paddle.to_tensor([1, 0, -1], dtype="int32")

        boxes = [np.arange(4 * count).reshape(count, 4) + 100 * count for count in (1, 2, 2)]
        classes = [[[0]], [[1], [2]], [[3], [4]]]
        target = assign(
            assigner,
            paddle.zeros([3, 4]),
            [paddle.to_tensor(one.astype("float32")) for one in boxes],
            [paddle.to_tensor(np.array(one, "int32")) for one in classes],
            num_classes=7,
            ignore_index=-5,
        )
        assert target.label.tolist() == [[0, 7, -5], [2, 7, -5], [4, 7, -5]]
        assert target.is_foreground.tolist() == [[True, False, False]] * 3
        assert target.row.tolist() == [[0, 5, 5], [2, 5, 5], [4, 5, 5]]
        for image, last in enumerate(one[-1] for one in boxes):
            assert target.boxes[target.row[image, 0]].tolist() == last.tolist()


class TestConfiguration:
    def test_takes_what_it_does_not_say_from_retina_head(self):
        create_head("RetinaHead", prior_prob=0.05, nms_pre=77, loss_class={"name": "SigmoidFocalLoss", "gamma": 1.5})
        workspace.merge_config({"FocalRetinaHead": {"nms_pre": 55, "normalizer": "sync"}})
        head = workspace.create("FocalRetinaHead")
        assert isinstance(head, FocalRetinaHead)
        assert (head.nms_pre, head.normalizer.mode, head.loss_class.gamma, head.num_classes) == (
            55,
            "sync",
            1.5,
            CLASSES,
        )
        assert float(head.retina_cls.bias[0]) == pytest.approx(np.log(0.05 / 0.95), rel=1e-6)

    @pytest.mark.parametrize(
        ("key", "hint"), [("normaliser", "; did you mean 'normalizer'?"), ("zzz", ".")], ids=["close", "of none"]
    )
    def test_unknown_key(self, key, hint):
        with pytest.raises(ValueError, match="FocalRetinaHead has no key") as error:
            create_head("FocalRetinaHead", **{key: "sync"})
        keys = (
            "num_classes, conv_feat, anchor_generator, bbox_assigner, loss_class, loss_bbox, nms, prior_prob, nms_pre, "
            "weights, normalizer, is_inference_output"
        )
        assert str(error.value) == f"FocalRetinaHead has no key {key!r}{hint} Its keys are {keys}."

    def test_bad_normalizer(self):
        with pytest.raises(ValueError, match=r"normalizer must be one of .* got 'global'"):
            create_head("FocalRetinaHead", normalizer="global")

    def test_another_loss_is_refused(self):
        with pytest.raises(TypeError) as error:
            create_head("FocalRetinaHead", loss="FocalLoss")
        assert str(error.value) == (
            "FocalRetinaHead needs loss_class: {name: SigmoidFocalLoss}, which reads the classes along any axis, but "
            "got FocalLoss; with another loss_class use RetinaHead"
        )
        assert isinstance(create_head("RetinaHead", loss="FocalLoss").loss_class, FocalLoss)

    def test_dividing_twice_is_refused(self):
        head = create_head("FocalRetinaHead")
        parts = (head.conv_feat, head.anchor_generator, head.bbox_assigner)
        with pytest.raises(ValueError, match="normalizer") as error:
            FocalRetinaHead(CLASSES, *parts, loss_class=SigmoidFocalLoss(normalizer="foreground"))
        assert str(error.value) == (
            "the normalizer of loss_class is 'foreground', but FocalRetinaHead itself divides the losses by the number "
            "of foreground anchors: set the normalizer of FocalRetinaHead instead"
        )
        with pytest.raises(ValueError, match="normalizer") as error:
            create_head("FocalRetinaHead", loss_class={"name": "SigmoidFocalLoss", "normalizer": "foreground"})
        assert str(error.value) == (
            "SigmoidFocalLoss.normalizer is 'foreground', but FocalRetinaHead itself divides the classification loss "
            "by the number of foreground anchors: it would be divided twice. Remove normalizer from the loss_class of "
            "FocalRetinaHead."
        )

    def test_a_head_that_is_not_used_does_not_matter(self):
        create_head("FocalRetinaHead")
        workspace.merge_config(
            {"architecture": "PETR", "PETR": {}, "SigmoidFocalLoss": {"normalizer": "foreground_sync"}}
        )
        assert workspace.create("SigmoidFocalLoss").foreground_normalizer.mode == "sync"


def test_the_anchors_of_all_images_are_assigned_at_once():
    assert isinstance(create_head("FocalRetinaHead")._assigner, BatchMaxIoUAssigner)
