"""FCOS's loss compared with PaddleDetection's."""

from __future__ import annotations

import contextlib

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from replaced_components import CLASSES, create_pair

pytestmark = pytest.mark.usefixtures("workspace_copy")
SIDES = (4, 2)


def drawn(rng, is_positive: bool = True) -> tuple[list, list]:
    """Predictions and targets on two levels: logits, boxes, quality; labels, boxes, centerness."""

    def of_levels(channels, dtype="float32"):
        return [rng.uniform(0.1, 3, (2, side, side, channels)).astype(dtype) for side in SIDES]

    predictions = [[level.transpose(0, 3, 1, 2) - 1 for level in of_levels(CLASSES)]]
    predictions += [[level.transpose(0, 3, 1, 2) for level in of_levels(channels)] for channels in (4, 1)]
    labels = [rng.integers(0, CLASSES + 1, (2, side, side, 1)).astype("int32") for side in SIDES]
    labels[0][0] = 0
    centerness = [level / 3 for level in of_levels(1)]
    return predictions, [[label * is_positive for label in labels], of_levels(4), centerness]


def run(loss, predictions, targets, strides=None) -> tuple[dict, list[np.ndarray]]:
    """The losses, and the gradients of their sum. With strides the targets are a teacher's predictions."""
    predictions = [[paddle.to_tensor(level, stop_gradient=False) for level in levels] for levels in predictions]
    targets = [[paddle.to_tensor(level) for level in levels] for levels in targets]
    losses = loss(predictions, [*targets, strides]) if strides else loss(*predictions, *targets)
    paddle.add_n(list(losses.values())).backward()
    gradients = [level.grad.numpy() for levels in predictions for level in levels]
    return {name: float(one) for name, one in losses.items()}, gradients


def assert_same(stock, ours, *batch) -> None:
    (expected, expected_gradients), (losses, gradients) = run(stock, *batch), run(ours, *batch)
    assert losses == pytest.approx(expected, rel=1e-5)
    for gradient, one in zip(gradients, expected_gradients):
        np.testing.assert_allclose(gradient, one, rtol=1e-4, atol=1e-7)


def rows(levels) -> np.ndarray:
    """The predictions of all places, in float64."""
    return np.concatenate([level.transpose(0, 2, 3, 1).reshape(-1, level.shape[1]) for level in levels]).astype(float)


@pytest.mark.parametrize("iou_loss_type", ["giou", "linear_iou"])
@pytest.mark.parametrize("quality", ["centerness", "iou"])
def test_same_as_ppdet(rng, quality, iou_loss_type):
    stock, ours = create_pair("FCOSLoss", quality=quality, iou_loss_type=iou_loss_type)
    assert_same(stock, ours, *drawn(rng))


def test_no_positives(rng):
    """PaddleDetection divides by their number."""
    stock, ours = create_pair("FCOSLoss")
    batch = drawn(rng, is_positive=False)
    assert not np.isfinite(list(run(stock, *batch)[0].values())).any()
    losses, gradients = run(ours, *batch)
    logit = rows(batch[0][0])
    expected = (0.75 / (1 + np.exp(-logit)) ** 2 * np.logaddexp(0, logit)).sum()
    assert losses["loss_cls"] == pytest.approx(expected, rel=1e-5)
    assert (losses["loss_box"], losses["loss_quality"]) == (0, 0)
    assert all(gradient.any() for gradient in gradients[:2])
    assert not any(gradient.any() for gradient in gradients[2:])


def test_logarithm_of_iou(rng):
    """PaddleDetection takes it of the background's, too, which are set to 0."""
    stock, ours = create_pair("FCOSLoss", iou_loss_type="iou", quality="iou")
    predictions, targets = drawn(rng)
    targets[1] = [level.transpose(0, 2, 3, 1) + 1 for level in predictions[1]]
    assert np.isnan(run(stock, predictions, targets)[0]["loss_box"])
    box = rows(predictions[1])[np.concatenate([label.ravel() > 0 for label in targets[0]])]
    area, target = ((side[:, 0] + side[:, 2]) * (side[:, 1] + side[:, 3]) for side in (box, box + 1))
    expected = np.log((target + 1) / (area + 1)).mean()
    assert run(ours, predictions, targets)[0]["loss_box"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.6, [0.1, 0.2, 0.3, 0.4, 0.5]])
def test_alpha_and_gamma_count(rng, alpha):
    """PaddleDetection's loss has 0.25 and 2 whatever is set."""
    stock, ours = create_pair("FCOSLoss", loss_alpha=alpha, loss_gamma=1.0)
    predictions, targets = drawn(rng)
    label = np.concatenate([level.ravel() for level in targets[0]])
    target = np.eye(CLASSES + 1)[label][:, 1:]
    signed = (2 * target - 1) * rows(predictions[0])
    losses = np.logaddexp(0, -signed) / (1 + np.exp(signed)) * np.where(target, alpha, 1 - np.array(alpha))
    expected = losses.sum() / (label > 0).sum()
    assert run(ours, predictions, targets)[0]["loss_cls"] == pytest.approx(expected, rel=1e-5)
    assert run(stock, predictions, targets)[0]["loss_cls"] != pytest.approx(expected, rel=0.1)


def test_half_supervised_with_labels(rng):
    stock, ours = create_pair("FCOSLossMILC")
    assert_same(stock, ours, *drawn(rng))
    predictions, targets = drawn(rng, is_positive=False)
    with contextlib.suppress(RuntimeError):  # of Paddle 2.6, for empty tensors
        assert not np.isfinite(list(run(stock, predictions, targets)[0].values())).all()
    losses, gradients = run(ours, predictions, targets)
    prob = 1 / (1 + np.exp(-rows(predictions[0]))) / (1 + np.exp(-rows(predictions[2])))
    assert losses["loss_cls"] == pytest.approx(-(0.75 * prob**2 * np.log1p(-prob)).sum(), rel=1e-5)
    assert (losses["loss_box"], losses["loss_iou"]) == (0, 0)
    assert [bool(gradient.any()) for gradient in gradients] == [True, True, False, False, True, True]
    assert not ours.state_dict()


def test_half_supervised_by_a_teacher(rng):
    stock, ours = create_pair("FCOSLossCR")
    assert_same(stock, ours, drawn(rng)[0], drawn(rng)[0], (8, 16))


@pytest.mark.parametrize("alpha", [0.75, [0.25, 0.5]])
def test_products_of_large_probabilities(alpha):
    """PaddleDetection's have no gradient: 1 - p is 0 in float32."""
    stock, ours = create_pair("FCOSLossCR", own={"alpha": alpha, "gamma": 1.5})

    def run(loss, value):
        logit = paddle.full([1, 2], value)
        logit.stop_gradient = False
        target, quality = paddle.zeros([1, 2]), paddle.full([1, 1], value)
        total = loss.quality_focal_loss(logit, target, quality=quality, weights=paddle.ones([1]), avg_factor=2.0)
        total.backward()
        return float(total), logit.grad.numpy()

    assert not run(stock, 20.0)[1].any()
    total, gradient = run(ours, 20.0)
    np.testing.assert_allclose(gradient[0], np.array(alpha) / 2 / 2, rtol=1e-5)  # half of it is the quality's
    assert total == pytest.approx(np.mean(alpha) * (20 - np.log(2)))
    assert run(ours, 0.0)[0] == pytest.approx(-np.mean(alpha) * 0.25**1.5 * np.log(0.75))
