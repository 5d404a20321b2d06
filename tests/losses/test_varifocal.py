"""What varifocal and quality focal loss have of their own: the detached weight, and probabilities from 0 to 1."""

from __future__ import annotations

import numpy as np
import oracle
import paddle
import pytest
from accuracy import DTYPES, GAMMAS, assert_accurate, run

from paddle_focal import VarifocalLoss, binary_quality_focal_loss, binary_varifocal_loss, varifocal_loss


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_detached_weight(backend, dtype, gamma):
    """The gradient of a loss whose weight is that of another logit, which has the same number."""
    logit = np.array([-1e4, -100, -60, -20, -8, -4, -1, -1e-3, 0, 0.5, 2, 8, 17, 60, 100, 1e4])
    logit = paddle.to_tensor(logit).astype(dtype).astype("float64").numpy()
    at = iter(logit.tolist())
    rows = []
    for x in at:
        rows.append(
            oracle.values_and_slopes(lambda z, x=x: oracle.varifocal_element(z, 0.0, 0.75, gamma, weight_at=x), [x])
        )
    truth = np.array(rows)[:, :, 0].T
    background = np.ones(logit.size, "int64")
    results = run(
        logit[:, None], background, dtype, function=varifocal_loss, gamma=gamma, detach_weight=True, reduction="none",
        backend=backend,
    )  # fmt: skip
    for actual, true in zip(results, truth):
        assert_accurate(actual[:, 0], true, dtype, gamma)


def test_detaching_changes_gradients_of_target_0_only(backend, rng):
    logit, label, score = rng.normal(size=(20, 4)), rng.integers(0, 5, 20), paddle.to_tensor(rng.random(20))
    results = [
        run(logit, label, "float64", function=varifocal_loss, score=score, detach_weight=detached, backend=backend)
        for detached in (False, True)
    ]
    is_own = np.arange(4) == label[:, None]
    assert results[0][0] == results[1][0]
    assert (results[0][1][is_own] == results[1][1][is_own]).all()
    assert (results[0][1][~is_own] > 1.3 * results[1][1][~is_own]).all()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_target_below_the_logits_numbers_is_a_score(backend, dtype):
    """A positive one, whose loss is a share of that of a score of 1; targets of 0 have one without a score."""
    options = {"function": varifocal_loss, "reduction": "none", "backend": backend}
    losses, slopes = run(np.zeros((1, 2)), np.array([[0.0, 1e-50]]), dtype, **options)
    np.testing.assert_allclose(losses, [[0.75 * 0.25 * np.log(2), 0]], rtol=1e-3, atol=1e-30)
    assert slopes[0, 1] == 0 < slopes[0, 0]


def test_the_layer_hands_it_on():
    layer = VarifocalLoss(detach_weight=True, reduction="sum")
    logit = paddle.to_tensor([[-4.0]], stop_gradient=False)
    layer(logit, paddle.to_tensor([1])).backward()
    p = 1 / (1 + np.exp(4.0))
    np.testing.assert_allclose(logit.grad.numpy(), [[0.75 * p**3]], rtol=1e-6)
    with pytest.raises(TypeError, match=r"detach_weight must be True or False, but got 1 \(int\)"):
        layer.detach_weight = 1
    assert layer.detach_weight is True


@pytest.mark.parametrize("detached", [1, None, "yes"])
def test_refused(detached):
    with pytest.raises(TypeError, match="detach_weight must be True or False"):
        varifocal_loss(paddle.zeros([1, 1]), paddle.to_tensor([0]), detach_weight=detached)


PROB = np.array([0.0, 1e-30, 1e-12, 1e-3, 0.25, 0.5, 0.75, 0.999, 1 - 2**-40, 1.0])


@pytest.mark.parametrize("gamma", [0.0, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("loss", ["quality", "varifocal"])
@pytest.mark.parametrize("score", [0.0, 0.3, 1.0, None])
def test_probabilities(backend, loss, gamma, score):
    """Of a class with a score, or of the background; finite at both ends, where the loss itself may be infinite."""
    function = binary_quality_focal_loss if loss == "quality" else binary_varifocal_loss
    label = np.full(PROB.size, 1 if score is None else 0)
    options = {"score": None if score is None else paddle.full([PROB.size], score, "float64"), "gamma": gamma}
    losses, slopes = run(
        PROB[:, None], label, "float64", function=function, alpha=0.25, reduction="none", backend=backend, **options
    )
    assert np.isfinite(losses).all()
    assert np.isfinite(slopes).all()
    y = score or 0.0

    def element(p):
        cross_entropy = -(y * oracle.mpmath.log(p) + (1 - y) * oracle.mpmath.log(1 - p))
        if loss == "quality":
            return (0.25 * y + 0.75 * (1 - y)) * abs(y - p) ** gamma * cross_entropy
        return y * cross_entropy if score is not None else 0.25 * p**gamma * cross_entropy

    inner = PROB[1:-1]
    truth = oracle.values_and_slopes(lambda p: element(oracle.mpmath.mpf(p)), inner)
    for actual, true in zip((losses[1:-1, 0], slopes[1:-1, 0]), truth):
        np.testing.assert_allclose(actual, true, rtol=1e-9, atol=1e-290)
