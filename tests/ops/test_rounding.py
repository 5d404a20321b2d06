"""Casts to half precision, by hand."""

from __future__ import annotations

import paddle
import pytest

from paddle_focal.ops.rounding import rounded


@pytest.mark.parametrize(("dtype", "bits"), [("float16", 10), ("bfloat16", 7)])
def test_ties_go_to_the_even_neighbour(dtype, bits):
    step = 2.0**-bits  # from 1 to the next number of the dtype
    values = [1 + step * share for share in (0.25, 0.5, 0.75, 1.5, 2.5)]
    expected = [1 + step * share for share in (0, 0, 1, 2, 2)]
    result = rounded(paddle.to_tensor([*values, *(-value for value in values)]), getattr(paddle, dtype))
    assert result.astype("float32").tolist() == [*expected, *(-value for value in expected)]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_is_no_number_stays_so(dtype):
    values = [float("inf"), -float("inf"), float("nan")]
    assert str(rounded(paddle.to_tensor(values), getattr(paddle, dtype)).astype("float32").tolist()) == str(values)
