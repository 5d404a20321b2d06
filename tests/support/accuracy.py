"""How accurate every loss is on every backend, and the call whose results are held to it."""

from __future__ import annotations

import numpy as np
import paddle

from paddle_focal import sigmoid_focal_loss

# Largest relative error of an element: (gamma 0, 1 or 2; any other gamma). Half precision: one rounding.
TOLERANCE = {"float64": (1e-12, 1e-12), "float32": (2e-6, 2e-5), "float16": (2**-11,) * 2, "bfloat16": (2**-8,) * 2}
# Largest error below the smallest normal number: half the spacing there in float16, the number itself elsewhere.
SUBNORMAL = {"float64": 2e-300, "float32": 2.36e-38, "float16": 2**-25, "bfloat16": 2.36e-38}
SMALLEST_NORMAL = {"float64": 1e-300, "float32": 1.18e-38, "float16": 6.2e-5, "bfloat16": 1.18e-38}
LARGEST = {"float64": 1.79e308, "float32": 3.4e38, "float16": 65504, "bfloat16": 3.38e38}
DTYPES = tuple(TOLERANCE)
GAMMAS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)


def run(prediction, label, dtype="float32", grad_out=None, function=sigmoid_focal_loss, **arguments):
    """Loss and gradient as float64 arrays; the gradient of ``(loss * grad_out).sum()``."""
    x = paddle.to_tensor(prediction, dtype="float64").astype(dtype)
    x.stop_gradient = False
    loss = function(x, paddle.to_tensor(label), **arguments)
    given = np.broadcast_to(1.0 if grad_out is None else grad_out, loss.shape)
    loss.backward(paddle.to_tensor(given).astype(loss.dtype))
    assert x.grad.dtype == x.dtype
    return loss.astype("float64").numpy(), x.grad.astype("float64").numpy()


def assert_accurate(actual, expected, dtype, gamma):
    """Within one rounding, or the table; below the smallest normal number within its spacing."""
    tolerance = TOLERANCE[dtype][0 if gamma in (0, 1, 2) else 1]
    slack = 1 + 1e-3 if dtype in ("float16", "bfloat16") else 1
    magnitude = np.abs(expected)
    normal = (magnitude >= SMALLEST_NORMAL[dtype]) & (magnitude <= LARGEST[dtype])
    tiny = magnitude < SMALLEST_NORMAL[dtype]
    np.testing.assert_allclose(actual[normal], expected[normal], rtol=tolerance * slack, atol=0)
    assert np.isfinite(actual).all()
    np.testing.assert_allclose(actual[tiny], expected[tiny], rtol=0, atol=1.001 * SUBNORMAL[dtype])
