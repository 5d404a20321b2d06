"""Batches for PaddleDetection's losses and ours, its functions by their paths, and what they compute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
import pytest

CLASSES = 6
#: The heads whose losses of probabilities are the same text.
PPYOLOE = [
    "heads.ppyoloe_head.PPYOLOEHead",
    "heads.ppyoloe_r_head.PPYOLOERHead",
    "heads.ppyoloe_ins_head.PPYOLOEInsHead",
]


def ppdet(path: str):
    """What a path below ppdet.modeling names; the test is skipped where a release does not have it."""
    module, name = path.rsplit(".", 1)
    return getattr(pytest.importorskip(f"ppdet.modeling.{module}"), name, None) or pytest.skip(f"no {name} in ppdet")


def tensors(*arrays):
    return [paddle.to_tensor(array) for array in arrays]


@dataclass
class Batch:
    """Logits below 6 in magnitude, class indices with background among them, and scores with 0 and 1 among them."""

    logit: np.ndarray
    label: np.ndarray
    score: np.ndarray

    @classmethod
    def of(cls, rng, dtype: str = "float32", shape: tuple[int, ...] = (60,)) -> Batch:
        label = rng.integers(0, CLASSES + 1, shape)
        score = rng.uniform(-0.1, 1.1, shape).clip(0, 1) * (label < CLASSES)
        return cls(rng.uniform(-6, 6, (*shape, CLASSES)).astype(dtype), label, score.astype(dtype))

    @property
    def one_hot(self) -> np.ndarray:
        return (np.arange(CLASSES) == self.label[..., None]).astype(self.logit.dtype)

    @property
    def dense(self) -> np.ndarray:
        return self.one_hot * self.score[..., None]

    @property
    def pair(self):
        """Class indices and scores, as tensors."""
        return tensors(self.label, self.score)


def loss_and_gradients(function, *arrays):
    inputs = [paddle.to_tensor(array, stop_gradient=False) for array in arrays]
    loss = function(*inputs)
    loss.sum().backward()
    return [loss.numpy(), *(tensor.grad.numpy() for tensor in inputs)]


def quality_in_numpy(x, target, gamma):
    """Losses of the elements, and gradients."""
    x, y = x.astype("float64"), target.astype("float64")
    p = 1 / (1 + np.exp(-x))
    cross_entropy = y * np.log1p(np.exp(-x)) + (1 - y) * np.log1p(np.exp(x))
    d = np.abs(p - y)
    slope = gamma * d ** (gamma - 1) * np.sign(p - y) * p * (1 - p)
    return d**gamma * cross_entropy, d**gamma * (p - y) + slope * cross_entropy


def assert_is_quality(function, x, target, gamma, factor=1.0):
    """A float32 sum of quality focal losses, times factors that broadcast to the logits."""
    loss, gradient = loss_and_gradients(function, x)
    elements, slopes = (one * factor for one in quality_in_numpy(x, target, gamma))
    np.testing.assert_allclose(loss, elements.sum(), rtol=1e-5)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-7)


class Fcos:
    """The loss of the classes of FCOSLoss, as a function of logits [N, C, H, W]; its label 0 is background."""

    def __init__(self, rng, has_boxes: bool = True) -> None:
        self.logit = rng.uniform(-6, 6, (2, CLASSES, 4, 4)).astype("float32")
        self.label = rng.integers(0, CLASSES + 1, (2, 4, 4)) * has_boxes

    def stock(self, **hyper_parameters):
        layer = ppdet("losses.fcos_loss.FCOSLoss")(**hyper_parameters)
        labels = paddle.to_tensor(self.label.astype("int32")).unsqueeze(-1)
        rest = [paddle.ones([2, 4, 4, 4])], [paddle.ones([2, 1, 4, 4])], [labels]
        targets = [paddle.ones([2, 4, 4, 4])], [paddle.ones([2, 4, 4, 1])]
        return lambda x: layer([x], *rest, *targets)["loss_cls"]

    @property
    def index(self):
        """Our labels, where background is the last."""
        return paddle.to_tensor(np.where(self.label == 0, CLASSES, self.label - 1))

    @property
    def positives(self) -> float:
        return float((self.label > 0).sum())
