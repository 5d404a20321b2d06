"""The varifocal loss: sigmoid classifiers that rank by a score of their own class, on logits and on probabilities."""

from __future__ import annotations

from collections.abc import Sequence

from paddle import Tensor

from paddle_focal.losses.arguments import Backend, Reduction
from paddle_focal.losses.base import FocalLoss, compute_loss, compute_on_probabilities
from paddle_focal.losses.tracing import traced_unchanged
from paddle_focal.ops.registry import VARIFOCAL


@traced_unchanged
def varifocal_loss(
    logit: Tensor,
    label: Tensor,
    score: Tensor | None = None,
    normalizer: float | Tensor | None = None,
    alpha: float | Sequence[float] | Tensor | None = 0.75,
    gamma: float = 2.0,
    reduction: Reduction = "sum",
    name: str | None = None,
    *,
    detach_weight: bool = False,
    weight: Tensor | None = None,
    ignore_index: int = -1,
    axis: int = -1,
    backend: Backend | None = None,
) -> Tensor:
    r"""Varifocal loss (Zhang et al., arXiv:2008.13367, eq. 2), of VarifocalNet, PP-YOLOE, PicoDet and RT-DETR.

    .. math:: \mathrm{VFL} = q \, \mathrm{BCE}(p, q) \text{ where the target is a score } q, \qquad
              -\alpha p^\gamma \log(1 - p) \text{ where it is 0}, \qquad p = \sigma(x)

    .. code-block:: python

        varifocal_loss(logit, label, score, normalizer, alpha, gamma, reduction)

        # Equivalent to, but finite and accurate for every logit, and with a fraction of the time and memory:
        one_hot = F.one_hot(label, C + 1)[..., :C]
        q = one_hot * score.unsqueeze(-1)
        p = F.sigmoid(logit)  # p.detach() with detach_weight=True
        factor = alpha * p**gamma * (1 - one_hot) + q
        loss = factor * F.binary_cross_entropy_with_logits(logit, q, reduction="none")
        loss = (loss / normalizer).sum()

    Args:
        logit: floating tensor of any rank from 1 up, with C classes along ``axis``.
        label: class indices (int32 or int64, the shape of ``logit`` without ``axis``): 0..C-1 foreground, C
            background, ``ignore_index`` neither loss nor gradient. Or dense targets in [0, 1] (floating, the shape of
            ``logit``), without ``score``: scores where they are above 0.
        score: floating, the shape of ``label``, in [0, 1]: the target q of the label's own class, commonly the IoU of
            its box; every other class has the target 0. A score of 0 makes no loss, in contrast to a dense target
            of 0. Where the label is no class it is not read. None: 1.
        normalizer: divides the loss before the reduction: a number > 0, or a tensor of shape [], [1] or [C] (one value
            per class), whose values the caller must keep above 0. None: no division.
        alpha: multiplies the loss of targets 0: a number >= 0, C such numbers, one per class, or None for 1.
        gamma: focusing parameter >= 0 of targets 0.
        reduction: 'none' (the shape of ``logit``), 'sum', or 'mean' over the elements that are not ignored (0 if there
            are none).
        name: accepted for Paddle's signature; has no effect.
        detach_weight: whether the weight p^gamma is a constant for the gradient, as in RT-DETR in PyTorch; if not,
            it is differentiated, as in PaddleDetection.
        weight: multiplies the loss, see :func:`paddle_focal.sigmoid_focal_loss`.
        ignore_index: class index that is left out; outside 0..C.
        axis: the class axis.
        backend: None for the best one available, or 'native' or 'composite'.

    Returns:
        Tensor: for 'none' the shape and dtype of ``logit``; else a scalar in float32 (float64 for float64 logits). The
        gradient flows to ``logit`` only and is a closed form.

    Raises:
        TypeError, ValueError, RuntimeError: as :func:`paddle_focal.sigmoid_focal_loss`; ValueError for a score outside
            [0, 1] or of another shape, or one beside dense targets.

    Examples:
        >>> logit = paddle.to_tensor([[0.97, 0.91, 0.03], [0.55, 0.43, 0.71]])
        >>> float(varifocal_loss(logit, paddle.to_tensor([0, 3]), paddle.to_tensor([0.8, 0.0])))
        1.9587923288345337
    """
    return compute_loss(
        VARIFOCAL,
        logit,
        label,
        score=score,
        normalizer=normalizer,
        alpha=alpha,
        gamma=gamma,
        reduction=reduction,
        detach_weight=detach_weight,
        weight=weight,
        ignore_index=ignore_index,
        axis=axis,
        backend=backend,
    )


