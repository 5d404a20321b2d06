"""The losses that the contract of tests/losses/contract holds for, each with what is right for it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import oracle
import paddle

import paddle_focal


@dataclass(frozen=True)
class LossUnderTest:
    """One loss.

    Attributes:
        name: for the tests.
        function: the public one.
        layer: makes its layer from hyper-parameters.
        definition: losses and gradients, in many digits, of predictions ``[N, C]`` with labels ``[N]`` or ``[N, C]``,
            gamma, alpha and label smoothing.
        keeps_class_axis: whether there is one loss for each prediction, not one for each label.
        has_background: whether the label C is no class.
        is_computed_in_float64: whether the tolerances of gamma 0, 1 and 2 hold for every gamma.
        samples: predictions ``[N, C]`` from the extremes on, with labels ``[N]``, for a dtype.
        typical: predictions of a shape.
        has_smoothing: whether there is a label smoothing.
        score: None, or the definition of the element of the label's own class, of prediction, score, alpha and gamma.
        focusing: what the function calls gamma.
        has_exact_powers: whether gamma 0, 1 and 2 have tolerances of their own.
    """

    name: str
    function: Callable
    layer: Callable
    definition: Callable
    keeps_class_axis: bool
    has_background: bool
    is_computed_in_float64: bool
    samples: Callable[[str], tuple[np.ndarray, np.ndarray]]
    typical: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    has_smoothing: bool = True
    score: Callable | None = None
    focusing: str = "gamma"
    has_exact_powers: bool = True

    def __str__(self) -> str:
        return self.name

    @property
    def prediction(self) -> str:
        """The name of the first argument."""
        return "prob" if self.name == "binary" else "logit"

    def smoothing(self, value: float) -> dict[str, float]:
        """The argument of a call; none where the loss has none."""
        return {"label_smoothing": value} if self.has_smoothing else {}

    def power(self, gamma: float) -> dict[str, float]:
        """The argument of a call."""
        return {self.focusing: gamma}

    def row(self, gamma: float) -> float:
        """The gamma whose tolerances hold."""
        return 0.0 if self.is_computed_in_float64 else gamma if self.has_exact_powers else 1.5

    def highest_label(self, classes: int) -> int:
        return classes if self.has_background else classes - 1

    def labels(self, rng: np.random.Generator, shape: tuple[int, ...], axis: int = -1) -> np.ndarray:
        """Class indices for predictions of a shape."""
        axis %= len(shape)
        return rng.integers(0, self.highest_label(shape[axis]) + 1, shape[:axis] + shape[axis + 1 :])

    def expected(self, prediction, label, axis: int = -1, ignore_index: int = -1, **arguments):
        """Losses in the shape that reduction 'none' has, and gradients; 0 where the label is ignored."""
        moved = np.moveaxis(np.asarray(prediction, np.float64), axis, -1)
        is_kept = np.ravel(label) != ignore_index
        flat, classes = moved.reshape(-1, moved.shape[-1]), moved.shape[-1]
        index = np.where(is_kept, np.ravel(label), 0)
        loss, gradient = _remembered(self.definition, flat, index, arguments)
        gradient = np.moveaxis((gradient * is_kept[:, None]).reshape(moved.shape), -1, axis)
        if self.keeps_class_axis:
            return np.moveaxis((loss * is_kept[:, None]).reshape(moved.shape), -1, axis), gradient
        return (loss * is_kept).reshape(moved.shape[:-1] if classes else []), gradient


_TRUTHS: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}


def _remembered(definition: Callable, prediction: np.ndarray, label: np.ndarray, arguments: dict):
    """Losses and gradients of equal arguments, which tests of several backends and dtypes ask for, once."""
    values = [np.asarray(value).tobytes() if value is not None else None for value in arguments.values()]
    key = (definition, prediction.shape, prediction.tobytes(), label.tobytes(), *arguments, *values)
    if key not in _TRUTHS:
        _TRUTHS[key] = definition(prediction, label, **arguments)
    return _TRUTHS[key]


def _elementwise(definition: Callable) -> Callable:
    """From a definition that takes dense targets, one that takes class indices, too."""

    def of_labels(prediction, label, gamma=2.0, alpha=0.25, smoothing=0.0):
        dense = oracle.one_hot(label, prediction.shape[1])[0] if np.ndim(label) == 1 else label
        return definition(prediction, dense, alpha, gamma, smoothing)

    return of_labels


def _without_smoothing(element: Callable, alpha: float | None, gamma: float = 2.0) -> Callable:
    """A definition that takes what those of other losses take, from one of an element, with its own defaults."""
    default, usual = alpha, gamma

    def of_dense(prediction, label, gamma=usual, alpha=default, smoothing=0.0):
        assert smoothing == 0.0
        alphas = np.full(prediction.shape, None) if alpha is None else np.broadcast_to(alpha, prediction.shape)
        return oracle.values_and_slopes(lambda x, y, a: element(x, y, a, gamma), prediction, label, alphas)

    def of_labels(prediction, label, **arguments):
        dense = oracle.one_hot(label, prediction.shape[1])[0] if np.ndim(label) == 1 else label
        return of_dense(prediction, dense, **arguments)

    return of_labels


def _sigmoid_samples(_dtype: str) -> tuple[np.ndarray, np.ndarray]:
    steps = [np.linspace(-100, 100, 81), np.linspace(-20, 20, 64)]
    logit = np.concatenate([*steps, [-1e4, 1e4, 0.0, -1e-3, 1e-30, -88.5, -103.9, 16.7]])
    return np.tile(logit, 2)[:, None], np.repeat([0, 1], len(logit))


def _poly1_samples(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Without those whose exp(-|x|) underflows in float32 before something makes more of it."""
    logit, label = _sigmoid_samples(dtype)
    is_kept = np.abs(np.abs(logit[:, 0]) - 88.8) > 1.6
    return logit[is_kept], label[is_kept]


