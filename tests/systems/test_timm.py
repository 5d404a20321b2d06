"""timm: asymmetric loss, and Poly-1 of the focal loss. It computes in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accuracy import run
from systems import assert_same, run_torch
from timm.loss import AsymmetricLossMultiLabel
from timm.loss.poly_loss import PolyBinaryCrossEntropy

from paddle_focal import asymmetric_loss, poly1_focal_loss


def theirs(loss, logit, target):
    return run_torch(logit, lambda x: loss(x, torch.tensor(target)), "float32")


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(("gamma_neg", "gamma_pos", "margin"), [(4, 1, 0.05), (2, 0, 0.2), (3, 3, 0)])
def test_timm_asymmetric(backend, rng, reduction, gamma_neg, gamma_pos, margin):
    """Of targets 0 and 1, with the powers differentiated, as is its default."""
    x, y = rng.normal(scale=2, size=(8, 5)), rng.random((8, 5)).round()
    loss = AsymmetricLossMultiLabel(gamma_neg, gamma_pos, margin, reduction=reduction)
    ours = run(
        x,
        y,
        function=asymmetric_loss,
        gamma_neg=gamma_neg,
        gamma_pos=gamma_pos,
        margin=margin,
        reduction=reduction,
        backend=backend,
    )
    assert_same(ours, theirs(loss, x, y), "float32")


def test_timm_asymmetric_of_soft_targets(backend):
    """Another loss: one power of mixed probabilities and exponents for both parts, where ours keeps each its own."""
    x, y = np.array([[np.log(4.0)]]), np.array([[0.25]])  # p = 0.8, 0.75 above the margin
    (ours, _) = run(x, y, function=asymmetric_loss, backend=backend)
    np.testing.assert_allclose(ours, -(0.25 * 0.2 * np.log(0.8) + 0.75 * 0.75**4 * np.log(0.25)), rtol=1e-6)
    mixed = (1 - 0.25 * 0.8 - 0.75 * 0.25) ** (0.25 * 1 + 0.75 * 4)
    (loss, _) = theirs(AsymmetricLossMultiLabel(reduction="sum"), x, y)
    np.testing.assert_allclose(loss, -mixed * (0.25 * np.log(0.8) + 0.75 * np.log(0.25)), rtol=1e-6)


@pytest.mark.parametrize(("alpha", "gamma", "epsilon"), [(0.25, 2.0, 1.0), (None, 2.0, -1.0), (None, 0.0, 2.0)])
@pytest.mark.parametrize("soft", [False, True])
def test_timm_poly1(backend, rng, alpha, gamma, epsilon, soft):
    x, y = rng.normal(scale=2, size=(8, 5)), rng.random((8, 5))
    y = y if soft else y.round()
    loss = PolyBinaryCrossEntropy(epsilon, gamma, alpha)
    parameters = {"alpha": alpha, "gamma": gamma, "epsilon": epsilon, "reduction": "mean"}
    ours = run(x, y, function=poly1_focal_loss, backend=backend, **parameters)
    assert_same(ours, theirs(loss, x, y), "float32")
