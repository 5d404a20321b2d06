"""Gamma over training, against values computed by hand."""

from __future__ import annotations

import pytest

from paddle_focal import GammaSchedule


def test_constant():
    schedule = GammaSchedule("constant", gammas=[1.5])
    assert [schedule(epoch, 3, 10) for epoch in (0, 7)] == [1.5, 1.5]


def test_step():
    schedule = GammaSchedule("step", gammas=[0, 1, 2], epochs=[0, 2, 2.5])
    assert [schedule(*at) for at in [(0, 0, 4), (1, 3, 4), (2, 0, 4), (2, 1, 4), (2, 2, 4), (9, 0, 4)]] == [
        *(0, 0, 1, 1, 2, 2)
    ]


def test_linear():
    schedule = GammaSchedule("linear", gammas=[0.5, 2.5, 1.5], epochs=[0, 4, 6])
    assert [schedule(*at) for at in [(0, 0, 10), (0, 5, 10), (2, 0, 10), (4, 0, 10), (5, 0, 10), (6, 0, 10)]] == (
        pytest.approx([0.5, 0.75, 1.5, 2.5, 2.0, 1.5])
    )


def test_cosine():
    schedule = GammaSchedule("cosine", gammas=[0, 2], epochs=[0, 6])
    # (1 - cos(pi t / 6)) at t = 0, 2, 3, 4, 6
    assert [schedule(epoch) for epoch in (0, 2, 3, 4, 6, 20)] == pytest.approx([0, 0.5, 1, 1.5, 2, 2])


def test_by_epoch():
    schedule = GammaSchedule("linear", gammas=[0, 4], epochs=[0, 4], by="epoch")
    assert [schedule(*at) for at in [(1, 0, 5), (1, 4, 5), (2, 0, 5)]] == [1, 1, 2]


def test_an_epoch_of_one_iteration():
    assert GammaSchedule("linear", gammas=[0, 4], epochs=[0, 4])(0, 1) == 1


def test_repr_makes_the_same_schedule():
    schedule = GammaSchedule("linear", gammas=[0, 4], epochs=[0, 4], by="epoch")
    assert repr(schedule) == "GammaSchedule('linear', gammas=[0.0, 4.0], epochs=[0.0, 4.0], by='epoch')"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "exponential"}, "kind must be one of constant, step, linear, cosine, but got 'exponential'"),
        ({"by": "step"}, "by must be one of epoch, iteration, but got 'step'"),
        ({"gammas": [0, -1]}, "gamma must be a finite number >= 0, but got -1"),
        ({"gammas": 2.0}, "gammas must be a list of at least one number, but got 2.0"),
        ({"gammas": []}, r"gammas must be a list of at least one number, but got \[\]"),
        ({"gammas": [1, 2, 3]}, r"epochs must have one number for each of gammas, but got \[0.0, 4.0\]"),
        ({"epochs": [1, 4]}, "epochs must begin with 0 and increase"),
        ({"epochs": [0, 0]}, "epochs must begin with 0 and increase"),
        ({"kind": "constant"}, "gammas must be one number where kind is 'constant'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        GammaSchedule(**{"kind": "linear", "gammas": [0, 2], "epochs": [0, 4], **arguments})
