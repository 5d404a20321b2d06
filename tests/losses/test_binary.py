"""What only binary_focal_loss has: probabilities of exactly 0 and 1, and next to nothing."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from accuracy import DTYPES

from paddle_focal import SigmoidFocalLoss, binary_focal_loss
from paddle_focal.ops import ladder, probability


def computed(prob, label, dtype="float64", **arguments):
    p = paddle.to_tensor(prob, dtype="float64").astype(dtype)
    p.stop_gradient = False
    loss = binary_focal_loss(p, paddle.to_tensor(label), reduction="none", **arguments)
    loss.sum().backward()
    assert (loss.dtype, p.grad.dtype) == (p.dtype, p.dtype)
    return loss.astype("float64").numpy(), p.grad.astype("float64").numpy(), p.detach().astype("float64").numpy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_exact_zeros_and_ones(backend, dtype, gamma):
    # Right for certain: no loss. Wrong for certain: -log of 1e-300, times the balance.
    loss, gradient, _ = computed([0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0], dtype, gamma=gamma, backend=backend)
    np.testing.assert_array_equal(np.round(loss[:2], 290), [0, 0])
    np.testing.assert_allclose(loss[2:], [0.25 * 690.7755, 0.75 * 690.7755], rtol=2**-8)
    steep = min(float(paddle.finfo(getattr(paddle, dtype)).max), 1e300)  # d/dp of log(p) at 1e-300, if the dtype has it
    # d/dp of -(1 - p)^gamma log(p) at p = 1 is -1 for gamma 0 and 0 for any other.
    np.testing.assert_allclose(gradient[:2], [0.75, -0.25] if gamma == 0 else [0, 0], rtol=2e-6, atol=1e-100)
    assert np.isfinite(gradient).all()
    assert gradient[2] < -0.01 * steep
    assert gradient[3] > 0.01 * steep


def test_tiny_losses_in_float16(backend):
    # p^7 is 6e-24, of which Paddle's cast makes 1e-4; where a loss is rounded to 0 its gradient, 2 p here, is not.
    loss, *_ = computed([1.2636e-3], [0.0], "float16", gamma=7.0, alpha=None, backend=backend)
    assert loss == 0
    loss, gradient, prob = computed([1.2e-4], [0.0], "float16", gamma=1.0, alpha=None, backend=backend)
    assert loss == 0
    np.testing.assert_allclose(gradient, 2 * prob, rtol=2e-3)


def test_no_gradient_at_right_zeros_with_smoothing(backend):
    # Of p^7.3 Paddle's exp leaves 6e-309, which must stay nothing after it is divided by p.
    _, gradient, _ = computed(np.zeros(64), np.zeros(64), gamma=7.3, label_smoothing=0.5, backend=backend)
    np.testing.assert_allclose(gradient, 0, atol=1e-5)


def test_by_hand(backend):
    prob = paddle.to_tensor([[0.9, 0.2]])
    loss = binary_focal_loss(prob, paddle.to_tensor([0]), backend=backend)
    np.testing.assert_allclose(float(loss), -0.25 * 0.01 * np.log(0.9) - 0.75 * 0.04 * np.log(0.8), rtol=2e-6)
    assert loss.dtype == paddle.float32


@pytest.mark.parametrize("wanted", [None, "composite"])
def test_the_backend_that_is_asked_for(monkeypatch, wanted):
    select, asked = ladder.select, []

    def recorded(backend, *arguments):
        asked.append(backend)
        return select(backend, *arguments)

    monkeypatch.setattr(ladder, "select", recorded)
    binary_focal_loss(paddle.to_tensor([[0.9, 0.2]]), paddle.to_tensor([0]), backend=wanted)
    assert asked == [wanted]


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_outside_the_interval(value):
    with pytest.raises(ValueError, match=rf"prob must be in \[0, 1\], but it contains {value}"):
        binary_focal_loss(paddle.to_tensor([[0.5, value]], dtype="float64"), paddle.to_tensor([0]))


def test_a_second_backward_through_the_logits_is_refused():
    prob = paddle.to_tensor([0.25, 0.5], dtype="float64", stop_gradient=False)
    total = probability.logit_of(prob, "binary_focal_loss").sum()
    total.backward(retain_graph=True)
    np.testing.assert_allclose(prob.grad.numpy(), [16 / 3, 4], rtol=1e-12)
    with pytest.raises(OSError, match="a second time through binary_focal_loss"):
        total.backward()


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_outside_the_interval_where_nobody_looks(monkeypatch, value):
    monkeypatch.setattr(probability.label_range, "check_unit_interval", lambda *_: None)
    loss = binary_focal_loss(paddle.to_tensor([[0.5, value]]), paddle.to_tensor([0]), reduction="none")
    assert np.isnan(loss.numpy()).tolist() == [[False, True]]


def test_layer_with_activated_predictions():
    loss = SigmoidFocalLoss(activated=True, reduction="sum")
    prob, label = paddle.to_tensor([[0.9, 0.2]]), paddle.to_tensor([0])
    np.testing.assert_allclose(
        float(loss(prob, label)), -0.25 * 0.01 * np.log(0.9) - 0.75 * 0.04 * np.log(0.8), rtol=2e-6
    )
    with pytest.raises(TypeError, match="activated must be True or False, but got 1"):
        loss.activated = 1


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("prob must be a Tensor of dtype .* got 0.5", {"prob": 0.5}),
        (r"axis must be in \[-2, 1\] for prob of shape \[2, 3\], but got 2", {"axis": 2}),
    ],
)
def test_messages_call_probabilities_by_their_name(message, arguments):
    with pytest.raises((TypeError, ValueError), match=message):
        binary_focal_loss(**{"prob": paddle.full([2, 3], 0.5), "label": paddle.to_tensor([0, 3]), **arguments})
