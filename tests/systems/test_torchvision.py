"""Torchvision, whose function is fvcore's."""

from __future__ import annotations

import pytest
import torch
from accuracy import run
from systems import assert_same, run_torch
from torchvision.ops import sigmoid_focal_loss as theirs


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 1.5), (-1, 2.0), (-1, 0.0)])
@pytest.mark.parametrize("soft", [False, True])
def test_torchvision(backend, rng, dtype, reduction, alpha, gamma, soft):
    """Their alpha of -1 is None here; hard and soft targets."""
    x, y = rng.normal(scale=3, size=(8, 5)), rng.random((8, 5))
    y = y if soft else y.round()
    of_torch = run_torch(x, lambda x: theirs(x, torch.tensor(y).to(x), alpha, gamma, reduction), dtype)
    ours = run(x, y, dtype, alpha=None if alpha == -1 else alpha, gamma=gamma, reduction=reduction, backend=backend)
    assert_same(ours, of_torch, dtype)
