"""Losses by the kernels for GPUs, whose threads the host runs one after the other, beside their definition."""

from __future__ import annotations

import ctypes

import definition
import numpy as np

TYPES = {"float16": 0, "bfloat16": 1, "float32": 2, "float64": 3, "int32": 4, "int64": 5}
WIDTH = {"float16": 8, "bfloat16": 8, "float32": 4, "float64": 2}
FLOATING = list(WIDTH)
#: Labels before the classes, classes, labels behind them.
SHAPES = [
    (1, 1, 1), (1, 1, 3001), (5, 1, 77), (5, 1, 80), (700, 1, 1),
    (1, 3, 1), (1501, 3, 1), (130, 80, 1), (3, 1203, 1), (41, 91, 1), (9, 2, 1),
    (3, 3, 16), (2, 80, 40), (2, 37, 64), (3, 3, 7), (2, 80, 35), (2, 19, 13), (2, 1203, 3),
]  # fmt: skip
# Largest relative error of an element (in float32 of gamma 0, 1 or 2, and ten times that of any other), and the largest
# error below the smallest normal number.
TOLERANCE = {"float64": 1e-9, "float32": 2e-6, "float16": 1.02 * 2**-11, "bfloat16": 1.02 * 2**-8}
SUBNORMAL = {"float64": 0, "float32": 2.4e-38, "float16": 2**-24, "bfloat16": 2.4e-38}


class Array(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("type", ctypes.c_int64))


class Scale(ctypes.Structure):
    _fields_ = (("value", ctypes.c_double), ("data", ctypes.c_void_p), ("stride", ctypes.c_int64))


class Weight(ctypes.Structure):
    _fields_ = (("array", Array), ("strides", ctypes.c_int64 * 3))


class Params(ctypes.Structure):
    _fields_ = (
        ("logit", Array),
        ("label", Array),
        ("score", Array),
        ("scales", Scale * 2),
        ("weight", Weight),
        ("loss", ctypes.c_int64),
        ("shape", ctypes.c_int64 * 3),
        ("numbers", ctypes.c_double * 3),
        ("ignore_index", ctypes.c_int64),
        ("reduce", ctypes.c_int64),
    )


def encode(values, dtype):
    """Numbers as their bytes' array; bfloat16, which NumPy does not have, as uint16."""
    if dtype != "bfloat16":
        return np.asarray(values).astype(dtype)
    bits = np.asarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)


