"""SOLOv2's loss compared with PaddleDetection's."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from replaced_components import CLASSES, create_pair

pytestmark = pytest.mark.usefixtures("workspace_copy")


def drawn(rng, is_there: bool = True) -> tuple:
    """Masks on two levels, of three and no instances, with their labels; logits and labels of ten places."""
    masks, labels = rng.normal(size=(3, 4, 4)), rng.integers(0, 2, (1, 3, 4, 4))
    labels[0, 2] = 0  # as where an image has fewer instances than another
    classes = rng.integers(0, CLASSES + 1, 10)
    return masks.astype("float32"), is_there * labels, rng.normal(size=(10, CLASSES)).astype("float32"), classes


def run(loss, masks, mask_labels, logits, labels) -> tuple[tuple[float, float], list[np.ndarray]]:
    masks, logits = (paddle.to_tensor(one, stop_gradient=False) for one in (masks, logits))
    mask_labels = paddle.to_tensor(mask_labels.astype("uint8"))
    instances = paddle.to_tensor(4, "int64")
    loss_ins, loss_cate = loss([masks, None], [mask_labels, None], logits, paddle.to_tensor(labels), instances)
    (loss_ins.sum() + loss_cate).backward()
    return (float(loss_ins.sum()), float(loss_cate)), [masks.grad.numpy(), logits.grad.numpy()]


def test_same_as_ppdet(rng):
    stock, ours = create_pair("SOLOv2Loss", focal_loss_alpha=0.4, focal_loss_gamma=1.5)
    batch = drawn(rng)
    (expected, expected_gradients), (losses, gradients) = run(stock, *batch), run(ours, *batch)
    assert losses == pytest.approx(expected, rel=1e-5)
    for gradient, one in zip(gradients, expected_gradients):
        np.testing.assert_allclose(gradient, one, rtol=1e-4, atol=1e-7)


def test_no_instances(rng):
    stock, ours = create_pair("SOLOv2Loss")
    batch = drawn(rng, is_there=False)
    assert np.isnan(run(stock, *batch)[0][0])
    losses, gradients = run(ours, *batch)
    assert losses[0] == 0
    assert not gradients[0].any()
    assert np.isfinite(gradients[1]).all()


def test_head_without_masks(rng):
    """Where no level has any, PaddleDetection fails, and the kernels would get no gradients."""
    stock, ours = create_pair("SOLOv2Head", replaced=["SOLOv2Loss"], solov2_loss="SOLOv2Loss")
    grids = [4, 2]

    def run(head):
        logits, kernels = ([paddle.zeros([2, channels, grid, grid]) for grid in grids] for channels in (CLASSES, 4))
        features = paddle.ones([2, 4, 8, 8])
        for tensor in (*logits, *kernels, features):
            tensor.stop_gradient = False
        none = [paddle.zeros([2, 0], "int32") for _ in grids]
        labels = [paddle.zeros([2, grid * grid], "int64") for grid in grids]
        losses = head.get_loss(logits, kernels, features, none, labels, none, paddle.zeros([2], "int64"))
        paddle.add_n(list(losses.values())).backward()
        return losses, [tensor.grad for tensor in (*kernels, features)]

    with pytest.raises((ValueError, IndexError)):
        run(stock)
    losses, gradients = run(ours)
    assert float(losses["loss_ins"]) == 0
    # 40 places, each with five logits of probability 1/2 and target 0, divided by 0 instances + 1
    assert float(losses["loss_cate"]) == pytest.approx(40 * CLASSES * 0.75 * 0.25 * np.log(2), rel=1e-5)
    assert not any(gradient.numpy().any() for gradient in gradients)
