"""Losses of PyTorch and their gradients, and what ours are held to beside them."""

from __future__ import annotations

import numpy as np
import torch

#: Largest error, relative to a number itself, and to the largest beside it.
TOLERANCE = {"float64": (1e-9, 1e-12), "float32": (1e-5, 1e-6)}


def run_torch(logit, function, dtype="float64"):
    """What ``function`` makes of logits, and the gradient of its sum."""
    x = torch.tensor(logit, dtype=getattr(torch, dtype), requires_grad=True)
    loss = function(x)
    loss.sum().backward()
    return loss.detach().numpy(), x.grad.numpy()


def assert_same(ours, theirs, dtype="float64"):
    """A loss and its gradient."""
    relative, absolute = TOLERANCE[dtype]
    for actual, expected in zip(ours, theirs):
        assert actual.shape == expected.shape
        assert expected.any()
        np.testing.assert_allclose(actual, expected, relative, absolute * np.abs(expected).max())
