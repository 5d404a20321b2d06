"""What only asymmetric loss has: two powers, a margin, and targets between 0 and 1."""

from __future__ import annotations

import numpy as np
import oracle
import paddle
import pytest
from accuracy import DTYPES, SMALLEST_NORMAL, TOLERANCE, run
from native_library import needs_library

from paddle_focal import AsymmetricLoss, asymmetric_loss, binary_asymmetric_loss

#: Rounding of p and of the margin, a few times.
UNIT = {"float64": 1e-15, **dict.fromkeys(("float32", "float16", "bfloat16"), 5e-7)}


def call(logit, label, dtype="float64", function=asymmetric_loss, **arguments):
    return run(logit, np.asarray(label, np.float64), dtype, function=function, reduction="none", **arguments)


def definition(logit, label, **arguments):
    return oracle.values_and_slopes(lambda x, y: oracle.asymmetric_element(x, y, **arguments), logit, label)


def test_by_hand(backend):
    """P of 0.8, 0.3 and 0.04: 0.2 * -log(0.8), 0.25^4 * -log(0.75), nothing."""
    logit = np.log([4.0, 3 / 7, 1 / 24])
    losses, _ = call(logit, [1.0, 0.0, 0.0], backend=backend)
    np.testing.assert_allclose(losses, [0.0446287102628, 0.00112375809551, 0], rtol=1e-11)
    prob = paddle.to_tensor([0.8, 0.3, 0.04])
    total = binary_asymmetric_loss(prob, paddle.to_tensor([1.0, 0.0, 0.0]), backend=backend)
    np.testing.assert_allclose(float(total), 0.0446287102628 + 0.00112375809551, rtol=1e-6)


