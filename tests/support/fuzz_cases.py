"""Calls of the losses that hypothesis draws, and what is right for each, for test_fuzz.py."""

from __future__ import annotations

import math
from dataclasses import dataclass

import hypothesis.extra.numpy as hnp
import numpy as np
import oracle
import paddle
import reference
from hypothesis import strategies as st
from paddle_limits import IS_PADDLE_2

import paddle_focal

#: Of logits, and of probabilities.
FUNCTIONS = {
    "sigmoid": (paddle_focal.sigmoid_focal_loss, paddle_focal.binary_focal_loss),
    "softmax": (paddle_focal.softmax_focal_loss,),
    "quality": (paddle_focal.quality_focal_loss, paddle_focal.binary_quality_focal_loss),
    "varifocal": (paddle_focal.varifocal_loss, paddle_focal.binary_varifocal_loss),
    "gaussian": (paddle_focal.gaussian_focal_loss, paddle_focal.binary_gaussian_focal_loss),
    "asymmetric": (paddle_focal.asymmetric_loss, paddle_focal.binary_asymmetric_loss),
    "poly1": (paddle_focal.poly1_focal_loss, paddle_focal.binary_poly1_focal_loss),
}
FOCUSING = {loss: "gamma_neg" if loss == "asymmetric" else "gamma" for loss in FUNCTIONS}
#: What each has besides logit, label, normalizer, gamma, reduction, weight and backend.
OF_CLASSES = ("alpha", "ignore_index", "axis")
OPTIONS = {
    "sigmoid": (*OF_CLASSES, "label_smoothing"),
    "softmax": (*OF_CLASSES, "label_smoothing"),
    "quality": OF_CLASSES,
    "varifocal": (*OF_CLASSES, "detach_weight"),
    "gaussian": ("beta",),
    "asymmetric": (*OF_CLASSES, "gamma_pos", "margin"),
    "poly1": (*OF_CLASSES, "label_smoothing", "epsilon"),
}
DTYPES = ("float16", "bfloat16", "float32", "float64")
LARGEST = {dtype: float(paddle.finfo(getattr(paddle, dtype)).max) for dtype in DTYPES}
SUBNORMAL = {"float16": 6e-8, "bfloat16": 1e-39, "float32": 1e-45, "float64": 5e-324}
#: Relative errors of what is computed in float32 or float64 (README, Numerics), and of rounding the result.
COMPUTED = {"float32": 2e-5, "float64": 1e-12}
ROUNDED = {"float16": 2**-11, "bfloat16": 2**-8, "float32": 2**-24, "float64": 0}
#: Absolute errors of numbers that underflow: on the way, before factors multiply them; in the result.
UNDERFLOW = {"float32": 1e-35, "float64": 1e-304}
SPACING = {"float16": 1.001 * 2**-25, "bfloat16": 1.2e-38, "float32": 1.2e-38, "float64": 1e-299}
SMALLEST_SIDE = 1 if IS_PADDLE_2 else 0  # see paddle_limits.needs_empty_tensors
#: More elements than a block has, more labels than a tile, more logits than a task.
LARGE = [(2100,), (130, 7), (3, 80), (3, 70, 9), (2, 3, 150), (1100, 3), (2, 2, 2, 65, 3), (700, 1), (1, 1, 1, 2100)]


def tensor(values, dtype):
    return paddle.to_tensor(np.asarray(values), dtype="float64").astype(dtype)


def rounded(values, dtype):
    return tensor(values, dtype).astype("float64").numpy()


