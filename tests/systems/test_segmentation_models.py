"""segmentation_models_pytorch: masks with an index to ignore."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accuracy import run
from segmentation_models_pytorch.losses import FocalLoss
from systems import assert_same, run_torch


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (None, 1.5)])
def test_segmentation_models(backend, rng, reduction, alpha, gamma):
    """Binary mode: class 0 here is the object, and 1, the number of classes, background."""
    x, mask = rng.normal(scale=2, size=(2, 1, 4, 5)), rng.integers(2, size=(2, 4, 5))
    mask[0, :2] = 255
    loss = FocalLoss("binary", alpha=alpha, gamma=gamma, ignore_index=255, reduction=reduction)
    ours = run(
        x,
        np.where(mask == 255, 255, 1 - mask),
        "float64",
        alpha=alpha,
        gamma=gamma,
        reduction=reduction,
        ignore_index=255,
        axis=1,
        backend=backend,
    )
    assert_same(ours, run_torch(x, lambda x: loss(x, torch.tensor(mask))))


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (None, 1.5)])
def test_segmentation_models_multiclass(backend, rng, alpha, gamma):
    """One class against the others, each by its sigmoid."""
    x, mask = rng.normal(scale=2, size=(2, 3, 4, 5)), rng.integers(3, size=(2, 4, 5))
    mask[0, :2] = 255
    loss = FocalLoss("multiclass", alpha=alpha, gamma=gamma, ignore_index=255)
    arguments = {"alpha": alpha, "gamma": gamma, "reduction": "mean", "ignore_index": 255, "axis": 1}
    ours = run(x, mask, "float64", backend=backend, **arguments)
    assert_same(ours, run_torch(x, lambda x: loss(x, torch.tensor(mask))))
