"""Scores of the labels' own classes, for the losses that take them."""

from __future__ import annotations

import numpy as np
import oracle
import paddle
import pytest
from accuracy import DTYPES, GAMMAS, SMALLEST_NORMAL, SUBNORMAL, TOLERANCE, run
from losses_under_test import LOSSES

from paddle_focal.ops import label_range
from paddle_focal.ops.composite import blockwise

ALPHA = 0.25
#: Rounding of p, which matters where y is near; quality focal loss computes their difference in double.
UNIT = {"quality": dict.fromkeys(DTYPES, 2.3e-16), "varifocal": {dtype: 1.2e-7 for dtype in DTYPES}}
UNIT["varifocal"]["float64"] = 2.3e-16


@pytest.fixture(params=[loss for loss in LOSSES if loss.score], ids=str)
def loss(request):
    return request.param


@pytest.fixture
def scored(loss, rng):
    """Logits ``[6, 3]``, labels of every kind, scores with both ends."""
    label, score = np.array([0, 1, 2, 3, -1, 1]), np.array([0.25, 0.0, 1.0, 0.5, 0.75, 0.6])
    return loss.typical(rng, (6, 3)), label, score


def expected(loss, logit, label, score, axis=-1, gamma=2.0, alpha=ALPHA):
    """Losses and gradients: of target 0, but at the labels' own classes; 0 where the label is ignored."""
    moved = np.moveaxis(np.asarray(logit), axis, -1)
    flat, background = moved.reshape(-1, moved.shape[-1]), np.full(label.size, moved.shape[-1])
    results = loss.definition(flat, background, gamma=gamma, alpha=alpha)
    results = [result.reshape(moved.shape).copy() for result in results]
    for at in np.ndindex(label.shape):
        if label[at] == -1:
            results[0][at] = results[1][at] = 0
        elif label[at] < moved.shape[-1]:
            own = (*at, label[at])
            of_class = alpha if np.ndim(alpha) == 0 else alpha[label[at]]
            pair = oracle.values_and_slopes(lambda x, y, a=of_class: loss.score(x, y, a, gamma), moved[own], score[at])
            results[0][own], results[1][own] = (float(one) for one in pair)
    return [np.moveaxis(result, -1, axis) for result in results]


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_accuracy(loss, backend, dtype, gamma):
    """Of every score, 0 and 1, near p and p itself included."""
    logit = np.array([-100.0, -30.0, -8.0, -2.0, -0.5, 0.0, 1e-3, 0.7, 3.0, 12.0, 40.0, 100.0])
    logit = paddle.to_tensor(logit).astype(dtype).astype("float64").numpy()
    p = 1 / (1 + np.exp(-logit))
    scores = [np.zeros(12), np.ones(12), np.full(12, 0.3), np.full(12, 1e-3), p, p * (1 - 1e-3), p * (1 + 1e-6)]
    x, y = np.tile(logit, len(scores)), np.clip(np.concatenate(scores), 0, 1).astype("float32").astype("float64")
    options = {"score": paddle.to_tensor(y.astype("float32")), "alpha": ALPHA, "gamma": gamma, "reduction": "none"}
    results = run(x[:, None], np.zeros(x.size, "int64"), dtype, function=loss.function, backend=backend, **options)
    truth = oracle.values_and_slopes(lambda x, y: loss.score(x, y, ALPHA, gamma), x, y)
    p = 1 / (1 + np.exp(-x))
    distance = np.maximum(np.abs(p - y), 1e-30)
    # An error of a unit in p is one of unit * (p + y) / |p - y| in their difference, which is raised to powers.
    relative = TOLERANCE[dtype][0 if gamma in (0, 1, 2) else 1] * 1.001
    relative = relative + 4 * (gamma + 1) * UNIT[loss.name][dtype] * (p + y) / distance
    for actual, true in zip(results, truth):
        true = np.where(np.isfinite(true), true, 0)  # at p = y, where there is no slope
        allowed = relative * np.abs(true) + 1.001 * SUBNORMAL[dtype] + 1e-3 * SMALLEST_NORMAL[dtype]
        is_met = distance < 1e-9  # of numbers that double cannot tell apart
        difference = np.abs(actual[:, 0] - true)
        assert np.isfinite(actual).all()
        excess = difference[~is_met] / allowed[~is_met]
        worst = excess.argmax()
        assert excess.max() <= 1, [one[~is_met][worst] for one in (x, y, actual[:, 0], true, allowed)]
        if gamma > 1:  # at gamma 1 the gradient of quality focal loss is a step there
            assert (difference <= TOLERANCE[dtype][1] * np.abs(true) + 1e-6)[is_met].all()


