"""Kornia: focal loss of a softmax along axis 1, and of sigmoids."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
import torch
from accuracy import run
from kornia.losses import binary_focal_loss_with_logits, focal_loss
from systems import assert_same, run_torch

from paddle_focal import sigmoid_focal_loss, softmax_focal_loss

WEIGHT = np.array([1.0, 2.0, 0.5])


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(("alpha", "gamma"), [(0.4, 2.0), (0.25, 1.5), (None, 2.0)])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
def test_kornia(backend, rng, reduction, alpha, gamma, weight):
    """Class 0 weighs 1 - alpha and every other class alpha; a mean is over all classes and ignored pixels, too."""
    image, label = rng.normal(scale=2, size=(2, 3, 4, 5)), rng.integers(3, size=(2, 4, 5))
    label[0, :2] = -100
    classes = None if weight is None else torch.tensor(weight)
    target = torch.tensor(label)
    of_torch = run_torch(image, lambda x: focal_loss(x, target, alpha, gamma, reduction, classes, ignore_index=-100))
    factors = np.array([1.0] * 3 if alpha is None else [1 - alpha, alpha, alpha]) * (1 if weight is None else weight)
    ours = run(
        image,
        label,
        "float64",
        function=softmax_focal_loss,
        normalizer=image.size if reduction == "mean" else None,
        alpha=factors.tolist(),
        gamma=gamma,
        reduction="none" if reduction == "none" else "sum",
        ignore_index=-100,
        axis=1,
        backend=backend,
    )
    if reduction == "none":  # theirs has the shape of the logits, with zeros for all classes but the label's
        of_torch = (of_torch[0].sum(1), of_torch[1])
    assert_same(ours, of_torch)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("alpha", [0.25, None])
def test_kornia_binary(backend, rng, reduction, alpha):
    """With a weight of each class for targets 1, and one for all."""
    x, y = rng.normal(scale=2, size=(2, 3, 6)), rng.random((2, 3, 6)).round()
    positive, weight = np.array([3.0, 1.0, 0.5]), WEIGHT

    def theirs(x):
        vectors = {"pos_weight": torch.tensor(positive), "weight": torch.tensor(weight)}
        return binary_focal_loss_with_logits(x, torch.tensor(y), alpha, 2.0, reduction, **vectors)

    elements = np.where(y == 1, positive[:, None], 1) * weight[:, None]
    ours = run(
        x,
        y,
        "float64",
        function=sigmoid_focal_loss,
        alpha=alpha,
        reduction=reduction,
        weight=paddle.to_tensor(elements),
        axis=1,
        backend=backend,
    )
    assert_same(ours, run_torch(x, theirs))