@dataclass
class Case:
    """One call. Arrays are in float64, as they are after rounding to their types."""

    loss: str
    is_activated: bool  # the logits are probabilities
    dtype: str
    axis: int
    logit: np.ndarray
    label: np.ndarray
    label_dtype: str
    score: np.ndarray | None
    score_dtype: str
    alpha: float | list | None
    gamma: float
    beta: float
    gamma_pos: float
    margin: float
    epsilon: float
    detach_weight: bool
    normalizer: float | np.ndarray | None
    weight: np.ndarray | None
    weight_dtype: str
    label_smoothing: float
    ignore_index: int
    reduction: str
    upstream: np.ndarray
    is_strided: bool  # the axes lie in memory in the reverse order

    @property
    def sum_dtype(self):
        return "float64" if self.dtype == "float64" else "float32"

    @property
    def computed_in(self):
        return "float64" if self.is_activated else self.sum_dtype

    def run(self, backend):
        """Loss and gradient."""
        leaf = tensor(self.logit.T if self.is_strided else self.logit, self.dtype)
        leaf.stop_gradient = False
        options = {name: getattr(self, name) for name in OPTIONS[self.loss]}
        if self.score is not None:
            options["score"] = self.laid_out(self.score, self.score_dtype)
        loss = FUNCTIONS[self.loss][self.is_activated](
            leaf.transpose(range(leaf.ndim)[::-1]) if self.is_strided else leaf,
            self.laid_out(self.label, self.label_dtype),
            normalizer=tensor(self.normalizer, "float32") if isinstance(self.normalizer, list) else self.normalizer,
            **{FOCUSING[self.loss]: self.gamma},
            reduction=self.reduction,
            weight=None if self.weight is None else tensor(self.weight, self.weight_dtype),
            backend=backend,
            **options,
        )
        assert loss.dtype == getattr(paddle, self.dtype if self.reduction == "none" else self.sum_dtype)
        loss.backward(tensor(self.upstream, loss.dtype))
        gradient = leaf.grad.astype("float64").numpy()
        return loss.astype("float64").numpy(), gradient.T if self.is_strided else gradient

    def laid_out(self, values, dtype):
        if not self.is_strided:
            return tensor(values, dtype)
        return tensor(values.T, dtype).transpose(range(values.ndim)[::-1])

    def rows(self, values):
        """What has the shape of the logits as ``[N, C]``, what has that of the labels as ``[N, 1]``."""
        if np.shape(values) == self.logit.shape:
            return np.moveaxis(values, self.axis, -1).reshape(-1, self.logit.shape[self.axis])
        return np.reshape(values, (-1, 1))

    @np.errstate(all="ignore")
    def check(self, loss, gradient):
        """Holds the results against the definition; NaN belongs where a logit that counts is NaN, nowhere else.

        The softmax of shares takes 1 - p_t below the smallest normal number as that number, of which a small gamma and
        what smoothing adds, multiples of the logits, can make something that is not as small.
        """
        assert loss.shape == np.shape(self.upstream)
        (losses, gradients, terms, *margins), count = self.expected()
        count = max(1, count) if self.reduction == "mean" else 1
        upstream = self.rows(self.upstream) / count
        x, computed_in = self.rows(self.logit), self.computed_in
        distance = np.maximum(1, np.abs(np.where(np.isfinite(x), x, 0)))
        if self.loss == "softmax":
            distance = distance.max(axis=1, keepdims=True)
            if self.label_smoothing and self.label_dtype in DTYPES:
                margins = [100 * distance * 2.3e-308**self.gamma] * 2 if self.gamma else margins
        if self.reduction == "none":
            assert_close(self.rows(loss), losses, losses, computed_in, self.dtype, distance, margins[0])
        else:
            total, amplified = losses.sum() / count, distance.max(initial=1) * x.size
            assert_close(loss, total, total, computed_in, self.sum_dtype, amplified, np.sum(margins[0]) / count)
        gradients, terms = gradients * upstream, terms * np.abs(upstream)
        if self.loss == "asymmetric" and self.margin:
            distance = distance / self.margin
        if self.is_activated:
            gradients, terms = (np.clip(one, -LARGEST[self.dtype], LARGEST[self.dtype]) for one in (gradients, terms))
            distance = distance / np.maximum(x * (1 - x), reference.SMALLEST)
        margin = margins[1] * np.abs(upstream)
        assert_close(self.rows(gradient), gradients, terms, computed_in, self.dtype, distance, margin)

    def expected(self):
        """What reference.py says, in rows; and the number of losses that a mean counts."""
        label, classes = self.rows(self.label), self.logit.shape[self.axis]
        if self.label_dtype in DTYPES:
            target, kept = label, np.ones((len(label), 1), bool)
        else:
            target, kept = label == np.arange(classes), label != self.ignore_index
        is_positive = target > 0
        if self.score is not None:
            target = target * self.rows(self.score)
        x = np.where(kept, self.rows(self.logit), 0.5)
        normalizer = 1.0 if self.normalizer is None else np.array(self.normalizer)
        alpha = None if self.alpha is None else np.array(self.alpha)
        factor = kept * self.weight_of_rows()
        if self.loss == "softmax":
            scale = np.broadcast_to((1.0 if alpha is None else alpha) / normalizer, [classes])
            loss, *others = reference.softmax(x, target, scale, self.gamma, self.label_smoothing)
            return [one * factor for one in (loss[:, None], *others)], kept.sum()
        factor = factor / normalizer
        x = reference.logit(x) if self.is_activated else x
        result = self.of_logits(x, target, is_positive, alpha)
        result = reference.on_probabilities(x, result) if self.is_activated else result
        return [one * factor for one in result], kept.sum() * classes

    def of_logits(self, x, target, is_positive, alpha):
        """What reference.py says of losses of single logits."""
        if self.loss == "varifocal":
            alpha = 1.0 if alpha is None else alpha
            return reference.varifocal(x, target, is_positive, alpha, self.gamma, self.detach_weight)
        if self.loss == "gaussian":
            return reference.gaussian(x, target, self.gamma, self.beta)
        alpha_t = 1.0 if alpha is None else target * alpha + (1 - target) * (1 - alpha)
        # A logit that is computed is as far off as it is large.
        distance = np.maximum(1, np.abs(x)) if self.is_activated else 1
        if self.loss == "quality":
            return reference.quality(x, target, alpha_t, self.gamma, reference.ROUNDINGS["float64"] * distance)
        if self.loss == "asymmetric":
            roundings = reference.ROUNDINGS[self.computed_in] * distance
            return reference.asymmetric(x, target, alpha_t, self.gamma, self.gamma_pos, self.margin, roundings)
        epsilon = self.epsilon if self.loss == "poly1" else 0.0
        return reference.sigmoid(x, target, alpha_t, self.gamma, self.label_smoothing, epsilon)

    def weight_of_rows(self):
        if self.weight is None:
            return 1.0
        shape, given = self.logit.shape, self.weight
        labels = shape if self.loss == "gaussian" else tuple(np.delete(shape, self.axis))
        if given.ndim == len(shape):
            return self.rows(np.broadcast_to(given, shape))
        if all(m in (1, n) for m, n in zip(given.shape, labels)):
            given = given.reshape(given.shape + (1,) * (len(labels) - given.ndim))
            return self.rows(np.broadcast_to(given, labels))
        return self.rows(given.reshape(shape))