def test_at_p_itself(loss, backend):
    """P = y = 1/2: nothing but varifocal loss is left, and no gradient."""
    logit, score = np.zeros((1, 1)), paddle.to_tensor([0.5])
    for gamma in (0.5, 1.0, 2.0):
        options = {"score": score, "gamma": gamma, "alpha": None, "function": loss.function, "backend": backend}
        value, slope = run(logit, [0], **options)
        np.testing.assert_allclose(value, 0.5 * np.log(2) if loss.name == "varifocal" else 0, rtol=1e-6)
        assert slope == 0


@pytest.mark.parametrize(
    ("shape", "axis"), [((5, 3), -1), ((3, 5), 0), ((2, 3, 70), 1), ((7, 13, 3), 1), ((1, 200, 1), -1), ((300, 1), 0)]
)
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_shapes_and_axes(loss, backend, rng, shape, axis, dtype):
    logit, label = loss.typical(rng, shape), np.array(loss.labels(rng, shape, axis))
    label[rng.random(label.shape) < 0.2] = -1
    score, weight = rng.random(label.shape), rng.random(label.shape)
    alpha = list(np.linspace(0.1, 0.9, shape[axis]))
    truth = expected(loss, logit, label, score, axis, 1.5, alpha)
    options = {"gamma": 1.5, "alpha": alpha, "axis": axis, "score": paddle.to_tensor(score), "backend": backend}
    options["weight"] = paddle.to_tensor(weight)
    for reduction in ("none", "sum", "mean"):
        results = run(logit, label.astype(dtype), "float64", None, loss.function, reduction=reduction, **options)
        losses, slopes = (one * np.expand_dims(weight, axis) for one in truth)
        count = max(1, (label != -1).sum() * shape[axis]) if reduction == "mean" else 1
        np.testing.assert_allclose(results[0], losses if reduction == "none" else losses.sum() / count, rtol=1e-11)
        np.testing.assert_allclose(results[1], slopes / count, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes_of_scores(loss, backend, scored, dtype):
    logit, label, _ = scored
    score = np.array([0.25, 0.5, 1.0, 0.0, 0.75, 0.625])  # which all of them have
    results = run(
        logit, label, "float64", None, loss.function, reduction="none", alpha=ALPHA, backend=backend,
        score=paddle.to_tensor(score).astype(dtype),
    )  # fmt: skip
    for actual, true in zip(results, expected(loss, logit, label, score)):
        np.testing.assert_allclose(actual, true, rtol=1e-11, atol=1e-15)


def test_a_label_without_a_score_has_the_score_one(loss, backend, scored):
    logit, label, _ = scored
    results = run(logit, label, "float64", None, loss.function, reduction="none", alpha=ALPHA, backend=backend)
    for actual, true in zip(results, expected(loss, logit, label, np.ones(6))):
        np.testing.assert_allclose(actual, true, rtol=1e-12)


def test_as_dense_targets(loss, backend, scored):
    """But for the score 0, which varifocal loss takes as a class of its own."""
    logit, label, score = scored
    dense = (np.arange(3) == label[:, None]) * score[:, None]
    results = run(logit, dense, "float64", None, loss.function, reduction="none", alpha=ALPHA, backend=backend)
    truth = expected(loss, logit, np.where((score == 0) | (label == -1), 3, label), score)
    for actual, true in zip(results, truth):
        np.testing.assert_allclose(actual, true, rtol=1e-11, atol=1e-15)


def test_a_score_of_zero_is_a_class_of_its_own(loss, backend):
    """Varifocal loss leaves it without loss; quality focal loss has the target 0 there, as elsewhere."""
    options = {"score": paddle.to_tensor([0.0]), "alpha": None, "reduction": "none", "function": loss.function}
    losses, slopes = run([[1.0, 1.0]], [0], backend=backend, **options)
    is_left_out = loss.name == "varifocal"
    np.testing.assert_allclose(losses[0, 0], 0 if is_left_out else losses[0, 1], rtol=1e-6)
    np.testing.assert_allclose(slopes[0, 0], 0 if is_left_out else slopes[0, 1], rtol=1e-6)


def test_scores_that_are_not_contiguous(loss, backend, rng):
    logit, label, score = rng.normal(size=(4, 3, 2)), rng.integers(0, 4, (4, 2)), rng.random((4, 2))
    view = paddle.stack([paddle.to_tensor(score), paddle.ones([4, 2], "float64")], -1)[..., 0]
    options = {"score": view, "alpha": ALPHA, "axis": 1, "backend": backend}
    losses, slopes = run(logit, label, "float64", None, loss.function, **options)
    truth = expected(loss, logit, label, score, 1)
    np.testing.assert_allclose(losses, truth[0].sum(), rtol=1e-11)
    np.testing.assert_allclose(slopes, truth[1], rtol=1e-11, atol=1e-15)


def test_blocks_of_the_composite(loss, rng, monkeypatch):
    monkeypatch.setattr(blockwise, "BLOCK", 13)
    logit, label, score = rng.normal(size=(5, 3, 2)), rng.integers(0, 4, (5, 2)), rng.random((5, 2))
    options = {"score": paddle.to_tensor(score), "alpha": ALPHA, "axis": 1, "reduction": "none"}
    results = run(logit, label, "float64", None, loss.function, backend="composite", **options)
    for actual, true in zip(results, expected(loss, logit, label, score, 1)):
        np.testing.assert_allclose(actual, true, rtol=1e-11, atol=1e-15)


def test_changes_in_place_are_seen(loss, backend):
    score, logit = paddle.to_tensor([0.5, 0.5]), paddle.zeros([2, 3])
    logit.stop_gradient = False
    total = loss.function(logit, paddle.to_tensor([0, 1]), score, backend=backend)
    score.add_(paddle.full([2], 0.25))
    with pytest.raises(Exception, match="score or weight was changed in place"):
        total.backward()


def test_no_gradient_flows_to_scores(loss, backend):
    score = paddle.to_tensor([0.5, 0.25], stop_gradient=False)
    logit = paddle.zeros([2, 3])
    logit.stop_gradient = False
    loss.function(logit, paddle.to_tensor([0, 1]), score, backend=backend).backward()
    assert score.grad is None
    assert logit.grad is not None


def test_layers_take_pairs(loss, scored):
    logit, label, score = map(paddle.to_tensor, scored)
    truth = expected(loss, *scored)[0]
    layer = loss.layer(alpha=ALPHA, loss_weight=2.0)
    for pair in ((label, score), [label, score]):
        np.testing.assert_allclose(layer(logit, pair).numpy(), 2 * truth, rtol=1e-11)
        np.testing.assert_allclose(float(layer(logit, pair, avg_factor=4.0)), truth.sum() / 2, rtol=1e-11)
    weight = paddle.to_tensor([1.0, 0.0, 2.0, 1.0, 1.0, 1.0])
    actual = layer(logit, (label, score), weight, reduction="sum")
    np.testing.assert_allclose(float(actual), 2 * (truth * weight.numpy()[:, None]).sum(), rtol=1e-11)


@pytest.mark.parametrize("prediction", ["logits", "probabilities"])
def test_layers_of_probabilities(loss, backend, scored, prediction):
    logit, label, score = scored
    layer = loss.layer(alpha=ALPHA, activated=prediction == "probabilities")
    given = 1 / (1 + np.exp(-logit)) if layer.activated else logit
    result = layer(paddle.to_tensor(given), (paddle.to_tensor(label), paddle.to_tensor(score)))
    np.testing.assert_allclose(result.numpy(), expected(loss, logit, label, score)[0], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, r"score must have the shape of label, \[2\], but its shape is \[3\]", {"score": paddle.ones([3])}),
        (ValueError, r"the shape of label, \[2\], but its shape is \[2, 1\]", {"score": paddle.ones([2, 1])}),
        (ValueError, r"score must be in \[0, 1\], but it contains 1.5", {"score": paddle.to_tensor([0.5, 1.5])}),
        (ValueError, r"score must be in \[0, 1\], but it contains -0.5", {"score": paddle.to_tensor([-0.5, 0.5])}),
        (ValueError, r"score must be in \[0, 1\], but it contains nan", {"score": paddle.to_tensor([np.nan, 0.5])}),
        (TypeError, r"score must be a Tensor .*, but got \[0.5, 0.5\] \(list\)", {"score": [0.5, 0.5]}),
        (TypeError, r"score must be .*, but its dtype is int64", {"score": paddle.ones([2], "int64")}),
        (
            ValueError,
            "score is the target of a class index, but label of dtype float32 holds the targets themselves",
            {"label": paddle.ones([2, 3]), "score": paddle.ones([2])},
        ),
    ],
)  # fmt: skip
def test_refused(loss, backend, error, message, arguments):
    with pytest.raises(error, match=message):
        loss.function(paddle.zeros([2, 3]), **{"label": paddle.to_tensor([0, 1]), **arguments}, backend=backend)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 5)])
def test_scores_of_no_class_are_not_read(loss, backend, shape):
    label = np.full(shape[:1] + shape[2:], 3)
    label[0] = -1
    score = paddle.full(label.shape, np.nan)
    options = {"axis": 1, "score": score, "function": loss.function, "backend": backend}
    for result, other in zip(
        run(np.ones(shape), label, **options), run(np.ones(shape), label, function=loss.function, axis=1)
    ):
        np.testing.assert_allclose(result, other, rtol=1e-6)


def test_a_score_out_of_range_elsewhere(loss, monkeypatch):
    """Where looking would wait for a device, it is looked at on demand only."""
    monkeypatch.setattr(blockwise, "on_cpu", lambda tensor: False)
    options = {"score": paddle.to_tensor([2.0]), "function": loss.function, "backend": "composite"}
    run([[0.5, 0.5]], [0], **options)
    monkeypatch.setattr(label_range, "is_wanted_everywhere", lambda: True)
    with pytest.raises(ValueError, match="score must be in"):
        run([[0.5, 0.5]], [0], **options)