@pytest.mark.parametrize("margin", [0.0, 1e-6, 0.05, 0.2, 0.9, 1 - 1e-6])
@pytest.mark.parametrize("gammas", [(4.0, 0.0), (0.0, 4.0), (0.5, 1.5), (2.0, 1.0)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_accuracy(backend, dtype, margin, gammas):
    """Relative to the parts of targets 0 and 1; where p and the margin are close, to what their difference keeps."""
    logit = np.array([-1e4, -100, -60, -14, -13, -8, -2.95, -2.94, -2.5, -1.38, 0, 1e-3, 2.19, 2.2, 5, 17, 60, 1e4])
    x = paddle.to_tensor(logit).astype(dtype).astype("float64").numpy()
    names = dict(zip(("gamma_neg", "gamma_pos"), gammas), margin=margin)
    parts = [definition(x, target, **names) for target in (0.0, 1.0)]
    p = 1 / (1 + np.exp(-np.clip(x, -700, 700)))
    kept = np.maximum(p - margin, 1e-300) / (p + margin) if margin else np.ones(x.size)
    relative = TOLERANCE[dtype][1] * 1.001 + np.minimum((1 + gammas[0]) * UNIT[dtype] / kept, 1)
    underflow = 3 * SMALLEST_NORMAL[dtype] / (margin or 1)
    for y in (0.0, 1.0, 0.25):
        results = call(x, np.full(x.size, y), dtype, backend=backend, **names)
        for actual, none, one in zip(results, *parts):
            assert np.isfinite(actual).all()
            allowed = relative * ((1 - y) * np.abs(none) + y * np.abs(one)) + underflow
            assert (np.abs(actual - (1 - y) * none - y * one) <= allowed).all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 4.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_up_to_the_margin(backend, dtype, gamma):
    """Of p = margin = 1/2 nothing, of the next number a little: no NaN of a power of 0."""
    logit = np.array([-1e4, -1.0, 0.0, 1e-3])
    losses, slopes = call(logit, np.zeros(4), dtype, gamma_neg=gamma, margin=0.5, backend=backend)
    assert (losses[:3] == 0).all()
    assert (slopes[:3] == 0).all()
    m = 1 / (1 + np.exp(-1e-3)) - 0.5
    tolerance = 1e-2 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(losses[3], m**gamma * -np.log1p(-m), rtol=tolerance)
    np.testing.assert_allclose(slopes[3], 0.25 * (gamma + 1) * m**gamma, rtol=1e-2)


@needs_library
@pytest.mark.usefixtures("instruction_set")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gamma", [4.0, 1.5])
def test_instruction_sets(rng, dtype, gamma):
    """Of few targets other than 0, which are computed apart, and of many."""
    x = rng.uniform(-9, 9, (2, 40)).astype(dtype).astype("float64")
    y = np.stack([(np.arange(40) == 7) * 1.0, np.where(rng.random(40) < 0.7, rng.random(40), 0)])
    y = y.astype("float32").astype("float64")
    truth = definition(x, y, gamma_neg=gamma)
    for row in range(2):
        results = call(x[row], y[row], dtype, gamma_neg=gamma, backend="native")
        for actual, true in zip(results, truth):
            np.testing.assert_allclose(actual, true[row], rtol=2e-5 if dtype == "float32" else 1e-10, atol=UNIT[dtype])


@pytest.mark.parametrize("label_dtype", ["int64", "float32"])
def test_the_code_of_its_authors(backend, rng, label_dtype):
    """In NumPy, with differences for derivatives; their eps of 1e-8 is not reached."""
    logit = rng.normal(scale=3, size=(30, 4))
    index = rng.integers(0, 5, 30)
    dense = np.eye(5)[index][:, :4] if label_dtype == "int64" else (rng.random((30, 4)) < 0.4) * 1.0

    def theirs(x):
        xs_pos = 1 / (1 + np.exp(-x))
        xs_neg = np.minimum(1 - xs_pos + 0.05, 1)
        loss = dense * np.log(xs_pos) + (1 - dense) * np.log(xs_neg)
        pt = xs_pos * dense + xs_neg * (1 - dense)
        return -loss * (1 - pt) ** (1 * dense + 4 * (1 - dense))

    label = index if label_dtype == "int64" else dense.astype(label_dtype)
    losses, slopes = run(logit, label, "float64", function=asymmetric_loss, reduction="none", backend=backend)
    np.testing.assert_allclose(losses, theirs(logit), rtol=1e-11, atol=1e-17)
    np.testing.assert_allclose(slopes, (theirs(logit + 1e-6) - theirs(logit - 1e-6)) / 2e-6, rtol=1e-5, atol=1e-9)


def test_the_layer_hands_its_numbers_on():
    layer = AsymmetricLoss(gamma_neg=2.0, gamma_pos=0.5, margin=0.25, alpha=0.25, reduction="sum")
    logit, label = np.array([[0.4, -0.3]]), np.array([[1.0, 0.0]])
    expected = definition(logit, label, alpha=0.25, gamma_neg=2.0, gamma_pos=0.5, margin=0.25)[0].sum()
    np.testing.assert_allclose(float(layer(paddle.to_tensor(logit), paddle.to_tensor(label))), expected, rtol=1e-12)
    layer.activated = True
    prob = paddle.to_tensor(1 / (1 + np.exp(-logit)))
    np.testing.assert_allclose(float(layer(prob, paddle.to_tensor(label))), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, r"margin must be 0 or a number in \[1e-6, 1\), but got 1$", {"margin": 1}),
        (ValueError, r"margin must be 0 or .*, but got 1e-07$", {"margin": 1e-7}),
        (ValueError, r"margin must be 0 or .*, but got nan$", {"margin": float("nan")}),
        (TypeError, r"margin must be 0 or .*, but got None \(NoneType\)$", {"margin": None}),
        (ValueError, r"gamma_pos must be a finite number >= 0, but got -1$", {"gamma_pos": -1}),
        (ValueError, r"gamma_neg must be a finite number >= 0, but got inf$", {"gamma_neg": float("inf")}),
    ],
)
def test_refused(error, message, arguments):
    with pytest.raises(error, match=message):
        asymmetric_loss(paddle.zeros([2, 3]), paddle.to_tensor([0, 1]), **arguments)
    with pytest.raises(error, match=message):
        AsymmetricLoss(**arguments)
