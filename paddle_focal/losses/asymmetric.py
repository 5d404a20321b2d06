"""The asymmetric loss of multi-label classification, on logits and on probabilities."""

from __future__ import annotations

from collections.abc import Sequence

from paddle import Tensor

from paddle_focal.losses.arguments import Backend, Reduction
from paddle_focal.losses.base import FocalLoss, compute_loss, compute_on_probabilities
from paddle_focal.losses.tracing import traced_unchanged
from paddle_focal.ops.registry import ASYMMETRIC


@traced_unchanged
def asymmetric_loss(
    logit: Tensor,
    label: Tensor,
    normalizer: float | Tensor | None = None,
    alpha: float | Sequence[float] | Tensor | None = None,
    gamma_neg: float = 4.0,
    gamma_pos: float = 1.0,
    margin: float = 0.05,
    reduction: Reduction = "sum",
    name: str | None = None,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -1,
    axis: int = -1,
    backend: Backend | None = None,
) -> Tensor:
    r"""Asymmetric loss (Ridnik et al., arXiv:2009.14119): a focal loss that lets go of easy negatives.

    .. math:: \mathrm{ASL} = -(1 - p)^{\gamma_+} \log p \text{ where the target is 1}, \qquad
              -p_m^{\gamma_-} \log(1 - p_m) \text{ where it is 0}, \qquad p_m = \max(p - m, 0), \quad p = \sigma(x)

    .. code-block:: python

        asymmetric_loss(logit, label, normalizer, alpha, gamma_neg, gamma_pos, margin, reduction)

        # Equivalent to, but finite and accurate for every logit, and with a fraction of the time and memory:
        p = F.sigmoid(logit)
        p_m = (p - margin).clip(min=0)
        positive = (1 - p) ** gamma_pos * F.softplus(-logit)
        negative = -(p_m**gamma_neg) * paddle.log(1 - p_m)
        alpha_t = alpha * label + (1 - alpha) * (1 - label)
        loss = (alpha_t * (label * positive + (1 - label) * negative) / normalizer).sum()

    Parameters and their defaults are those of the authors' ``AsymmetricLoss``, which calls the margin ``clip``. The
    powers are differentiated, as in the paper and in the authors' ``AsymmetricLossOptimized``; their ``AsymmetricLoss``
    takes them as constants by default (``disable_torch_grad_focal_loss``).

    A soft target y means the average of both losses, y times that of 1 and 1 - y times that of 0: eq. 1 of the paper.
    The authors' code, made for targets 0 and 1, and timm's ``AsymmetricLossMultiLabel`` agree with it there only:
    between, they multiply both logarithms by one power of mixed probabilities,
    ``(1 - y * p - (1 - y) * (1 - p_m)) ** (y * gamma_pos + (1 - y) * gamma_neg)``.

    Args:
        logit: floating tensor of any rank from 1 up, with C classes along ``axis``.
        label: class indices (int32 or int64, the shape of ``logit`` without ``axis``): 0..C-1 foreground, C
            background, ``ignore_index`` neither loss nor gradient. Or dense targets in [0, 1] (floating, the shape of
            ``logit``), of any number of classes at once, soft ones included.
        normalizer: divides the loss before the reduction: a number > 0, or a tensor of shape [], [1] or [C] (one value
            per class), whose values the caller must keep above 0. None: no division.
        alpha: balance. A number in [0, 1]: targets 1 weigh ``alpha``, targets 0 ``1 - alpha``. C numbers: one alpha
            per class. None: no balance, every factor is 1.
        gamma_neg: focusing parameter >= 0 of targets 0.
        gamma_pos: focusing parameter >= 0 of targets 1.
        margin: 0 or a number in [1e-6, 1): targets 0 have no loss and no gradient up to this probability.
        reduction: 'none' (the shape of ``logit``), 'sum', or 'mean' over the elements that are not ignored (0 if there
            are none).
        name: accepted for Paddle's signature; has no effect.
        weight: multiplies the loss, see :func:`paddle_focal.sigmoid_focal_loss`.
        ignore_index: class index that is left out; outside 0..C.
        axis: the class axis.
        backend: None for the best one available, or 'native' or 'composite'.

    Returns:
        Tensor: for 'none' the shape and dtype of ``logit``; else a scalar in float32 (float64 for float64 logits). The
        gradient flows to ``logit`` only and is a closed form.

    Raises:
        TypeError, ValueError, RuntimeError: as :func:`paddle_focal.sigmoid_focal_loss`.

    Examples:
        >>> logit = paddle.to_tensor([[0.97, 0.91, -3.0], [0.55, 0.43, 0.71]])
        >>> float(asymmetric_loss(logit, paddle.to_tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])))
        0.7299559116363525
    """
    return compute_loss(
        ASYMMETRIC,
        logit,
        label,
        normalizer=normalizer,
        alpha=alpha,
        gamma_neg=gamma_neg,
        gamma_pos=gamma_pos,
        margin=margin,
        reduction=reduction,
        weight=weight,
        ignore_index=ignore_index,
        axis=axis,
        backend=backend,
    )


