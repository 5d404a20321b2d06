"""Accuracy of every loss on every backend; see tests/support/losses_under_test.py."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from accuracy import DTYPES, GAMMAS, assert_accurate, run
from losses_under_test import samples_and_truth


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_element(loss, backend, dtype, gamma):
    prediction, label, *truth = samples_and_truth(loss, dtype, gamma)
    options = {**loss.power(gamma), "reduction": "none", "backend": backend}
    results = run(prediction, label, dtype, function=loss.function, **options)
    for actual, expected in zip(results, truth):
        assert_accurate(actual, expected, dtype, loss.row(gamma))
    if not loss.keeps_class_axis:
        return
    dense = (label[:, None] == 0).astype("float32")
    for actual, expected in zip(run(prediction, dense, dtype, function=loss.function, **options), truth):
        assert_accurate(actual, expected, dtype, loss.row(gamma))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_soft_labels(loss, backend, rng, gamma, smoothing):
    prediction, label = loss.typical(rng, (12, 4)), rng.dirichlet(np.ones(4), 12)
    label[0], label[1] = [0, 1, 0, 0], [0.5, 0, 0, 0.25]
    options = {**loss.power(gamma), **loss.smoothing(smoothing), "reduction": "none", "backend": backend}
    results = run(prediction, label, "float64", function=loss.function, **options)
    for actual, expected in zip(results, loss.definition(prediction, label, gamma=gamma, smoothing=smoothing)):
        # Where a soft label crosses the prediction the gradient passes through 0: held against its terms.
        np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-14)


def test_two_runs_give_the_same_bits(loss, backend, rng):
    prediction = loss.typical(rng, (4000, 80))  # more than one block
    label = loss.labels(rng, prediction.shape)
    first, second = (run(prediction, label, function=loss.function, backend=backend) for _ in range(2))
    assert first[0] == second[0]
    assert (first[1] == second[1]).all()


def test_the_same_bits_on_any_number_of_threads(loss, backend, rng):
    prediction = paddle.to_tensor(loss.typical(rng, (3000, 81)), dtype="float32")
    label, sums = paddle.to_tensor(loss.labels(rng, (3000, 81))), set()
    try:
        for threads in (1, 2, 3):
            paddle.base.core.set_num_threads(threads)
            sums.add(float(loss.function(prediction, label, backend=backend)))
    finally:
        paddle.base.core.set_num_threads(1)
    assert len(sums) == 1
