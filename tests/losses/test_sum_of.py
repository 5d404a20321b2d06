"""The sum over several maps, as the levels of a pyramid are, by one layer of autograd."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from paddle_focal import SigmoidFocalLoss, SoftmaxFocalLoss
from paddle_focal.ops import ladder

CLASSES = 3
#: Images, kinds, height and width of each map.
MAPS = ((2, 2, 4, 5), (2, 2, 2, 3), (2, 2, 1, 1))


@pytest.fixture(autouse=True)
def on_backend(backend, monkeypatch):
    select = ladder.select
    monkeypatch.setattr(ladder, "select", lambda _, logit, loss: select(backend, logit, loss))


def maps(rng, dtype: str = "float32") -> tuple[list[paddle.Tensor], list[np.ndarray]]:
    """Logits ``[N, A * C, H, W]``, leaves, and labels ``[N, A, H * W]``, some of them background or to be ignored."""
    logits = [rng.normal(size=(n, kinds * CLASSES, h, w)).astype(dtype) for n, kinds, h, w in MAPS]
    labels = [rng.integers(-1, CLASSES + 1, (n, kinds, h * w)) for n, kinds, h, w in MAPS]
    return [paddle.to_tensor(logit, stop_gradient=False) for logit in logits], labels


def expected(logit, label: np.ndarray, alpha=0.25) -> tuple[float, np.ndarray]:
    """The sum of the losses of one map, and its gradient, for gamma 2."""
    x = logit.numpy().astype("float64").reshape(*label.shape[:2], CLASSES, -1)
    alpha = np.broadcast_to(alpha, [CLASSES])[:, None]
    is_positive = label[:, :, None] == np.arange(CLASSES)[:, None]
    z = np.where(is_positive, -x, x)
    p, cross_entropy = 1 / (1 + np.exp(-z)), np.logaddexp(0, z)
    factor = np.where(is_positive, alpha, 1 - alpha) * (label >= 0)[:, :, None]
    slope = factor * p**2 * (2 * (1 - p) * cross_entropy + p)
    return (factor * p**2 * cross_entropy).sum(), np.where(is_positive, -slope, slope).reshape(logit.shape)


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-5), ("float64", 1e-12), ("float16", 2e-3)])
@pytest.mark.parametrize("alpha", [0.25, [0.2, 0.5, 0.9]])
def test_loss_and_gradients(rng, dtype, rtol, alpha):
    logits, labels = maps(rng, dtype)
    loss = SigmoidFocalLoss(alpha=alpha, loss_weight=3.0)
    result = loss.sum_of(logits, [paddle.to_tensor(label) for label in labels], CLASSES)
    sums, gradients = zip(*(expected(*one, alpha) for one in zip(logits, labels)))
    assert result.dtype == (paddle.float64 if dtype == "float64" else paddle.float32)
    assert float(result) == pytest.approx(3 * sum(sums), rel=min(rtol, 1e-5))
    for factor in (1.0, 0.5):
        grads = paddle.grad([factor * result], logits, retain_graph=True)
        for grad, gradient in zip(grads, gradients):
            np.testing.assert_allclose(grad.numpy(), 3 * factor * gradient, rtol=rtol, atol=1e-7)


def test_labels_that_are_a_part_of_others(rng):
    logits, labels = maps(rng)
    parts = paddle.to_tensor(np.concatenate(labels, axis=2)).split([one.shape[2] for one in labels], axis=2)
    result = SigmoidFocalLoss().sum_of(logits, parts, CLASSES)
    assert float(result) == pytest.approx(sum(expected(*one)[0] for one in zip(logits, labels)), rel=1e-5)


def test_maps_that_want_no_gradient(rng):
    logits, labels = maps(rng)
    logits[1].stop_gradient = True
    tensors = [paddle.to_tensor(label) for label in labels]
    result = SigmoidFocalLoss().sum_of(logits, tensors, CLASSES)
    result.backward()
    assert logits[1].grad is None
    for i in (0, 2):
        np.testing.assert_allclose(logits[i].grad.numpy(), expected(logits[i], labels[i])[1], rtol=1e-5, atol=1e-7)
    with paddle.no_grad():
        assert float(SigmoidFocalLoss().sum_of(logits, tensors, CLASSES)) == pytest.approx(float(result), rel=1e-6)
    assert SigmoidFocalLoss().sum_of(logits[1:2], tensors[1:2], CLASSES).stop_gradient


def test_what_a_backward_pass_refuses(rng):
    logits, labels = maps(rng)
    tensors = [paddle.to_tensor(label) for label in labels]
    result = SigmoidFocalLoss().sum_of(logits, tensors, CLASSES)
    result.backward(retain_graph=True)
    with pytest.raises((OSError, RuntimeError), match="a second time"):
        result.backward()
    result = SigmoidFocalLoss().sum_of(logits, tensors, CLASSES)
    tensors[2].fill_(0)
    with pytest.raises((OSError, RuntimeError), match="changed in place"):
        result.backward()


def test_labels_out_of_range(rng):
    logits, labels = maps(rng)
    labels[2][0, 0, 0] = 9
    with pytest.raises(ValueError, match=r"label must be in \[0, 3\] .*, but it contains 9"):
        SigmoidFocalLoss().sum_of(logits, [paddle.to_tensor(label) for label in labels], CLASSES)


@pytest.mark.parametrize("option", [{"activated": True}, {"normalizer": "foreground"}])
def test_of_logits_only(rng, option):
    logits, labels = maps(rng)
    with pytest.raises(ValueError, match="activated must be False, and normalizer None"):
        SigmoidFocalLoss(**option).sum_of(logits, [paddle.to_tensor(label) for label in labels], CLASSES)


@pytest.mark.parametrize("wrong", ["size", "dtype"])
def test_what_does_not_fit_together(rng, wrong):
    logits, labels = maps(rng)
    logits[1] = logits[1][:, :5] if wrong == "size" else logits[1].astype("float64")
    shape, dtype = ([2, 5, 2, 3], "float32") if wrong == "size" else ([2, 6, 2, 3], "float64")
    with pytest.raises(ValueError, match="preds must have 3 logits") as error:
        SigmoidFocalLoss().sum_of(logits, [paddle.to_tensor(label) for label in labels], CLASSES)
    assert str(error.value) == (
        "preds must have 3 logits for each of their targets, [2, 2, 6], and one dtype, but have the shape "
        f"{shape} and the dtype {dtype}"
    )


def test_of_another_loss(rng):
    """Which has no background, and one loss for each label."""
    logits, labels = maps(rng)
    labels = [np.minimum(label, CLASSES - 1) for label in labels]
    result = SoftmaxFocalLoss(gamma=0.0, alpha=None).sum_of(logits, [paddle.to_tensor(one) for one in labels], CLASSES)
    total = 0.0
    for logit, label in zip(logits, labels):
        x = logit.numpy().astype("float64").reshape(*label.shape[:2], CLASSES, -1)
        log_p = x - np.log(np.exp(x).sum(axis=2, keepdims=True))
        own = np.take_along_axis(log_p, np.maximum(label, 0)[:, :, None], 2)[:, :, 0]
        total -= (own * (label >= 0)).sum()
    assert float(result) == pytest.approx(total, rel=1e-5)
