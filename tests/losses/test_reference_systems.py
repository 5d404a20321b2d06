"""The focal losses of other systems, each by its own definition in NumPy. tests/systems runs those that install."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from paddle_focal import SigmoidFocalLoss, SoftmaxFocalLoss, binary_focal_loss, sigmoid_focal_loss, softmax_focal_loss
from paddle_focal.data.class_balance import class_alpha

EXACT = {"rtol": 1e-12, "atol": 1e-300}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def textbook(p, y, alpha=None, gamma=2.0):
    """Elements of the loss as most systems write it, from probabilities and 0/1 targets."""
    p_t = np.where(y == 1, p, 1 - p)
    alpha_t = 1 if alpha is None else np.where(y == 1, alpha, 1 - np.asarray(alpha))
    return -alpha_t * (1 - p_t) ** gamma * np.log(p_t)


@pytest.fixture
def logit(rng):
    return rng.normal(scale=2, size=(6, 3))


@pytest.fixture
def label():
    return np.array([0, 3, 2, 3, 1, 0])  # 3 is background


@pytest.fixture
def target(label):
    return np.eye(4)[label][:, :3]


def tensors(*arrays):
    return [paddle.to_tensor(array) for array in arrays]


def test_paddle(backend, logit, target, rng):
    """F.sigmoid_focal_loss: its arguments in its order, and soft labels as it computes them."""
    soft = rng.uniform(size=target.shape)
    for y in (target, soft):
        x, y = tensors(logit, y)
        for reduction in ("none", "mean", "sum"):
            arguments = (x, y, paddle.to_tensor([2.0], dtype="float64"), 0.3, 1.5, reduction)
            ours, theirs = sigmoid_focal_loss(*arguments, backend=backend), F.sigmoid_focal_loss(*arguments)
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-9)


def test_paddledetection_focal_loss(logit, label):
    losses = pytest.importorskip("ppdet.modeling.losses")
    x, y = tensors(logit, label)
    for reduction in ("none", "mean", "sum"):
        ours = SigmoidFocalLoss(alpha=0.3, gamma=1.5, loss_weight=2.0)(x, y, reduction=reduction)
        theirs = losses.FocalLoss(alpha=0.3, gamma=1.5, loss_weight=2.0)(x, y, reduction=reduction)
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-9)


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 3), (18,)], ids=str)
def test_paddledetection_weighted_focal_loss(backend, logit, label, target, rng, shape):
    weight = rng.uniform(size=shape)
    loss = SigmoidFocalLoss(reduction="mean")(*tensors(logit, label, weight), avg_factor=5.0)
    weights = weight.reshape(6, -1)
    np.testing.assert_allclose(float(loss), (textbook(sigmoid(logit), target, 0.25) * weights).sum() / 5, **EXACT)


@pytest.mark.parametrize("kind", ["sigmoid_focal_binary", "focal_binary"])
@pytest.mark.parametrize("class_weights", [0.5, [0.2, 0.5, 0.9]], ids=str)
def test_industrial_layer(logit, target, rng, kind, class_weights):
    """Foreground of a class times w and its background times 1 - w; an input of weights, and one to divide by."""
    p, weight, normalization = sigmoid(logit), rng.uniform(size=target.shape), 7.0
    loss = SigmoidFocalLoss(alpha=class_weights, activated=kind == "focal_binary", reduction="mean", name="focal")
    loss.gamma, loss.loss_weight = 1.5, 3.0
    assert (loss.gamma, loss.loss_weight, loss.name) == (1.5, 3.0, "focal")
    pred = p if kind == "focal_binary" else logit
    actual = loss(*tensors(pred, target, weight), avg_factor=normalization)
    expected = 3 * (textbook(p, target, class_weights, 1.5) * weight).sum() / normalization
    np.testing.assert_allclose(float(actual), expected, **EXACT)


@pytest.mark.parametrize("logits", [True, False])
@pytest.mark.parametrize("reduce", [True, False])
def test_of_tutorials(backend, logit, target, logits, reduce):
    """There the loss is alpha * (1 - exp(-BCE))^gamma * BCE: alpha multiplies foreground and background alike."""
    p = sigmoid(logit)
    bce = -(target * np.log(p) + (1 - target) * np.log(1 - p))
    expected = 0.8 * (1 - np.exp(-bce)) ** 2 * bce
    function = sigmoid_focal_loss if logits else binary_focal_loss
    x, y = tensors(logit if logits else p, target)
    loss = 0.8 * function(x, y, alpha=None, gamma=2.0, reduction="mean" if reduce else "none", backend=backend)
    np.testing.assert_allclose(loss.numpy(), expected.mean() if reduce else expected, rtol=1e-9)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_softmax_with_alpha_of_each_class(backend, logit, reduction):
    label, alpha = np.array([0, 2, 2, 1, 1, 0]), np.array([0.3, 1.0, 2.5])
    p_t = softmax(logit)[np.arange(6), label]
    expected = -alpha[label] * (1 - p_t) ** 2 * np.log(p_t)
    loss = softmax_focal_loss(*tensors(logit, label), alpha=alpha.tolist(), reduction=reduction, backend=backend)
    np.testing.assert_allclose(float(loss), getattr(expected, reduction)(), **EXACT)


def test_prior_of_retinanet(workspace_copy, rng):
    """-log((1 - pi) / pi) is the bias of the last convolution: the first foreground probabilities are pi."""
    from two_ranks import CHANNELS, SIZE, STRIDES, create_head

    head = create_head("FocalRetinaHead", prior_prob=0.02)
    head.eval()
    np.testing.assert_allclose(head.retina_cls.bias.numpy(), -np.log(0.98 / 0.02), rtol=1e-6)
    maps = [paddle.to_tensor(rng.normal(size=(1, CHANNELS, SIZE // s, SIZE // s)).astype("float32")) for s in STRIDES]
    for logits in head(maps)[0]:
        np.testing.assert_allclose(F.sigmoid(logits).mean().item(), 0.02, rtol=0.02)


def test_alpha_from_class_frequencies():
    # Odds of 1 : 9 between two classes of 900 and 100 objects, around the mean alpha of 1/4.
    frequent, rare = class_alpha({"cell": 900, "platelet": 100}, alpha=0.25).values()
    assert frequent < 0.25 < rare
    np.testing.assert_allclose((rare / (1 - rare)) / (frequent / (1 - frequent)), 9, rtol=1e-9)


def test_mmdetection(backend, logit, label, target, rng):
    """Class indices with background C, a weight for each label, avg_factor, activated predictions."""
    weight = rng.uniform(size=6)
    expected = (textbook(sigmoid(logit), target, 0.25) * weight[:, None]).sum() / 4
    for pred, activated in ((logit, False), (sigmoid(logit), True)):
        loss = SigmoidFocalLoss(activated=activated)(*tensors(pred, label, weight), avg_factor=4.0)
        np.testing.assert_allclose(float(loss), expected, **EXACT)


def test_apex(backend, logit, target):
    """Label smoothing s of 0/1 targets, y (1 - s) + s / 2, in the cross entropy; padding classes are left out."""
    p, s = sigmoid(logit), 0.1
    smooth = target * (1 - s) + s / 2
    wrong = np.where(target == 1, 1 - p, p)
    balance = np.where(target == 1, 0.25, 0.75)
    elements = -balance * wrong**2 * (smooth * np.log(p) + (1 - smooth) * np.log(1 - p))
    is_real = np.array([[1.0, 1.0, 0.0]])  # the third class is padding
    loss = sigmoid_focal_loss(
        *tensors(logit, target), weight=paddle.to_tensor(is_real), label_smoothing=s, backend=backend
    )
    np.testing.assert_allclose(float(loss), (elements * is_real).sum(), rtol=1e-12)


def test_softmax_layer_as_a_component(workspace_copy):
    from ppdet.core import workspace

    from paddle_focal.detection import register

    register()
    assert isinstance(workspace.create("SoftmaxFocalLoss"), SoftmaxFocalLoss)
