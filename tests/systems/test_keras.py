"""Keras' focal cross entropies, on PyTorch; its means are float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accuracy import run
from keras.losses import BinaryFocalCrossentropy, CategoricalFocalCrossentropy
from systems import assert_same, run_torch

from paddle_focal import binary_focal_loss, sigmoid_focal_loss, softmax_focal_loss

REDUCTIONS = {"mean": "sum_over_batch_size", "sum": "sum"}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("alpha", "gamma"), [(None, 2.0), (0.3, 1.5)])
@pytest.mark.parametrize("from_logits", [True, False])
def test_keras(backend, rng, smoothing, alpha, gamma, from_logits):
    """Its label smoothing moves the target as a whole; alpha counts with apply_class_balancing only."""
    x, y = rng.normal(scale=2, size=(8, 5)), rng.random((8, 5)).round()
    loss = BinaryFocalCrossentropy(
        apply_class_balancing=alpha is not None,
        alpha=alpha or 0.25,
        gamma=gamma,
        from_logits=from_logits,
        label_smoothing=smoothing,
    )
    x = x if from_logits else 1 / (1 + np.exp(-x))
    ours = run(
        x,
        y * (1 - smoothing) + smoothing / 2,
        function=sigmoid_focal_loss if from_logits else binary_focal_loss,
        alpha=alpha,
        gamma=gamma,
        reduction="mean",
        backend=backend,
    )
    assert_same(ours, run_torch(x, lambda x: loss(torch.tensor(y), x), "float32"), "float32")


def test_keras_documentation(backend):
    """The loss of its example, 0.691."""
    x, y = np.array([[-18.6, 0.51], [2.94, -12.8]]), np.array([[0.0, 1.0], [0.0, 0.0]])
    (loss, _) = run(x, y, alpha=None, reduction="mean", backend=backend)
    theirs = float(BinaryFocalCrossentropy(from_logits=True)(y, x))
    assert round(float(loss), 3) == round(theirs, 3) == 0.691


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("alpha", [0.25, [0.2, 0.5, 0.9]], ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_keras_categorical(backend, rng, reduction, alpha, smoothing):
    """Of shares of the classes; its label smoothing moves them as a whole."""
    x, y = rng.normal(scale=2, size=(8, 3)), np.eye(3)[rng.integers(3, size=8)]
    loss = CategoricalFocalCrossentropy(
        alpha=alpha,
        gamma=1.5,
        from_logits=True,
        label_smoothing=smoothing,
        reduction=REDUCTIONS[reduction],
    )
    ours = run(
        x,
        y * (1 - smoothing) + smoothing / 3,
        function=softmax_focal_loss,
        alpha=alpha,
        gamma=1.5,
        reduction=reduction,
        backend=backend,
    )
    assert_same(ours, run_torch(x, lambda x: loss(torch.tensor(y), x), "float32"), "float32")
