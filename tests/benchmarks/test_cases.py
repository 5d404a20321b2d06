from __future__ import annotations

import numpy as np
import oracle
import pytest

from paddle_focal.benchmarks import cases, losses, truth
from paddle_focal.benchmarks.cases import Case


def test_a_sample_has_all_classes():
    assert Case("", (40, 30, 20), 1).shrunk(8).shape == (8, 30, 8)
    assert Case("", (40, 30)).shrunk(8).shape == (8, 30)


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
@pytest.mark.parametrize(("shape", "axis"), [((40, 3), -1), ((2, 3, 4, 5), 2)])
def test_truth(gamma, shape, axis):
    inputs = cases.make_inputs(Case("", shape, axis, gamma), "float64", foreground=0.3)
    target, _ = oracle.one_hot(inputs.label, inputs.case.classes, axis)
    assert target.sum() == round(0.3 * inputs.label.size)
    expected_loss, expected_gradient = oracle.loss_and_gradient(inputs.logit, target, 0.25, gamma)
    assert truth.true_loss(inputs) == pytest.approx(expected_loss.sum() / 7, rel=1e-12)
    np.testing.assert_allclose(truth.true_gradient(inputs), expected_gradient / 7, rtol=1e-9)


def test_softmax_of_large_logits():
    is_class = np.array([[[True, False], [False, True]]])
    loss, gradient = losses.softmax(np.array([[[1000.0, 600.0], [0.0, 0.0]]]), is_class, 2.0)
    np.testing.assert_allclose(loss, [[[0, 600]]], atol=1e-12)
    np.testing.assert_allclose(gradient, [[[0, 1], [0, -1]]], atol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_truth_of_softmax(gamma):
    inputs = cases.make_inputs(Case("", (2, 4, 5), 1, gamma, loss="softmax"), "float64", foreground=0.5)
    assert inputs.label.max() == 3  # the background is the last class
    rows = np.moveaxis(inputs.logit, 1, -1).reshape(-1, 4)
    loss, gradient = oracle.softmax_loss_and_gradient(rows, inputs.label.flatten(), gamma)
    assert truth.true_loss(inputs) == pytest.approx(loss.sum() / 7, rel=1e-12)
    expected = np.moveaxis(gradient.reshape(2, 5, 4), -1, 1) / 7
    np.testing.assert_allclose(truth.true_gradient(inputs), expected, rtol=1e-9)


@pytest.mark.parametrize("block", [1, 30, 42])
def test_truth_by_blocks(monkeypatch, block):
    """Blocks of one row, of more, and a last one that is smaller."""
    monkeypatch.setattr(truth, "_BLOCK", block)
    test_truth(1.5, (40, 3), -1)
    test_truth(1.5, (5, 3, 7), 1)


ANCHORS = 9 * (100 * 168 + 50 * 84 + 25 * 42 + 13 * 21 + 7 * 11)  # RetinaNet's, on an image of 800 x 1344


def test_the_cases():
    """Shape, class axis, gamma and loss of each."""
    expected = {
        "tiny": ((4_842, 10), -1, 2.0, "sigmoid"),
        "batch1": ((ANCHORS, 80), -1, 2.0, "sigmoid"),
        "batch2": ((2 * ANCHORS, 80), -1, 2.0, "sigmoid"),
        "batch8": ((8 * ANCHORS, 80), -1, 2.0, "sigmoid"),
        "classes10": ((2 * ANCHORS, 10), -1, 2.0, "sigmoid"),
        "classes1203": ((2 * ANCHORS, 1203), -1, 2.0, "sigmoid"),
        "axis2": ((2, 9, 80, ANCHORS // 9), 2, 2.0, "sigmoid"),
        "gamma0": ((2 * ANCHORS, 80), -1, 0.0, "sigmoid"),
        "gamma1": ((2 * ANCHORS, 80), -1, 1.0, "sigmoid"),
        "gamma1.5": ((2 * ANCHORS, 80), -1, 1.5, "sigmoid"),
        "softmax": ((2 * ANCHORS, 81), -1, 2.0, "softmax"),
    }
    for power, rows in enumerate((12, 125, 1_250, 12_500, 125_000, 1_250_000), start=3):
        expected[f"sweep1e{power}"] = ((rows, 80), -1, 2.0, "sigmoid")
    assert {c.name: (c.shape, c.axis, c.gamma, c.loss) for c in cases.CASES.values()} == expected
    assert set(cases.CASES) == set(expected)
    assert {name: case.contenders for name, case in cases.CASES.items() if case.contenders} == {
        "sweep1e8": ("native", "memcpy")  # the others need too much memory, or minutes
    }
    assert tuple(f"sweep1e{power}" for power in range(3, 9)) == cases.SWEEP
    assert ("tiny", "batch2", "axis2", "gamma1.5", "softmax", *cases.SWEEP) == cases.DEFAULT_CASES


def test_sizes():
    case = Case("", (2, 9, 80, 100), axis=2)
    assert (case.size, case.classes, case.label_shape) == (144_000, 80, (2, 9, 100))
    assert {dtype: case.bytes(dtype) for dtype in cases.ITEM_SIZE} == {
        "float32": 576_000,
        "bfloat16": 288_000,
        "float16": 288_000,
        "float64": 1_152_000,
    }
    assert case.shrunk(50) == Case("sample", (2, 9, 80, 50), axis=2)
    assert Case("", (100, 80), contenders=("native",), gamma=1.0).shrunk(50) == Case("sample", (50, 80), gamma=1.0)


@pytest.mark.parametrize("dtype", cases.ITEM_SIZE)
def test_inputs(dtype):
    inputs = cases.make_inputs(Case("", (20_000, 10)), dtype)
    assert inputs.logit.dtype == ("uint16" if dtype == "bfloat16" else dtype)
    values = cases.as_float64(inputs.logit)
    assert values.dtype == "float64"
    assert values.mean() == pytest.approx(-4, abs=0.05)
    assert values.std() == pytest.approx(2, abs=0.05)
    assert np.count_nonzero(inputs.label != 10) == 20  # one in a thousand is foreground
    assert set(inputs.label.tolist()) <= set(range(11))
    again = cases.make_inputs(Case("", (20_000, 10)), dtype)
    np.testing.assert_array_equal(inputs.logit, again.logit)
    np.testing.assert_array_equal(inputs.label, again.label)
    assert (cases.make_inputs(Case("", (5, 10)), dtype).label != 10).sum() == 1  # at least one


def test_bits_of_bfloat16():
    np.testing.assert_array_equal(cases.as_float64(np.array([0x3F80, 0xC040], np.uint16)), [1.0, -3.0])
