"""The focal loss of one softmax over all classes."""

from __future__ import annotations

from collections.abc import Sequence

from paddle import Tensor

from paddle_focal.losses.arguments import Backend, Reduction
from paddle_focal.losses.base import FocalLoss, compute_loss
from paddle_focal.losses.tracing import traced_unchanged
from paddle_focal.ops.registry import SOFTMAX


@traced_unchanged
def softmax_focal_loss(
    logit: Tensor,
    label: Tensor,
    normalizer: float | Tensor | None = None,
    alpha: float | Sequence[float] | Tensor | None = None,
    gamma: float = 2.0,
    reduction: Reduction = "sum",
    name: str | None = None,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -1,
    label_smoothing: float = 0.0,
    axis: int = -1,
    backend: Backend | None = None,
) -> Tensor:
    r"""Focal loss of one softmax over all classes (Lin et al., arXiv:1708.02002, eqs. 4 and 5, with p from a softmax).

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
        normalizer: divides the loss before the reduction: a number > 0, or a tensor of shape [], [1] or [C] (one
            value per class), whose values the caller must keep above 0. None: no division.
        alpha: balance: a number >= 0 that multiplies the loss, C such numbers, one per class, or None for 1.
        gamma: focusing parameter >= 0; 0 is the cross entropy.
        reduction: 'none' (the shape of ``logit`` without ``axis``), 'sum', or 'mean' over the labels that are not
            ignored (0 if there are none).
        name: accepted for Paddle's signature; has no effect.
        weight: multiplies the loss: a tensor with leading axes of the labels, class indices or shares.
        ignore_index: class index that is left out; outside 0..C-1.
        label_smoothing: in [0, 1). The cross entropy is taken against ``(1 - s)`` of the class and ``s / C`` of every
            class; alpha and the modulating factor keep the label itself.
        axis: the class axis.
        backend: None for the best one available, or 'native' or 'composite'.

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
    return compute_loss(
        SOFTMAX,
        logit,
        label,
        normalizer=normalizer,
        alpha=alpha,
        gamma=gamma,
        reduction=reduction,
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        axis=axis,
        backend=backend,
    )


class SoftmaxFocalLoss(FocalLoss):
    """:func:`paddle_focal.softmax_focal_loss` with its hyper-parameters (arXiv:1708.02002, eq. 5).

    .. code-block:: python

        loss = SoftmaxFocalLoss(alpha=[0.2, 1.0, 0.7], gamma=2.0)(pred, target, reduction="mean")

    Every argument is an attribute of the same name that can be read and set at any time; a value that is not accepted
    is refused when it is set. The state dict is empty.

    Args:
        alpha: a number >= 0, one such number per class, or None for 1.
        gamma: focusing parameter, a number >= 0.
        loss_weight: a number >= 0 that multiplies the result.
        ignore_index: class index without loss and gradient; outside 0..C-1.
        label_smoothing: a number in [0, 1).
        reduction: 'none', 'mean' or 'sum' where the call does not say; None: 'mean' in a call with ``avg_factor``,
            'none' in one without.
        axis: the class axis of ``pred``.
        name: a name for the layer, without effect.

    Raises:
        ValueError, TypeError: a value that is not accepted, with the argument's name.
    """

    _loss = SOFTMAX
    _of_logits = staticmethod(softmax_focal_loss)

    def __init__(
        self,
        alpha: float | Sequence[float] | None = None,
        gamma: float = 2.0,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
        label_smoothing: float = 0.0,
        reduction: Reduction | None = None,
        axis: int = -1,
        name: str | None = None,
    ) -> None:
        super().__init__(
            alpha=alpha,
            gamma=gamma,
            loss_weight=loss_weight,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            reduction=reduction,
            axis=axis,
            name=name,
        )
