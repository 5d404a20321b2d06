"""The description of a loss and of one call of it: all that a backend knows about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, NamedTuple

import paddle
from paddle import Tensor


@dataclass(frozen=True, eq=False)
class LossSpec:
    """What calls have in common that differ only in the numbers of their tensors; checked, and kept from call to call.

    Attributes:
        loss: the description of the loss.
        shape: of the logits; -1 where a static graph does not know it.
        dtype: of the logits.
        label_dtype: integer for class indices, floating for dense targets.
        axis: the class axis, counted from the front.
        numbers: gamma and the like, by name.
        ignore_index: class index without loss and gradient.
        reduction: 'none' or 'sum'.
        score_dtype: of the scores; None without them.
    """

    loss: Loss
    shape: tuple[int, ...]
    dtype: paddle.dtype
    label_dtype: paddle.dtype
    axis: int
    numbers: Mapping[str, float]
    ignore_index: int
    reduction: str
    score_dtype: paddle.dtype | None = None


class LossParams(NamedTuple):
    """The checked arguments of one call, except for the logits.

    Attributes:
        spec: all that is not in a tensor.
        label: class indices, integer, in the shape of the logits without ``axis``; or dense targets, floating, in the
            shape of the logits.
        scales: factors of the loss by name, with alpha and the normalizer in them: numbers, or tensors ``[1]`` or
            ``[C]``.
        weight: None, or floating factors that broadcast to the losses and have their rank.
        score: None, or the targets of the labels' own classes, floating, in the shape of the label.
    """

    spec: LossSpec
    label: Tensor
    scales: Mapping[str, float | Tensor]
    weight: Tensor | None
    score: Tensor | None = None


#: Computes, for a block of logits ``[n, C, inner]`` with labels ``[n, inner]`` or ``[n, C, inner]`` and scores
#: ``[n, inner]``, the losses ``[n, C, inner]`` (``[n, 1, inner]`` if there is one for each label) times the scales; or,
#: if the last argument is true, their derivatives ``[n, C, inner]`` with respect to the logits.
Formula = Callable[[Tensor, LossParams, bool], Tensor]


@dataclass(frozen=True, eq=False)
class Loss:
    """The description of a loss, from which its checks, its two backends and its tests follow.

    Attributes:
        name: the name of the public function.
        number: that of the loss in ``csrc/focal.h``.
        formula: the loss in Paddle operators.
        composite_dtype: gives the dtype in which the formula is computed, from the dtype of the logits.
        scales: the factors of the loss in the library's order, each as a function of alpha.
        highest_alpha: the largest alpha that is accepted.
        numbers: the parameters that are numbers, in the library's order.
        label: what the function calls its labels.
        takes_index: whether labels may be class indices, not dense targets only; if not, there are no classes.
        takes_score: whether class indices may come with the target of their own class.
        keeps_class_axis: whether there is one loss for each logit, not one for each label.
        has_background: whether the class index C is a valid label, meaning no class.
        devices: the kinds of devices that the native library has kernels for.
    """

    name: str
    number: int
    formula: Formula
    composite_dtype: Callable[[paddle.dtype], paddle.dtype]
    scales: Mapping[str, Callable]
    highest_alpha: float
    numbers: tuple[str, ...]
    keeps_class_axis: bool
    has_background: bool
    devices: tuple[str, ...]
    label: str = "label"
    takes_index: bool = True
    takes_score: bool = False


# Functions, not methods: Paddle's bytecode tracer cannot handle methods of dataclasses.
def highest_label(loss: Loss, classes: int) -> int:
    """The highest class index that is a valid label."""
    return classes if loss.has_background else classes - 1


def loss_shape(loss: Loss, shape: list[int], axis: int) -> list[int]:
    """The shape of the losses for logits of the given shape."""
    return list(shape) if loss.keeps_class_axis else [*shape[:axis], *shape[axis + 1 :]]


def result_dtype(dtype: paddle.dtype) -> paddle.dtype:
    """The dtype of sums, of scales and of the computation itself, for logits of the given dtype."""
    return paddle.float64 if dtype == paddle.float64 else paddle.float32
