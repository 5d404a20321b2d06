"""Optax, on JAX in double precision."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
from accuracy import run
from systems import assert_same


@pytest.mark.parametrize(("alpha", "gamma"), [(0.6, 3.0), (0.25, 2.0), (None, 1.5), (None, 0.0)])
@pytest.mark.parametrize("soft", [False, True])
def test_optax(backend, rng, alpha, gamma, soft):
    """Elements without reduction; hard and soft targets."""
    x, y = rng.normal(scale=3, size=(8, 5)), rng.random((8, 5))
    y = y if soft else y.round()
    with jax.enable_x64(True):
        loss, gradient_of = jax.vjp(lambda x: optax.losses.sigmoid_focal_loss(x, y, alpha=alpha, gamma=gamma), x)
        (gradient,) = gradient_of(np.ones_like(x))
    ours = run(x, y, "float64", alpha=alpha, gamma=gamma, reduction="none", backend=backend)
    assert_same(ours, (np.asarray(loss), np.asarray(gradient)))
