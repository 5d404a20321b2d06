"""PP-YOLOE's heads compared with PaddleDetection's."""

from __future__ import annotations

import random

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from ppdet.core import workspace
from ppdet.modeling.assigners import rotated_task_aligned_assigner
from ppdet.modeling.losses.supcontrast import SupContrast
from replaced_components import (
    BOXES,
    assert_finite,
    assert_same,
    create_pair,
    levels,
    losses_and_gradients,
    padded_boxes,
    skip_if_it_fails,
)

from paddle_focal.detection.replacement import outputs_of

pytestmark = pytest.mark.usefixtures("workspace_copy")
STRIDES = (32, 16, 8)


@pytest.mark.parametrize("boxes", BOXES)
@pytest.mark.parametrize("epoch", [0, 10])  # of the static assigner, and of the other one
@pytest.mark.parametrize("use_varifocal_loss", [True, False])
def test_same_as_ppdet(rng, use_varifocal_loss, epoch, boxes):
    stock, ours = create_pair("PPYOLOEHead", STRIDES, use_varifocal_loss=use_varifocal_loss)
    features = [paddle.to_tensor(level) for level in levels(rng, STRIDES)]
    batch = {**padded_boxes(*BOXES[boxes]), "epoch_id": epoch}
    assert_same(stock, ours, lambda head: head(features, batch))
    assert_finite(ours, lambda head: {name: loss for name, loss in head(features, batch).items() if name != "loss_l1"})


@pytest.mark.parametrize("epoch", [0, 10])
def test_a_batch_without_padding(rng, epoch):
    """As readers make of images without boxes; the assigners of PaddleDetection 2.6.0 fail there."""
    stock, ours = create_pair("PPYOLOEHead", STRIDES)
    features = [paddle.to_tensor(level) for level in levels(rng, STRIDES)]
    padded = {**padded_boxes([], []), "epoch_id": epoch}
    bare = {**padded, **{name: padded[name][:, :0] for name in ("gt_bbox", "gt_class", "pad_gt_mask")}}
    assert_same(stock, ours, lambda head: head(features, padded if head is stock else bare))


def test_gradients_of_large_logits(rng):
    """Those of PaddleDetection are 0 at a background logit of 17, where the true one is that of the loss."""
    stock, ours = create_pair("PPYOLOEHead", STRIDES)
    features = [paddle.to_tensor(level) for level in levels(rng, STRIDES)]
    batch = {**padded_boxes([], []), "epoch_id": 10}
    bias = {}
    for head in (stock, ours):
        head.train()
        for conv in head.pred_cls:
            conv.weight.set_value(paddle.zeros_like(conv.weight))
            conv.bias.set_value(paddle.full_like(conv.bias, 17))
        losses = head(features, batch)
        losses["loss"].backward()
        bias[head] = np.stack([conv.bias.grad.numpy() for conv in head.pred_cls])
        count = np.array([[level.shape[2] * level.shape[3] * 2.0] for level in features])
    np.testing.assert_allclose(bias[stock], 0)
    np.testing.assert_allclose(bias[ours], np.broadcast_to(0.75 * count, bias[ours].shape), rtol=1e-5)


def test_own_keys(rng):
    own = {"alpha": [0.1, 0.2, 0.3, 0.4, 0.5], "gamma": 1.5, "detach_weight": True}
    _, ours = create_pair("PPYOLOEHead", STRIDES, own=own)
    assert {key: getattr(ours.loss_class, key) for key in own} == {**own, "alpha": tuple(own["alpha"])}


def test_scores_of_others_are_probabilities(rng):
    """An auxiliary head hands in scores of its own, of which no logits are known."""
    stock, ours = create_pair("PPYOLOEHead", STRIDES)
    features = [paddle.to_tensor(level) for level in levels(rng, STRIDES)]
    batch = {**padded_boxes(*BOXES["boxes"]), "epoch_id": 10}
    places = sum(level.shape[2] * level.shape[3] for level in features)
    scores = paddle.to_tensor(rng.uniform(0.1, 0.9, [2, places, 5]).astype("float32"))
    distances = paddle.to_tensor(rng.normal(size=[2, places, 68]).astype("float32"))
    assert_same(stock, ours, lambda head: head(features, batch, [scores, distances]))


