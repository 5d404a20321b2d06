"""The check of a weight, and what its shape says: it has the leading axes of the labels, or all axes of the logits."""

from __future__ import annotations

import math

import paddle
from paddle import Tensor

from paddle_focal.losses.arguments import FLOATING, INDEX, check_dtype, check_is_tensor, same_shape
from paddle_focal.ops.loss import Loss, LossSpec, loss_shape

WEIGHT = (*FLOATING, *INDEX, paddle.bool)


def check_weight(spec: LossSpec, weight: Tensor) -> Tensor:
    """The weight as a floating tensor that has the rank of the losses and broadcasts to them."""
    check_is_tensor("weight", weight, WEIGHT)
    check_dtype("weight", weight.dtype, WEIGHT)
    weight = weight.detach()
    weight = weight if weight.dtype in FLOATING else weight.astype("float32")
    shape = list(spec.shape)
    if spec.loss.keeps_class_axis:
        return _weight_of_logits(spec.loss, weight, shape, spec.axis)
    return _weight_of_labels(weight, loss_shape(spec.loss, shape, spec.axis))


def _weight_of_logits(loss: Loss, weight: Tensor, shape: list[int], axis: int) -> Tensor:
    """The weight, broadcast along all axes before the class axis or along none, and likewise for the axes after it.

    A backend can then treat the axes on each side as one.
    """
    given = list(weight.shape)
    of_labels = shape[:axis] + shape[axis + 1 :] if loss.takes_index else shape
    if len(given) < len(shape) and _leads(given, of_labels):
        kept = [i + (loss.takes_index and i >= axis) for i in range(len(given))]
        weight = weight.unsqueeze([i for i in range(len(shape)) if i not in kept])
    elif len(given) == 1 < len(shape) and given[0] == math.prod(shape):  # [N * C] of Weighted_FocalLoss
        weight = weight.reshape(shape)
    elif not (len(given) == len(shape) and _leads(given, shape)):
        hint = ""
        if loss.takes_index and given == [shape[axis]]:
            of_classes = [1] * axis + given + [1] * (len(shape) - axis - 1)
            hint = f"; for a factor of each class it is {of_classes}"
        labels = "labels" if loss.takes_index else loss.label
        raise ValueError(
            f"weight must have the leading axes of the {labels}, {of_labels}, or broadcast to the predictions, "
            f"{shape}, with as many axes, or be that flattened, but its shape is {given}{hint}"
        )
    full = list(weight.shape)
    target = list(full)
    for group in (slice(None, axis), slice(axis + 1, None)):
        if any(n != 1 for n in full[group]):
            target[group] = shape[group]
    return weight if target == full else weight.expand(target)


def _weight_of_labels(weight: Tensor, shape: list[int]) -> Tensor:
    given = list(weight.shape)
    if not _leads(given, shape):
        raise ValueError(f"weight must have the leading axes of the labels, {shape}, but its shape is {given}")
    weight = weight.unsqueeze(list(range(len(given), len(shape)))) if len(given) < len(shape) else weight
    return weight if given == shape else weight.expand(shape)


def _leads(given: list[int], shape: list[int]) -> bool:
    """Whether axes are the first ones of a shape, or of size 1 in their place."""
    return len(given) <= len(shape) and same_shape(
        [n if m == 1 else m for m, n in zip(given, shape)], shape[: len(given)]
    )