def _asymmetric_samples(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Nor those near the margin."""
    logit, label = _poly1_samples(dtype)
    is_kept = np.abs(logit[:, 0] + 2.94) > 0.2
    return logit[is_kept], label[is_kept]


def _binary_samples(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    tiny, ends = [1e-30, 1e-12, 1e-7], [0.9999, 1 - 2**-24]
    prob = np.array(
        [1e-3, 0.01, 0.3, 0.5, 0.7, 0.99] if "16" in dtype else [*tiny, 1e-3, 0.01, 0.3, 0.5, 0.7, 0.99, *ends]
    )
    return np.tile(prob, 2)[:, None], np.repeat([0, 1], len(prob))


def _softmax_samples(_dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Three classes from far apart to equal, and differences of which rounding takes as much as is allowed."""
    extreme = [0.1, 0.1, 1e-3, 1.3, -1.7, 10.1, -17.3, 30.7, 60.9, -85.3, 99.7, -100.0]
    rng = np.random.default_rng(3)
    rows = np.array(list(itertools.permutations(extreme, 3)))[rng.permutation(1320)[:24]]
    rows = np.concatenate([rows, rng.uniform([0, 30, -45], [20, 40, -38], (24, 3))])
    return rows, np.append(rng.integers(0, 3, 24), np.zeros(24, "int64"))


def _softmax_definition(prediction, label, gamma=2.0, alpha=None, smoothing=0.0):
    alpha = None if alpha is None else np.broadcast_to(alpha, prediction.shape[1:])
    return oracle.softmax_loss_and_gradient(prediction, label, gamma, alpha, smoothing, digits=500)


SIGMOID = LossUnderTest(
    name="sigmoid",
    function=paddle_focal.sigmoid_focal_loss,
    layer=paddle_focal.SigmoidFocalLoss,
    definition=_elementwise(oracle.loss_and_gradient),
    keeps_class_axis=True,
    has_background=True,
    is_computed_in_float64=False,
    samples=_sigmoid_samples,
    typical=lambda rng, shape: rng.normal(scale=3, size=shape),
)
BINARY = LossUnderTest(
    name="binary",
    function=paddle_focal.binary_focal_loss,
    layer=lambda **options: paddle_focal.SigmoidFocalLoss(activated=True, **options),
    definition=_elementwise(oracle.binary_loss_and_gradient),
    keeps_class_axis=True,
    has_background=True,
    is_computed_in_float64=True,
    samples=_binary_samples,
    typical=lambda rng, shape: rng.uniform(0.05, 0.95, shape),
)
SOFTMAX = LossUnderTest(
    name="softmax",
    function=paddle_focal.softmax_focal_loss,
    layer=paddle_focal.SoftmaxFocalLoss,
    definition=_softmax_definition,
    keeps_class_axis=False,
    has_background=False,
    is_computed_in_float64=False,
    samples=_softmax_samples,
    typical=lambda rng, shape: rng.normal(scale=3, size=shape),
)
QUALITY = LossUnderTest(
    name="quality",
    function=paddle_focal.quality_focal_loss,
    layer=paddle_focal.QualityFocalLoss,
    definition=_without_smoothing(oracle.quality_element, None),
    keeps_class_axis=True,
    has_background=True,
    is_computed_in_float64=False,
    samples=_sigmoid_samples,
    typical=lambda rng, shape: rng.normal(scale=3, size=shape),
    has_smoothing=False,
    score=oracle.quality_element,
)
VARIFOCAL = LossUnderTest(
    name="varifocal",
    function=paddle_focal.varifocal_loss,
    layer=paddle_focal.VarifocalLoss,
    definition=_without_smoothing(oracle.varifocal_element, 0.75),
    keeps_class_axis=True,
    has_background=True,
    is_computed_in_float64=False,
    samples=_sigmoid_samples,
    typical=lambda rng, shape: rng.normal(scale=3, size=shape),
    has_smoothing=False,
    score=lambda x, y, alpha, gamma: oracle.varifocal_element(x, y, alpha, gamma, is_own=True),
)
ASYMMETRIC = LossUnderTest(
    name="asymmetric",
    function=paddle_focal.asymmetric_loss,
    layer=paddle_focal.AsymmetricLoss,
    definition=_without_smoothing(oracle.asymmetric_element, None, 4.0),
    keeps_class_axis=True,
    has_background=True,
    is_computed_in_float64=False,
    samples=_asymmetric_samples,
    typical=lambda rng, shape: rng.normal(scale=3, size=shape),
    has_smoothing=False,
    focusing="gamma_neg",
    has_exact_powers=False,
)
POLY1 = LossUnderTest(
    name="poly1",
    function=paddle_focal.poly1_focal_loss,
    layer=paddle_focal.Poly1FocalLoss,
    definition=_elementwise(partial(oracle.loss_and_gradient, element=oracle.poly1_element)),
    keeps_class_axis=True,
    has_background=True,
    is_computed_in_float64=False,
    samples=_poly1_samples,
    typical=lambda rng, shape: rng.normal(scale=3, size=shape),
)
LOSSES = (SIGMOID, BINARY, SOFTMAX, QUALITY, VARIFOCAL, ASYMMETRIC, POLY1)


@cache
def samples_and_truth(loss: LossUnderTest, dtype: str, gamma: float):
    """The samples rounded to a dtype, their labels, and the losses and gradients that are right."""
    prediction, label = loss.samples(dtype)
    rounded = paddle.to_tensor(prediction, dtype="float64").astype(dtype).astype("float64").numpy()
    return rounded, label, *loss.definition(rounded, label, gamma=gamma)
