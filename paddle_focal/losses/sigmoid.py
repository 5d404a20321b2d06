"""Focal losses as functions: arguments are checked here, computed by a backend, and reduced."""

from __future__ import annotations

import math
from collections.abc import Sequence

import paddle
from paddle import Tensor

from paddle_focal import ops
from paddle_focal.arguments import (
    check_alpha,
    check_gamma,
    check_integer,
    check_label,
    check_label_smoothing,
    check_length_of_alpha,
    check_logit,
    check_positive,
    check_reduction,
    check_weight,
    check_weight_of_labels,
)
from paddle_focal.ops import probability
from paddle_focal.ops.composite.closed_form import compute_dtype
from paddle_focal.ops.rounding import rounded


@paddle.jit.not_to_static  # traced as it is: its branches are on shapes and numbers
def sigmoid_focal_loss(
    logit: Tensor,
    label: Tensor,
    normalizer: float | Tensor | None = None,
    alpha: float | Sequence[float] | Tensor | None = 0.25,
    gamma: float = 2.0,
    reduction: str = "sum",
    name: str | None = None,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -1,
    label_smoothing: float = 0.0,
    axis: int = -1,
    backend: str | None = None,
) -> Tensor:
    r"""Focal loss of independent sigmoid classifiers (Lin et al., arXiv:1708.02002, eqs. 4 and 5).

    .. math:: \mathrm{FL}(p_t) = -\alpha_t (1 - p_t)^\gamma \log p_t, \qquad
              p_t = \sigma(x) \text{ where the target is 1, } 1 - \sigma(x) \text{ where it is 0}

    A drop-in for ``paddle.nn.functional.sigmoid_focal_loss``, whose seven parameters come first. With dense labels

    .. code-block:: python

        sigmoid_focal_loss(logit, label, normalizer, alpha, gamma, reduction)

        # Equivalent to, but finite and accurate for every logit, and with a fraction of the time and memory:
        p = F.sigmoid(logit)
        p_t = p * label + (1 - p) * (1 - label)
        alpha_t = alpha * label + (1 - alpha) * (1 - label)
        loss = alpha_t * (1 - p_t) ** gamma * F.binary_cross_entropy_with_logits(logit, label, reduction="none")
        loss = (loss / normalizer).sum()

    and with class indices ``label = F.one_hot(index, C + 1)[..., :C]``, which is never materialised.

    Args:
        logit: floating tensor of any rank from 1 up, with C classes along ``axis``.
        label: class indices (int32 or int64, the shape of ``logit`` without ``axis``): 0..C-1 foreground, C
            background, ``ignore_index`` neither loss nor gradient. Or dense targets in [0, 1] (floating, the shape of
            ``logit``), soft ones included.
        normalizer: divides the loss before the reduction: a number > 0, or a tensor of shape [], [1] or [C] (one value
            per class), whose values are the caller's to keep above 0. None: no division.
        alpha: balance. A number in [0, 1]: targets 1 weigh ``alpha``, targets 0 ``1 - alpha``. C numbers: one alpha
            per class. None: no balance, every factor is 1.
        gamma: focusing parameter >= 0; 0 is the cross entropy.
        reduction: 'none' (the shape of ``logit``), 'sum', or 'mean' over the elements that are not ignored (0 if there
            are none).
        name: accepted for Paddle's signature; has no effect.
        weight: multiplies the loss: a tensor of the shape of ``label``, or one that broadcasts to that of ``logit``, or
            that flattened.
        ignore_index: class index that is left out; outside 0..C.
        label_smoothing: in [0, 1). The cross entropy is taken against ``label * (1 - s) + s / 2``; alpha and the
            modulating factor keep the label itself.
        axis: the class axis. ``[N, A, C, H * W]`` with ``axis=2`` is read in place, without a transpose.
        backend: None for the best one available, or 'fused' or 'composite'.

    Returns:
        Tensor: for 'none' the shape and dtype of ``logit``; else a scalar in float32 (float64 for float64 logits).
        Half precision is computed in float32 and rounded once. The gradient flows to ``logit`` only and is a closed
        form (it cannot be differentiated again).

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: an argument out of range or of the wrong shape. The range of ``label`` is checked on the CPU; on
            other devices, where that would wait for the device, a class index out of range gives NaN.
        RuntimeError: ``backend`` names one that cannot serve, with the reason; or, in the backward pass, a second
            derivative is asked for (an OSError in the fused backend, which is how Paddle passes an operator's error
            on), or ``logit``, ``label`` or ``weight`` has been changed in place meanwhile.

    Note:
        The composite backend's gradient is a ``PyLayer``, which Paddle frees in its first ``backward()``, with
        ``retain_graph=True`` too: a second ``backward()`` through it crashes in Paddle. ``paddle.grad`` can be
        called again and again. The fused backend knows no such limit.

    Examples:
        >>> logit = paddle.to_tensor([[0.97, 0.91, 0.03], [0.55, 0.43, 0.71]])
        >>> label = paddle.to_tensor([0, 1])
        >>> float(sigmoid_focal_loss(logit, label, normalizer=2.0))
        0.6578246355056763
    """
    axis = check_logit(logit, axis)
    classes = logit.shape[axis]
    indexed = check_label(logit, label, axis, check_integer("ignore_index", ignore_index))
    alpha = check_alpha(alpha)
    foreground_scale, background_scale = _scales(alpha, normalizer, classes, logit.dtype)
    reduction = check_reduction(reduction)

    loss = ops.select(backend, logit).sigmoid_focal_loss(
        logit,
        label,
        axis=axis,
        foreground_scale=foreground_scale,
        background_scale=background_scale,
        weight=check_weight(weight, logit, label, axis),
        gamma=check_gamma(gamma),
        label_smoothing=check_label_smoothing(label_smoothing),
        ignore_index=ignore_index,
        reduction="none" if reduction == "none" else "sum",
    )
    if reduction != "mean":
        return loss
    return _mean(loss, (label != ignore_index).sum() * classes if indexed else paddle.numel(label))