def assert_close(actual, expected, terms, computed_in, dtype, amplified, margin):
    """Within the rounding of the terms and a margin; ``amplified`` is what multiplies an error of underflow."""
    expected, terms = np.asarray(expected, np.float64), np.asarray(terms, np.float64)
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    error = np.abs(np.where(np.isinf(actual), LARGEST[dtype], actual) - expected)
    relative = COMPUTED[computed_in] + 1.001 * ROUNDED[dtype]
    allowed = relative * terms + UNDERFLOW[computed_in] * amplified + SPACING[dtype] + np.asarray(margin, np.float64)
    may_overflow = 1e4 * np.abs(terms) > LARGEST[dtype]  # on the way, before a factor makes it smaller
    is_right = (error <= allowed) | np.isnan(expected) | (may_overflow & np.isinf(actual))
    assert is_right.all(), f"{actual[~is_right]} in place of {expected[~is_right]}"


def drawn(draw, elements, shape):
    """An array of a few values that are drawn, again and again."""
    return np.resize(np.array(draw(st.lists(elements, min_size=1, max_size=30)), np.float64), shape)


def fractions(lowest, highest, parts):
    """Numbers that every dtype has, so that no error is made before the loss."""
    return st.integers(lowest, highest).map(lambda n: n / parts)


@st.composite
def logits(draw, is_activated, dtype, shape, with_nan, label_smoothing):
    special = [0.0, -0.0, 1e4, -1e4, 88.7, -103.9, 17.5, -745.1, 1e-30, SUBNORMAL[dtype]]
    if not label_smoothing:  # which adds up multiples of the logits themselves, of either sign
        special += [LARGEST[dtype] / 2, -LARGEST[dtype] / 2]  # the difference of two is finite
    elements = st.floats(-40, 40) | st.sampled_from(special)
    if is_activated:
        elements = st.floats(0, 1) | st.sampled_from(
            [0.0, 1.0, 0.5, SUBNORMAL[dtype], 1e-30, 1e-7, 1 - 2**-11, 1 - 2**-24]
        )
    return rounded(drawn(draw, elements | st.just(math.nan) if with_nan else elements, shape), dtype)


@st.composite
def shares(draw, dtype, shape):
    """Numbers in [0, 1]."""
    share = fractions(0, 64, 64) | st.sampled_from([0.0, 1.0, 2**-30, 2**-20, 1 - 2**-20, 1 / 3])
    return rounded(drawn(draw, share, shape), dtype)


@st.composite
def labels(draw, dtype, classes, has_background, ignore_index, shape, axis):
    if dtype in DTYPES:
        return draw(shares(dtype, shape))
    return drawn(draw, st.integers(0, classes - (not has_background)) | st.just(ignore_index), np.delete(shape, axis))


