"""MONAI's FocalLoss, which computes in float32."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
import torch
from accuracy import run
from monai.losses import FocalLoss
from systems import assert_same, run_torch

from paddle_focal import sigmoid_focal_loss, softmax_focal_loss


@pytest.fixture
def image(rng):
    return rng.normal(scale=2, size=(2, 3, 4, 5))


@pytest.fixture
def label(rng):
    return rng.integers(3, size=(2, 4, 5))


def theirs(image, label, **arguments):
    loss = FocalLoss(to_onehot_y=True, **arguments)
    return run_torch(image, lambda x: loss(x, torch.tensor(label[:, None])), "float32")


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (None, 1.5)])
def test_monai(backend, image, label, reduction, alpha, gamma):
    """Sigmoids; the sum there is one of means over the pixels."""
    ours = run(
        image,
        label,
        "float32",
        function=sigmoid_focal_loss,
        normalizer=20.0 if reduction == "sum" else None,
        alpha=alpha,
        gamma=gamma,
        reduction=reduction,
        axis=1,
        backend=backend,
    )
    assert_same(ours, theirs(image, label, alpha=alpha, gamma=gamma, reduction=reduction), "float32")


def test_monai_alpha_of_each_class(backend, image, label):
    """It multiplies targets 1 only."""
    alpha = np.array([0.2, 0.5, 0.9])
    y = np.moveaxis(np.eye(3)[label], -1, 1)
    weight = paddle.to_tensor(np.where(y == 1, alpha[:, None, None], 1))
    ours = run(image, y, weight=weight, alpha=None, reduction="mean", axis=1, backend=backend)
    assert_same(ours, theirs(image, label, alpha=alpha.tolist()), "float32")


def test_monai_without_background(backend, image, label):
    """Class 0 is left out: label 0 is then what C is here."""
    index = np.where(label == 0, 2, label - 1)
    loss, gradient = run(image[:, 1:], index, alpha=0.25, reduction="mean", axis=1, backend=backend)
    gradient = np.concatenate([np.zeros((2, 1, 4, 5)), gradient], axis=1)
    assert_same((loss, gradient), theirs(image, label, alpha=0.25, include_background=False), "float32")


@pytest.mark.parametrize("alpha", [None, 0.3, [0.2, 0.5, 0.9]], ids=str)
def test_monai_softmax(backend, image, label, alpha):
    """Alpha is a factor of each class, a number 1 - alpha for class 0; a mean is over all classes."""
    factors = [0.7, 0.3, 0.3] if alpha == 0.3 else alpha
    arguments = {"alpha": factors, "normalizer": image.size, "axis": 1, "backend": backend}
    ours = run(image, label, function=softmax_focal_loss, **arguments)
    assert_same(ours, theirs(image, label, alpha=alpha, use_softmax=True), "float32")