@traced_unchanged
def binary_asymmetric_loss(
    prob: Tensor,
    label: Tensor,
    normalizer: float | Tensor | None = None,
    alpha: float | Sequence[float] | Tensor | None = None,
    gamma_neg: float = 4.0,
    gamma_pos: float = 1.0,
    margin: float = 0.05,
    reduction: Reduction = "sum",
    name: str | None = None,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -1,
    axis: int = -1,
    backend: Backend | None = None,
) -> Tensor:
    """Asymmetric loss of probabilities: :func:`asymmetric_loss` after the sigmoid (arXiv:2009.14119).

    .. code-block:: python

        binary_asymmetric_loss(prob, label, normalizer, alpha, gamma_neg, gamma_pos, margin, reduction)

        # Equivalent to, but finite and accurate for every probability from 0 to 1 inclusive:
        p_m = (prob - margin).clip(min=0)
        positive = -((1 - prob) ** gamma_pos) * paddle.log(prob)
        negative = -(p_m**gamma_neg) * paddle.log(1 - p_m)
        alpha_t = alpha * label + (1 - alpha) * (1 - label)
        loss = (alpha_t * (label * positive + (1 - label) * negative) / normalizer).sum()

    Args:
        prob: probabilities in [0, 1]: floating, with C classes along ``axis``. All other arguments, the result and the
            errors are those of :func:`asymmetric_loss`; what is said of 0, 1 and memory in
            :func:`paddle_focal.binary_focal_loss` holds here, too.
        label: class indices or dense targets.
        normalizer: divides the loss.
        alpha: balance.
        gamma_neg: focusing parameter of targets 0.
        gamma_pos: focusing parameter of targets 1.
        margin: up to which targets 0 have no loss.
        reduction: 'none', 'mean' or 'sum'.
        name: has no effect.
        weight: multiplies the loss.
        ignore_index: class index that is left out.
        axis: the class axis.
        backend: None, 'native' or 'composite'.
    """
    return compute_on_probabilities(
        ASYMMETRIC,
        prob,
        label,
        normalizer=normalizer,
        alpha=alpha,
        gamma_neg=gamma_neg,
        gamma_pos=gamma_pos,
        margin=margin,
        reduction=reduction,
        weight=weight,
        ignore_index=ignore_index,
        axis=axis,
        backend=backend,
    )


class AsymmetricLoss(FocalLoss):
    """:func:`paddle_focal.asymmetric_loss` with its hyper-parameters (arXiv:2009.14119).

    .. code-block:: python

        loss = AsymmetricLoss(gamma_neg=4.0, gamma_pos=1.0, margin=0.05, reduction="sum")(pred, target)

    Every argument is an attribute of the same name that can be read and set at any time; a value that is not accepted
    is refused when it is set. The state dict is empty.

    Args:
        alpha: a number in [0, 1], one such number per class, or None for no balance.
        gamma_neg: focusing parameter of targets 0, a number >= 0.
        gamma_pos: focusing parameter of targets 1, a number >= 0.
        margin: 0 or a number in [1e-6, 1): targets 0 have no loss up to this probability; mmpretrain calls it clip.
        loss_weight: a number >= 0 that multiplies the result.
        ignore_index: class index without loss and gradient; outside 0..C.
        reduction: 'none', 'mean' or 'sum' where the call does not say; None: 'mean' in a call with ``avg_factor``,
            'none' in one without.
        axis: the class axis of ``pred``.
        activated: whether ``pred`` holds probabilities instead of logits.
        name: a name for the layer, without effect.

    Raises:
        ValueError, TypeError: a value that is not accepted, with the argument's name.
    """

    _loss = ASYMMETRIC
    _of_logits = staticmethod(asymmetric_loss)
    _of_probabilities = staticmethod(binary_asymmetric_loss)

    def __init__(
        self,
        alpha: float | Sequence[float] | None = None,
        gamma_neg: float = 4.0,
        gamma_pos: float = 1.0,
        margin: float = 0.05,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
        reduction: Reduction | None = None,
        axis: int = -1,
        activated: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(
            alpha=alpha,
            gamma_neg=gamma_neg,
            gamma_pos=gamma_pos,
            margin=margin,
            loss_weight=loss_weight,
            ignore_index=ignore_index,
            reduction=reduction,
            axis=axis,
            activated=activated,
            name=name,
        )
