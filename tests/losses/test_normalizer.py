from __future__ import annotations

import paddle
import pytest

from paddle_focal import ForegroundNormalizer
from paddle_focal.losses import normalizer


def divisors(normalizer: ForegroundNormalizer, *counts: float) -> list[float]:
    return [float(normalizer(paddle.to_tensor(count))) for count in counts]


@pytest.mark.parametrize("mode", ["local", "sync"])
def test_the_count_but_at_least_one(mode):
    assert divisors(ForegroundNormalizer(mode), 7, 0, 1, 2.5) == [7, 1, 1, 2.5]


@pytest.mark.parametrize("mode", ["local", "sync", "ema"])
def test_no_gradient_reaches_the_count(mode):
    count = paddle.to_tensor(3.0, stop_gradient=False)
    divisor = ForegroundNormalizer(mode)
    for _ in range(2):
        assert divisor(count).stop_gradient
    assert divisor.average.stop_gradient


def test_moving_average():
    # 0.9 * 100 + 0.1 * 10 = 91, 0.9 * 91 + 0.1 * 20 = 83.9, and no foreground counts as 1: 75.61
    assert divisors(ForegroundNormalizer("ema"), 10, 20, 0) == pytest.approx([91, 83.9, 75.61], rel=1e-6)
    assert divisors(ForegroundNormalizer("ema", momentum=0.5, initial=8.0), 2, 3) == pytest.approx([5, 4], rel=1e-6)


def test_evaluation_leaves_the_average_alone():
    normalizer = ForegroundNormalizer("ema")
    divisors(normalizer, 10)
    normalizer.eval()
    normalizer(paddle.to_tensor(500)).zero_()
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


@pytest.fixture
def other_rank(monkeypatch):
    """A second rank that has five foreground labels in every batch; the list gets what this one tells it."""
    told = []

    def all_reduce(tensor):
        told.append(float(tensor))
        tensor.add_(paddle.full_like(tensor, 5))

    monkeypatch.setattr(normalizer.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(normalizer.distributed, "all_reduce", all_reduce)
    return told


def test_mean_over_the_ranks(other_rank):
    # What counts as at least one is the mean, not the count of a rank.
    assert divisors(ForegroundNormalizer("sync"), 0, 3, 5) == [2.5, 4, 5]
    assert divisors(ForegroundNormalizer("ema"), 15) == pytest.approx([0.9 * 100 + 0.1 * 10], rel=1e-6)
    assert other_rank == [0, 3, 5, 15]


def test_ranks_exchange_nothing_where_it_would_be_no_use(other_rank):
    assert divisors(ForegroundNormalizer("local"), 3) == [3]
    evaluating = ForegroundNormalizer("sync")
    evaluating.eval()
    assert divisors(evaluating, 3) == [3]
    assert other_rank == []


def test_the_count_is_left_as_it_was(other_rank):
    count = paddle.to_tensor([3.0])
    ForegroundNormalizer("sync")(count)
    assert count.tolist() == [3]


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


def test_the_average_may_begin_with_one():
    assert divisors(ForegroundNormalizer("ema", initial=1), 11) == pytest.approx([2], rel=1e-6)


def test_repr_names_the_momentum_where_it_counts():
    assert [ForegroundNormalizer(mode).extra_repr() for mode in ("sync", "ema")] == [
        "mode='sync'",
        "mode='ema', momentum=0.9",
    ]