@paddle.jit.not_to_static
def binary_focal_loss(
    prob: Tensor,
    label: Tensor,
    normalizer: float | Tensor | None = None,
    alpha: float | Sequence[float] | Tensor | None = 0.25,
    gamma: float = 2.0,
    reduction: str = "sum",
    name: str | None = None,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -1,
    label_smoothing: float = 0.0,
    axis: int = -1,
    backend: str | None = None,
) -> Tensor:
    r"""Focal loss of probabilities: :func:`sigmoid_focal_loss` after the sigmoid (arXiv:1708.02002, eqs. 4 and 5).

    .. code-block:: python

        binary_focal_loss(prob, label, normalizer, alpha, gamma, reduction)

        # Equivalent to, but finite and accurate for every probability from 0 to 1 inclusive:
        p_t = prob * label + (1 - prob) * (1 - label)
        alpha_t = alpha * label + (1 - alpha) * (1 - label)
        loss = (-alpha_t * (1 - p_t) ** gamma * paddle.log(p_t) / normalizer).sum()

    It is computed in float64 whatever the dtype, at several times the memory of the logits' loss: where there are
    logits, call :func:`sigmoid_focal_loss`.

    Args:
        prob: probabilities in [0, 1]: floating, with C classes along ``axis``.
        label: class indices or dense targets, as are all other arguments those of :func:`sigmoid_focal_loss`.
        normalizer: divides the loss.
        alpha: balance.
        gamma: focusing parameter.
        reduction: 'none', 'sum' or 'mean'.
        name: has no effect.
        weight: multiplies the loss.
        ignore_index: class index that is left out.
        label_smoothing: in [0, 1).
        axis: the class axis.
        backend: None, 'fused' or 'composite'.

    Returns:
        Tensor: as :func:`sigmoid_focal_loss`. A probability of exactly 0 where the target is 1, or 1 where it is 0, has
        an infinite loss; it gets loss and gradient of 1e-300 instead, the loss is 690.8 times the balance. A gradient
        beyond the largest number of the dtype is that number.

    Raises:
        TypeError, ValueError, RuntimeError: as :func:`sigmoid_focal_loss`. A probability outside [0, 1] is a ValueError
            on the CPU, and gives NaN elsewhere.
    """
    check_logit(prob, axis, "prob")
    loss = sigmoid_focal_loss(
        probability.logit_of(prob),
        label,
        normalizer,
        alpha,
        gamma,
        reduction,
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        axis=axis,
        backend=backend,
    )
    return rounded(loss, prob.dtype if reduction == "none" else compute_dtype(prob.dtype))