@st.composite
def weights(draw, loss, shape, axis, lowest):
    """Leading axes of the labels; of losses of logits also all axes of those, or all of them as one."""
    labels = shape if loss == "gaussian" else np.delete(shape, axis).tolist()
    shapes = [labels[: draw(st.integers(0, len(labels)))]]
    shapes += [] if loss == "softmax" else [shape, [math.prod(shape)]]
    chosen = draw(st.sampled_from(shapes))
    if len(chosen) != 1:
        chosen = [draw(st.sampled_from([n, n, 1])) for n in chosen]
    return drawn(draw, fractions(lowest, 32, 8), chosen)


@st.composite
def cases(draw, loss):
    shapes = hnp.array_shapes(min_dims=1, max_dims=5, min_side=SMALLEST_SIDE, max_side=7)
    shape = list(draw(shapes.filter(lambda s: math.prod(s) <= 3000) | st.sampled_from(LARGE)))
    axis = -1 if loss == "gaussian" else draw(st.integers(-len(shape), len(shape) - 1))
    shape[axis] = classes = min(max(1, shape[axis]), 80)
    is_softmax, is_activated = loss == "softmax", len(FUNCTIONS[loss]) == 2 and draw(st.integers(0, 2)) == 0
    with_nan = not is_activated and draw(st.integers(0, 9)) == 0
    label_smoothing = draw(st.sampled_from([0.0, 0.0, 0.1, 0.5, 0.9])) if "label_smoothing" in OPTIONS[loss] else 0.0
    dtype, score_dtype = draw(st.sampled_from(DTYPES)), draw(st.sampled_from(DTYPES))
    label_dtype = draw(st.sampled_from(DTYPES if loss == "gaussian" else ("int32", "int64", *DTYPES)))
    ignore_index = draw(st.sampled_from([-1, -100, 255, -(2**31), 2**31 - 1]))

    logit = draw(logits(is_activated, dtype, shape, with_nan, label_smoothing))
    label = draw(labels(label_dtype, classes, not is_softmax, ignore_index, shape, axis))
    if is_softmax and with_nan and label.ndim == logit.ndim:
        label = np.maximum(label, 1 / 64)  # of a class without a share it is left open
    if is_softmax and not label_smoothing and draw(st.booleans()):  # some classes are ruled out
        share = label if label.ndim == logit.ndim else oracle.one_hot(label, classes, axis)[0]
        has_others = share.max(axis, keepdims=True, initial=0) > 0
        logit[(share == 0) & has_others & drawn(draw, st.booleans(), shape).astype(bool)] = -math.inf

    score = None
    if loss in ("quality", "varifocal"):
        # Targets are read in float32 beside logits that are no float64.
        if label_dtype in DTYPES:
            label = rounded(label, "float32")
        else:
            score = draw(st.none() | shares(score_dtype, label.shape).map(lambda one: rounded(one, "float32")))

    alphas = fractions(0, 64, 16 if loss in ("softmax", "varifocal") else 64)
    normalizers = fractions(1, 4096, 4)
    powers = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0]) | st.floats(0.25, 8)
    weight_dtype = draw(st.sampled_from((*DTYPES, "int32", "int64", "bool")))
    label_shape = list(np.delete(shape, axis)) if is_softmax else list(label.shape)
    weight = draw(st.none() | weights(loss, shape, axis, 8 * with_nan))  # NaN times 0 is either
    reduction = draw(st.sampled_from(["none", "sum", "mean"]))
    result_shape = () if reduction != "none" else label_shape if is_softmax else shape
    return Case(
        loss,
        is_activated,
        dtype,
        axis,
        logit,
        label,
        label_dtype,
        score,
        score_dtype,
        None if with_nan else draw(st.none() | alphas | st.lists(alphas, min_size=classes, max_size=classes)),
        draw(powers | st.just(4.0)),
        draw(powers | st.just(4.0)),
        draw(powers),
        draw(st.sampled_from([0.0, 0.05, 1e-6]) | st.floats(0.01, 0.9)),
        draw(st.sampled_from([0.0, 1.0, -0.5]) | st.floats(-0.5, 8)),
        draw(st.booleans()),
        draw(
            st.none()
            | normalizers
            | st.sampled_from([1, classes if loss != "gaussian" else 1]).flatmap(
                lambda n: st.lists(normalizers, min_size=n, max_size=n)
            )
        ),
        None if weight is None else rounded(weight, weight_dtype),
        weight_dtype,
        label_smoothing,
        ignore_index,
        reduction,
        drawn(draw, st.sampled_from([1.0, -3.0, 0.5, 2**-10]), result_shape),
        draw(st.booleans()),
    )
