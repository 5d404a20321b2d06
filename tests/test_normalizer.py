from __future__ import annotations

import paddle
import pytest

from paddle_focal import ForegroundNormalizer


def divisors(normalizer: ForegroundNormalizer, *counts: float) -> list[float]:
    return [float(normalizer(paddle.to_tensor(count))) for count in counts]


@pytest.mark.parametrize("mode", ["local", "sync"])
def test_the_count_but_at_least_one(mode):
    assert divisors(ForegroundNormalizer(mode), 7, 0, 1, 2.5) == [7, 1, 1, 2.5]


def test_moving_average():
    # 0.9 * 100 + 0.1 * 10 = 91, 0.9 * 91 + 0.1 * 20 = 83.9, and no foreground counts as 1: 75.61
    assert divisors(ForegroundNormalizer("ema"), 10, 20, 0) == pytest.approx([91, 83.9, 75.61], rel=1e-6)
    assert divisors(ForegroundNormalizer("ema", momentum=0.5, initial=8.0), 2, 3) == pytest.approx([5, 4], rel=1e-6)


def test_evaluation_leaves_the_average_alone():
    normalizer = ForegroundNormalizer("ema")
    divisors(normalizer, 10)
    normalizer.eval()
    assert divisors(normalizer, 500, 600) == pytest.approx([91, 91], rel=1e-6)
    normalizer.train()
    assert divisors(normalizer, 20) == pytest.approx([83.9], rel=1e-6)


def test_several_losses_before_one_backward():
    normalizer = ForegroundNormalizer("ema")
    x = paddle.to_tensor(1.0, stop_gradient=False)
    losses = [x / normalizer(paddle.to_tensor(count)) for count in (10, 20)]
    sum(losses).backward()
    assert float(x.grad) == pytest.approx(1 / 91 + 1 / 83.9, rel=1e-6)


def test_outside_the_state_dict_but_settable():
    normalizer = ForegroundNormalizer("ema")
    assert normalizer.state_dict() == {}
    normalizer.average = paddle.to_tensor(50.0)
    assert divisors(normalizer, 5) == pytest.approx([45.5], rel=1e-6)


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
def test_float32_without_gradient(dtype):
    divisor = ForegroundNormalizer()(paddle.to_tensor([3], dtype=dtype))
    assert (divisor.dtype, list(divisor.shape), divisor.stop_gradient) == (paddle.float32, [], True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "global"}, r"mode must be one of \('local', 'sync', 'ema'\), but got 'global'"),
        ({"momentum": 1.0}, r"momentum must be a number in \[0, 1\), but got 1.0"),
        ({"initial": 0}, "initial must be a number >= 1, but got 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ForegroundNormalizer(**arguments)