def test_half_precision(rng):
    """Half of PaddleDetection's chain is NaN: sigmoid is 1 from a logit of 8.4 on, whose slope is 0."""
    logit = np.linspace(-60, 60, 2 * 5 * 16).astype("float16").reshape(2, 5, 4, 4)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        prob = 1 / (1 + np.exp(-logit))
        of_background = 0.75 * prob**2 / (1 - prob) * (prob * (1 - prob))  # by the chain rule
    assert prob.dtype == np.float16
    assert np.isnan(of_background).any()

    _, ours = create_pair("PPYOLOEHead", STRIDES)
    pred = paddle.to_tensor(logit, stop_gradient=False)
    label = paddle.to_tensor(rng.integers(0, 6, [2, 16]))
    dense = paddle.nn.functional.one_hot(label, 6)[..., :5] * 0.5
    ours._scores, ours._logits, ours._assigned = dense, [pred], [(label,)]
    ours._focal_loss(dense, dense).backward()
    assert pred.grad.dtype == paddle.float16
    assert np.isfinite(pred.grad.numpy()).all()
    is_background = (dense.numpy() == 0).transpose(0, 2, 1).reshape(logit.shape)
    x = logit[is_background].astype("float64")
    p, softplus = 1 / (1 + np.exp(-x)), np.logaddexp(0, x)
    expected = 0.75 * p**2 * (2 * (1 - p) * softplus + p)
    np.testing.assert_allclose(pred.grad.numpy()[is_background], expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("boxes", BOXES)
@pytest.mark.parametrize("use_varifocal_loss", [True, False])
def test_contrast_head(rng, monkeypatch, use_varifocal_loss, boxes):
    """With a stand-in for the contrast loss, which fails with Paddle 3."""
    monkeypatch.setattr(SupContrast, "forward", lambda _, features, *others: features.square().mean())
    weight = {"class": 1.0, "iou": 2.5, "dfl": 0.5, "contrast": 0.2}
    keys = {"use_varifocal_loss": use_varifocal_loss, "loss_weight": weight}
    stock, ours = create_pair("PPYOLOEContrastHead", STRIDES, **keys)
    features = [paddle.to_tensor(level) for level in levels(rng, STRIDES)]
    batch = {**padded_boxes(*BOXES[boxes]), "epoch_id": 10}
    assert_same(stock, ours, lambda head: head(features, batch))
    assert_finite(ours, lambda head: head(features, batch))


class TestContrastLoss:
    def run(self, rng, score):
        """The loss and its gradient, with the same samples of the background."""
        features = rng.normal(size=[20, 4]).astype("float32")
        labels = paddle.to_tensor([0] * 3 + [1] * 3 + [5] * 14)
        scores = paddle.to_tensor(np.full(20, score, "float32"))

        def results(loss):
            random.seed(0)
            tensor = paddle.to_tensor(features, stop_gradient=False)
            value = loss(tensor, labels, scores)
            value.backward()
            return value.numpy(), tensor.grad.numpy()

        return results

    def test_same_as_ppdet(self, rng):
        stock, ours = create_pair("SupContrast", sample_num=12)
        run = self.run(rng, score=0.9)
        skip_if_it_fails(lambda: run(stock))
        for expected, found in zip(run(stock), run(ours)):
            np.testing.assert_array_equal(found, expected)

    def test_definition(self, rng):
        """Of all samples; PaddleDetection multiplies by booleans, which fails with Paddle 3."""
        loss, _ = self.run(rng, score=0.9)(create_pair("SupContrast", sample_num=20)[1])
        features = np.random.default_rng(20).normal(size=[20, 4])
        labels = np.array([0] * 3 + [1] * 3 + [5] * 14)
        similarity = features @ features.T / 2.5
        is_other = 1 - np.eye(20)
        log_prob = similarity - np.log((np.exp(similarity) * is_other).sum(1, keepdims=True))
        is_same = labels[:, None] == labels
        expected = -((log_prob * is_other * is_same).sum(1) / is_same.sum(1)).mean()
        np.testing.assert_allclose(float(loss), expected, rtol=1e-5)

    def test_no_sure_boxes(self, rng):
        """PaddleDetection takes the mean of nothing."""
        stock, ours = create_pair("SupContrast", sample_num=12)
        run = self.run(rng, score=0.7)
        loss, gradient = run(ours)
        assert loss == 0
        np.testing.assert_array_equal(gradient, np.zeros([20, 4]))
        with pytest.raises((TypeError, ValueError)):  # of Paddle 3 and of 2.6
            run(stock)


class TestInsHead:
    def run(self, rng, boxes):
        features = [paddle.to_tensor(level) for level in levels(rng, STRIDES)]
        batch = padded_boxes(*BOXES[boxes])
        segments = rng.integers(0, 2, [*batch["gt_class"].shape[:2], 128, 128]).astype("float32")
        lists = {name: list(batch[name]) for name in ("gt_bbox", "gt_class", "pad_gt_mask")}
        lists["gt_segm"] = list(paddle.to_tensor(segments))
        return lambda head: head(features, lists)

    @pytest.mark.parametrize("boxes", BOXES)
    def test_same_as_ppdet(self, rng, boxes):
        stock, ours = create_pair("PPYOLOEInsHead", STRIDES, num_protos=4)
        run = self.run(rng, boxes)
        assert_same(stock, ours, run)
        assert_finite(ours, run)

    @pytest.mark.parametrize("rows", [1, 0])
    def test_masks_as_the_reader_leaves_them(self, rng, rows):
        """Those of an image without boxes have no sides, and without any boxes there is no row of padding, either."""
        stock, ours = create_pair("PPYOLOEInsHead", STRIDES, num_protos=4)
        features = [paddle.to_tensor(level) for level in levels(rng, STRIDES)]
        batch = padded_boxes(*BOXES["an empty image" if rows else "no boxes"])
        lists = {name: list(batch[name]) for name in ("gt_bbox", "gt_class", "pad_gt_mask")}
        masks = [paddle.ones([1, 128, 128]), paddle.zeros([1, 128, 128])] if rows else [paddle.zeros([1, 9, 9])] * 2
        expected, gradients = losses_and_gradients(stock, lambda head: head(features, {**lists, "gt_segm": masks}))
        as_read = {name: [one[:rows] for one in values] for name, values in lists.items()}
        as_read["gt_segm"] = [masks[0], paddle.zeros([1, 0])] if rows else [paddle.zeros([0])] * 2
        with pytest.raises(ValueError):  # noqa: PT011
            stock(features, as_read)
        found, ours_gradients = losses_and_gradients(ours, lambda head: head(features, as_read))
        assert found == pytest.approx(expected, rel=1e-4)
        for name, gradient in gradients.items():
            if gradient is not None:
                np.testing.assert_allclose(ours_gradients[name], gradient, rtol=1e-4, atol=1e-5, err_msg=name)

    def test_without_varifocal_loss(self, rng):
        """PaddleDetection calls its own function with a parameter that it does not have."""
        stock, ours = create_pair("PPYOLOEInsHead", STRIDES, num_protos=4, use_varifocal_loss=False)
        run = self.run(rng, "boxes")
        with pytest.raises(TypeError, match="alpha_l"):
            run(stock)
        with outputs_of(ours.pred_cls) as logits, outputs_of([ours.assigner]) as assigned:
            loss = run(ours)["loss_cls"]
        score = assigned[0][2].numpy().astype("float64")
        prob = paddle.nn.functional.sigmoid(paddle.concat([one.flatten(2) for one in logits], -1).astype("float64"))
        prob = prob.numpy().transpose(0, 2, 1)
        entropy = -score * np.log(prob) - (1 - score) * np.log1p(-prob)
        np.testing.assert_allclose(float(loss), ((prob - score) ** 2 * entropy).sum() / score.sum().clip(1), rtol=1e-5)


@pytest.mark.parametrize("boxes", BOXES)
@pytest.mark.parametrize("use_varifocal_loss", [True, False])
def test_rotated_boxes(rng, monkeypatch, use_varifocal_loss, boxes):
    """With a stand-in for the overlap of rotated boxes, which is an operator that PaddleDetection's users compile."""

    def overlap(boxes, predicted):
        distance = (boxes[:, :, None, :2] - predicted[:, None, :, :2]).square().sum(-1)
        return paddle.exp(-distance / 1000)

    monkeypatch.setattr(rotated_task_aligned_assigner, "rotated_iou_similarity", overlap)
    workspace.global_config["PPYOLOERHead"]["assigner"] = "RotatedTaskAlignedAssigner"
    keys = {"use_varifocal_loss": use_varifocal_loss, "static_assigner_epoch": -1, "angle_max": 4}
    stock, ours = create_pair("PPYOLOERHead", STRIDES, **keys)
    features = [paddle.to_tensor(level) for level in levels(rng, STRIDES)]
    batch = {**padded_boxes(*BOXES[boxes]), "epoch_id": 10}
    low, high = batch["gt_bbox"].split(2, axis=-1)
    angle = paddle.full_like(low[..., :1], 0.3)
    batch["gt_rbox"] = paddle.concat([(low + high) / 2, high - low, angle], -1)
    run = lambda head: head(features, batch)  # noqa: E731
    skip_if_it_fails(lambda: run(stock))
    assert_same(stock, ours, run)
    assert_finite(ours, run)
