"""The losses on arguments that hypothesis draws, right and wrong, on both backends.

PADDLE_FOCAL_FUZZ=2000 draws that many examples for each test, and others in every run.
"""

from __future__ import annotations

import contextlib
import inspect
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import paddle
import pytest
from fuzz_cases import DTYPES, FOCUSING, FUNCTIONS, cases
from fuzzing import fuzz
from hypothesis import given
from hypothesis import strategies as st

from paddle_focal import sigmoid_focal_loss


@pytest.mark.parametrize("loss", FUNCTIONS)
@fuzz
@given(data=st.data())
def test_against_the_definition(backend, loss, data):
    case = data.draw(cases(loss))
    case.check(*case.run(backend))


@pytest.mark.parametrize("label", [[0, 2], [[1.0, 0.0], [0.0, 0.0]]])
def test_a_weight_of_zero_takes_an_overflow_away(backend, label):
    logit = paddle.to_tensor([[1e38, -1e38], [1e38, 1.0]], stop_gradient=False)
    weight = paddle.to_tensor([[0.0, 0.0], [0.0, 1e-10]])
    loss = sigmoid_focal_loss(logit, paddle.to_tensor(label), 0.25, None, 0.0, "none", weight=weight, backend=backend)
    loss.backward()
    np.testing.assert_allclose(loss.numpy(), [[0, 0], [0, 4e-10 * math.log1p(math.e)]], rtol=1e-6)
    np.testing.assert_allclose(logit.grad.numpy(), [[0, 0], [0, 4e-10 / (1 + math.exp(-1))]], rtol=1e-6)


@pytest.mark.parametrize("loss", sorted(set(FUNCTIONS) - {"softmax"}))
@pytest.mark.parametrize("power", [1e39, 1e300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_power_that_float32_has_not(backend, loss, power, dtype):
    """Of target 0: where p is 1 in every dtype the cross entropy is left, elsewhere nothing."""
    logit = paddle.to_tensor([[1e4, 0.0, -1e4]], dtype=dtype, stop_gradient=False)
    own = {"gaussian": {"beta": power}, "asymmetric": {"gamma_pos": power, "margin": 0.0}, "poly1": {"epsilon": 0.0}}
    options = own.get(loss, {}) if loss == "gaussian" else {"alpha": None, **own.get(loss, {})}
    options |= {FOCUSING[loss]: power, "reduction": "none", "backend": backend}
    losses = FUNCTIONS[loss][0](logit, paddle.zeros([1, 3]), **options)
    losses.sum().backward()
    np.testing.assert_allclose(losses.numpy(), [[1e4, 0, 0]], rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(logit.grad.numpy(), [[1, 0, 0]], rtol=1e-6, atol=1e-6)


#: What a caller may pass by mistake, for any argument.
ANYTHING = [
    None, True, 0, -1, 3, 2**70, 10**400, 0.5, -0.5, 1.0, 1e300, 1e-300, math.nan, math.inf, 1j, Fraction(1, 2),
    Decimal("0.5"), "mean", "native", b"sum", [], [0.5], [0.1, 0.2, 0.3], [None], [[0.5], [0.2, 0.3]], ("a", "b", "c"),
    {}, {0.5}, object(), np.float32(0.5), np.int64(1), np.array(0.5), np.ones(3), np.ones((2, 3), "complex64"),
]  # fmt: skip


def anything():
    """One of these, or a tensor of some shape and type; made anew, as a test may differentiate it."""
    shapes = st.sampled_from([[], [0], [1], [2], [3], [6], [2, 3], [3, 2], [1, 3], [2, 1], [2, 0], [1, 2, 3]])
    dtypes = st.sampled_from([*DTYPES, "int8", "uint8", "int32", "int64", "bool", "complex64"])
    tensors = st.builds(
        lambda shape, dtype, value: paddle.full(shape, value, "float64").astype(dtype),
        shapes,
        dtypes,
        st.sampled_from([0.0, 1.0, 0.5, -2.0, 7.0]),
    )
    return st.sampled_from(ANYTHING) | tensors


@pytest.mark.parametrize("loss", FUNCTIONS)
@fuzz
@given(data=st.data())
def test_wrong_arguments(backend, loss, data):
    function = data.draw(st.sampled_from(FUNCTIONS[loss]))
    names = list(inspect.signature(function).parameters)
    prediction = paddle.to_tensor([[0.1, 0.5, 0.9], [0.2, 0.0, 1.0]])
    label = prediction if loss == "gaussian" else paddle.to_tensor([0, 2])
    arguments = {names[0]: prediction, names[1]: label, "backend": backend}
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)):
        arguments[name] = data.draw(anything(), label=name)
    with contextlib.suppress(TypeError, ValueError):
        result = function(**arguments)
        is_nan = paddle.isnan(result.astype("float64")).any()
        assert not is_nan or paddle.is_tensor(arguments.get("normalizer"))  # whose values are the caller's to check