@traced_unchanged
def binary_varifocal_loss(
    prob: Tensor,
    label: Tensor,
    score: Tensor | None = None,
    normalizer: float | Tensor | None = None,
    alpha: float | Sequence[float] | Tensor | None = 0.75,
    gamma: float = 2.0,
    reduction: Reduction = "sum",
    name: str | None = None,
    *,
    detach_weight: bool = False,
    weight: Tensor | None = None,
    ignore_index: int = -1,
    axis: int = -1,
    backend: Backend | None = None,
) -> Tensor:
    """Varifocal loss of probabilities: :func:`varifocal_loss` after the sigmoid (arXiv:2008.13367, eq. 2).

    .. code-block:: python

        binary_varifocal_loss(prob, label, score, normalizer, alpha, gamma, reduction)

        # Equivalent to, but finite and accurate for every probability from 0 to 1 inclusive:
        one_hot = F.one_hot(label, C + 1)[..., :C]
        q = one_hot * score.unsqueeze(-1)
        factor = alpha * prob**gamma * (1 - one_hot) + q
        loss = (factor * F.binary_cross_entropy(prob, q, reduction="none") / normalizer).sum()

    Args:
        prob: probabilities in [0, 1]: floating, with C classes along ``axis``. All other arguments, the result and the
            errors are those of :func:`varifocal_loss`; what is said of 0, 1 and memory in
            :func:`paddle_focal.binary_focal_loss` holds here, too.
        label: class indices or dense targets.
        score: the targets of the labels' own classes.
        normalizer: divides the loss.
        alpha: balance.
        gamma: focusing parameter.
        reduction: 'none', 'mean' or 'sum'.
        name: has no effect.
        detach_weight: whether the weight is a constant for the gradient.
        weight: multiplies the loss.
        ignore_index: class index that is left out.
        axis: the class axis.
        backend: None, 'native' or 'composite'.
    """
    return compute_on_probabilities(
        VARIFOCAL,
        prob,
        label,
        score=score,
        normalizer=normalizer,
        alpha=alpha,
        gamma=gamma,
        reduction=reduction,
        detach_weight=detach_weight,
        weight=weight,
        ignore_index=ignore_index,
        axis=axis,
        backend=backend,
    )


class VarifocalLoss(FocalLoss):
    """:func:`paddle_focal.varifocal_loss` with its hyper-parameters (arXiv:2008.13367, eq. 2).

    .. code-block:: python

        loss = VarifocalLoss(alpha=0.75, gamma=2.0, loss_weight=1.0)(pred, (label, score), weight, avg_factor)

    Every argument is an attribute of the same name that can be read and set at any time; a value that is not accepted
    is refused when it is set. The state dict is empty. The target of a call is a pair of class indices and scores, or
    class indices alone, or dense targets.

    Args:
        use_sigmoid: True, the only value accepted; heads of PaddleDetection read it.
        alpha: multiplies the loss of targets 0: a number >= 0, one such number per class, or None for 1.
        gamma: focusing parameter of targets 0, a number >= 0.
        detach_weight: whether the weight p^gamma is a constant for the gradient.
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

    _loss = VARIFOCAL
    _of_logits = staticmethod(varifocal_loss)
    _of_probabilities = staticmethod(binary_varifocal_loss)

    def __init__(
        self,
        use_sigmoid: bool = True,
        alpha: float | Sequence[float] | None = 0.75,
        gamma: float = 2.0,
        detach_weight: bool = False,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
        reduction: Reduction | None = None,
        axis: int = -1,
        activated: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(
            use_sigmoid=use_sigmoid,
            alpha=alpha,
            gamma=gamma,
            detach_weight=detach_weight,
            loss_weight=loss_weight,
            ignore_index=ignore_index,
            reduction=reduction,
            axis=axis,
            activated=activated,
            name=name,
        )