@paddle.jit.not_to_static
def softmax_focal_loss(
    logit: Tensor,
    label: Tensor,
    normalizer: float | Tensor | None = None,
    alpha: float | Sequence[float] | Tensor | None = None,
    gamma: float = 2.0,
    reduction: str = "sum",
    name: str | None = None,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -1,
    label_smoothing: float = 0.0,
    axis: int = -1,
    backend: str | None = None,
) -> Tensor:
    r"""Focal loss of one softmax over all classes (Lin et al., arXiv:1708.02002, eqs. 4 and 5, with p of a softmax).

    .. math:: \mathrm{FL}(p_t) = -\alpha_t (1 - p_t)^\gamma \log p_t, \qquad p = \mathrm{softmax}(x)

    .. code-block:: python

        softmax_focal_loss(logit, label, normalizer, alpha, gamma, reduction)

        # Equivalent to, but accurate for every logit, and with a fraction of the time and memory:
        p_t = paddle.take_along_axis(F.softmax(logit), label.unsqueeze(-1), -1).squeeze(-1)
        loss = (-alpha[label] * (1 - p_t) ** gamma * paddle.log(p_t) / normalizer).sum()

    Args:
        logit: floating tensor of any rank from 1 up, with C classes along ``axis``. A background is a class like any
            other here.
        label: class indices (int32 or int64, the shape of ``logit`` without ``axis``): 0..C-1, or ``ignore_index`` for
            neither loss nor gradient. Or shares of the classes in [0, 1] (floating, the shape of ``logit``): the loss
            is the sum of the losses of all classes, each times its share.
        normalizer: divides the loss before the reduction: a number > 0, or a tensor of shape [], [1] or [C] (by the
            class), whose values are the caller's to keep above 0. None: no division.
        alpha: balance: a number >= 0 that multiplies the loss, C such numbers, one per class, or None for 1.
        gamma: focusing parameter >= 0; 0 is the cross entropy.
        reduction: 'none' (the shape of ``logit`` without ``axis``), 'sum', or 'mean' over the labels that are not
            ignored (0 if there are none).
        name: accepted for Paddle's signature; has no effect.
        weight: multiplies the loss: a tensor that broadcasts to the shape of the labels.
        ignore_index: class index that is left out; outside 0..C-1.
        label_smoothing: in [0, 1). The cross entropy is taken against ``(1 - s)`` of the class and ``s / C`` of every
            class; alpha and the modulating factor keep the label itself.
        axis: the class axis.
        backend: None for the best one available, or 'fused' (on the CPU) or 'composite'.

    Returns:
        Tensor: for 'none' the dtype of ``logit``; else a scalar in float32 (float64 for float64 logits). Half precision
        is computed in float32 and rounded once. The gradient flows to ``logit`` only and is a closed form (it cannot be
        differentiated again).

    Raises:
        TypeError, ValueError, RuntimeError: as :func:`sigmoid_focal_loss`, whose note holds here, too.

    Examples:
        >>> logit = paddle.to_tensor([[0.97, 0.91, 0.03], [0.55, 0.43, 0.71]])
        >>> float(softmax_focal_loss(logit, paddle.to_tensor([0, 2])))
        0.6407536864280701
    """
    axis = check_logit(logit, axis)
    ignore_index = check_integer("ignore_index", ignore_index)
    indexed = check_label(logit, label, axis, ignore_index, has_background=False)
    classes, reduction = logit.shape[axis], check_reduction(reduction)
    scale, _ = _scales(check_alpha(alpha, highest=math.inf), normalizer, classes, logit.dtype)

    loss = ops.select(backend, logit, "softmax_focal_loss").softmax_focal_loss(
        logit,
        label,
        axis=axis,
        scale=scale,
        weight=check_weight_of_labels(weight, list(logit.shape[:axis]) + list(logit.shape[axis + 1 :])),
        gamma=check_gamma(gamma),
        label_smoothing=check_label_smoothing(label_smoothing),
        ignore_index=ignore_index,
        reduction="none" if reduction == "none" else "sum",
    )
    if reduction != "mean":
        return loss
    labels = (label != ignore_index).sum() if indexed else paddle.numel(label) // classes
    return _mean(loss, labels.reshape([]))  # Paddle's // makes an axis


def _mean(total: Tensor, count: Tensor) -> Tensor:
    return total / count.clip(min=1).astype(total.dtype)


def _scales(
    alpha: float | tuple[float, ...] | None, normalizer: float | Tensor | None, classes: int, dtype: paddle.dtype
) -> tuple[float | Tensor, float | Tensor]:
    """The factors alpha / normalizer and (1 - alpha) / normalizer: numbers, or tensors of shape [1] or [C]."""
    dtype = compute_dtype(dtype)
    check_length_of_alpha(alpha, classes)
    if isinstance(alpha, tuple):
        foreground = paddle.to_tensor(alpha, dtype=dtype)
        background = 1.0 - foreground
    else:
        foreground, background = (1.0, 1.0) if alpha is None else (alpha, 1.0 - alpha)
    if normalizer is None:
        return foreground, background
    if paddle.is_tensor(normalizer):
        if list(normalizer.shape) not in ([], [1], [classes]):
            raise ValueError(
                f"normalizer must be a number or a Tensor of shape [], [1] or [{classes}], "
                f"but its shape is {list(normalizer.shape)}"
            )
        normalizer = normalizer.detach().reshape([-1]).astype(dtype)
    else:
        normalizer = check_positive("normalizer", normalizer)
    return foreground / normalizer, background / normalizer