def decode(array, dtype):
    if dtype != "bfloat16":
        return array.astype(np.float64)
    return (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def aligned(array, offset):
    """A copy ``offset`` elements after a multiple of 64 bytes."""
    room = np.empty(array.nbytes + 64 + offset * array.itemsize, np.uint8)
    start = -room.ctypes.data % 64 + offset * array.itemsize
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


LOSSES = {"sigmoid": 0, "softmax": 1, "quality": 2, "varifocal": 3, "gaussian": 4, "asymmetric": 5}
#: The kinds of kernels, by number.
KINDS = ["any", "rows32", "rows64", "runs", "targets", "float_targets", "heatmap", "float_heatmap"]
KINDS += ["weighted_rows32", "weighted_rows64", "weighted_runs"]


class Case:
    """One problem in the kernels' form; inputs as they are after rounding to their types.

    ``scales`` and ``weight`` are None or arrays: (foreground, background) of shape [classes], and any weight that
    broadcasts to the logits; ``score`` is the target of each label's own class. ``offset`` moves every array that many
    elements from an aligned address. ``second`` and ``third`` are the numbers of the loss beside gamma.
    """

    def __init__(self, host, logit, label, dtype="float32", *, label_dtype="int64", loss="sigmoid", second=0.0,
                 third=0.0, score=None, score_dtype="float32", scales=None, weight=None, weight_dtype="float32",
                 gamma=2.0, ignore_index=-1, offset=0):  # fmt: skip
        self.host, self.dtype, self.offset, self.gamma = host, dtype, offset, gamma
        self.second, self.third = second, third
        self.loss, self.shape, self.loss_shape, self.kept = loss, logit.shape, logit.shape, []
        self.params = Params(loss=LOSSES[loss], numbers=(gamma, second, third), ignore_index=ignore_index)
        self.params.shape[:] = logit.shape
        self.params.logit, self.logit = self.array(logit, dtype)
        self.params.label, self.label = self.array(label, label_dtype)
        self.is_dense = label_dtype in FLOATING
        compute = "float64" if dtype == "float64" else "float32"
        self.score = None
        if score is not None:
            self.params.score, self.score = self.array(score, score_dtype)
        self.scales = []
        for index, default in enumerate((0.25, 0.75)):
            scale = Scale(value=default)
            if scales is not None:
                array, _ = self.array(scales[index], compute)
                scale.data, scale.stride = array.data, int(len(scales[0]) > 1)
            self.params.scales[index] = scale
            self.scales.append(np.float64(default) if scales is None else scales[index][:, None])
        self.weight = 1.0
        if weight is not None:
            self.params.weight.array, self.weight = self.array(weight, weight_dtype)
            strides = [s // weight.itemsize if n > 1 else 0 for s, n in zip(weight.strides, weight.shape)]
            self.params.weight.strides[:] = (*strides, 0)[:3]

    def array(self, values, dtype):
        encoded = aligned(encode(values, dtype), self.offset)
        self.kept.append(encoded)
        return Array(encoded.ctypes.data, TYPES[dtype]), decode(encoded, dtype)

    def upstream(self, values=1.0, dtype="float32"):
        """A number, or an array in the logits' shape and type."""
        per_logit = np.ndim(values) > 0
        array, self.upstream_values = self.array(values, self.dtype if per_logit else dtype)
        self.params.reduce = not per_logit
        return array

    def run(self, upstream=None):
        shape = self.shape if upstream is not None else self.loss_shape
        size, beyond = int(np.prod(shape)), 16
        out = aligned(encode(np.full(size + beyond, 7.0), self.dtype), self.offset)
        given = None if upstream is None else ctypes.byref(upstream)
        if upstream is None:
            self.params.reduce = 0
        self.host.run(ctypes.byref(self.params), given, ctypes.c_void_p(out.ctypes.data), None)
        result = decode(out, self.dtype)
        assert (result[size:] == 7).all()
        return result[:size].reshape(shape)

    def partials(self):
        self.params.reduce = 1
        partials = np.zeros(self.host.block_count(ctypes.byref(self.params)))
        self.host.run(ctypes.byref(self.params), None, None, ctypes.c_void_p(partials.ctypes.data))
        return partials

    def kind(self, upstream=None):
        """The kind of kernel that serves; without a gradient from above, for the sum."""
        self.params.reduce = 1
        given = None if upstream is None else ctypes.byref(upstream)
        return KINDS[self.host.kind_of_pass(ctypes.byref(self.params), given, None)]

    def targets(self):
        """Targets of all logits, with NaN where there is none; where it is a label's own; which ones are ignored."""
        if self.is_dense:
            label = self.label.reshape(self.shape)
            return np.where((label >= 0) & (label <= 1), label, np.nan), label != 0, np.zeros(self.shape, bool)
        classes, label = self.shape[1], self.label.reshape(self.shape[0], 1, self.shape[2])
        own = label == np.arange(classes)[:, None]
        score = 1.0 if self.score is None else self.score.reshape(label.shape)
        target = np.where(own, np.where((score >= 0) & (score <= 1), score, np.nan), 0.0)
        ignored = np.broadcast_to(label == self.params.ignore_index, self.shape)
        return np.where((label < 0) | (label > classes), np.nan, target), own, ignored

    def expected(self):
        """Loss and derivative by the definition; both without upstream gradient."""
        target, own, ignored = self.targets()
        x, y = np.where(ignored, 0, self.logit), np.where(ignored, 0, target)
        results = definition.single(self.loss, x, y, own, self.scales, self.gamma, self.second, self.third)
        results = [np.where(np.isnan(y), np.nan, result * self.weight) for result in results]
        return [np.where(ignored, 0, result) for result in results]

    def check(self, upstream=1.0, upstream_dtype="float32"):
        """Loss, sum and gradient; terms of opposite sign may meet in a soft target's gradient."""
        loss, gradient = self.expected()
        rtol, atol = TOLERANCE[self.dtype], SUBNORMAL[self.dtype]
        if self.dtype == "float32" and (self.gamma not in (0, 1, 2) or self.loss == "asymmetric"):
            rtol *= 10
        of_loss = atol
        if self.loss == "asymmetric":  # a probability and the margin may be close
            of_loss = atol = atol + rtol * max(np.nanmax(np.abs(one), initial=0) for one in (loss, gradient))
        np.testing.assert_allclose(self.run(), loss, rtol=rtol, atol=of_loss)
        np.testing.assert_allclose(self.partials().sum(), loss.sum(), rtol=2e-6, atol=atol)
        given = self.upstream(upstream, upstream_dtype)
        is_smooth = self.loss == "softmax" or (self.loss == "sigmoid" and self.second)
        if self.is_dense or self.score is not None or is_smooth:
            atol += rtol * np.nanmax(np.abs(gradient), initial=0) * np.abs(self.upstream_values).max()
        np.testing.assert_allclose(self.run(given), gradient * self.upstream_values, rtol=rtol, atol=atol)


class SoftmaxCase(Case):
    """The same of the softmax loss; ``second`` is label smoothing, ``scales`` is one row, the weight one of labels."""

    def __init__(self, host, logit, label, dtype="float32", *, scale=None, **options):
        scales = None if scale is None else np.stack([scale, scale])
        super().__init__(host, logit, label, dtype, loss="softmax", scales=scales, **options)
        self.loss_shape = (self.shape[0], self.shape[2])

    def expected(self):
        outer, classes, inner = self.shape
        if self.is_dense:
            label = self.label.reshape(self.shape)
            share = np.where(((label >= 0) & (label <= 1)).all(1, keepdims=True), label, np.nan)
            ignored = np.zeros(self.loss_shape, bool)
        else:
            label = self.label.reshape(outer, 1, inner)
            ignored = (label == self.params.ignore_index)[:, 0]
            share = np.where((label < 0) | (label >= classes), np.nan, label == np.arange(classes)[:, None])
            share = np.where(label == self.params.ignore_index, 0.0, share)
        x = np.where(ignored[:, None], 0, self.logit)
        loss, gradient = definition.softmax(x, share, self.scales[0], self.gamma, self.second)
        weight = np.where(ignored, 0, self.weight)
        return loss * weight, gradient * weight[:, None]

    def upstream(self, values=1.0, dtype="float32"):
        array = super().upstream(values, dtype)
        if np.ndim(values):
            self.upstream_values = self.upstream_values[:, None]
        return array


def make_labels(rng, shape, dtype="int64"):
    outer, classes, inner = shape
    if dtype in FLOATING:
        return rng.choice([0.0, 1.0, 0.3125, 0.75], shape, p=[0.7, 0.1, 0.1, 0.1])
    return rng.integers(-1, classes + 1, (outer, inner))
