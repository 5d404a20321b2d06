"""Poly-1 focal loss: the focal loss with its first coefficient as a parameter, on logits and on probabilities."""

from __future__ import annotations

from collections.abc import Sequence

from paddle import Tensor

from paddle_focal.losses.arguments import Backend, Reduction
from paddle_focal.losses.base import FocalLoss, compute_loss, compute_on_probabilities
from paddle_focal.losses.tracing import traced_unchanged
from paddle_focal.ops.registry import POLY1


@traced_unchanged
def poly1_focal_loss(
    logit: Tensor,
    label: Tensor,
    normalizer: float | Tensor | None = None,
    alpha: float | Sequence[float] | Tensor | None = 0.25,
    gamma: float = 2.0,
    epsilon: float = 1.0,
    reduction: Reduction = "sum",
    name: str | None = None,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -1,
    label_smoothing: float = 0.0,
    axis: int = -1,
    backend: Backend | None = None,
) -> Tensor:
    r"""Poly-1 focal loss (Leng et al., arXiv:2204.12511): focal loss and a multiple of its first term.

    .. math:: \mathrm{FL}_{\text{Poly-1}} = \alpha_t \left( -(1 - p_t)^\gamma \log p_t
              + \epsilon (1 - p_t)^{\gamma + 1} \right), \qquad -\log p_t = \sum_j (1 - p_t)^j / j

    .. code-block:: python

        poly1_focal_loss(logit, label, normalizer, alpha, gamma, epsilon, reduction)

        # Equivalent to, but finite and accurate for every logit, and with a fraction of the time and memory:
        p = F.sigmoid(logit)
        p_t = p * label + (1 - p) * (1 - label)
        alpha_t = alpha * label + (1 - alpha) * (1 - label)
        cross_entropy = F.binary_cross_entropy_with_logits(logit, label, reduction="none")
        loss = alpha_t * ((1 - p_t) ** gamma * cross_entropy + epsilon * (1 - p_t) ** (gamma + 1))
        loss = (loss / normalizer).sum()

    The balance multiplies both terms, so that epsilon changes the coefficient of the focal loss that it is added to,
    whatever the balance. The paper writes no alpha; where published code has one, it often leaves the second term out
    of the balance, which with ``alpha=None`` makes no difference.

    Args:
        logit: floating tensor of any rank from 1 up, with C classes along ``axis``. It, ``label`` and all other
            arguments are those of :func:`paddle_focal.sigmoid_focal_loss`, soft targets included.
        label: class indices, C for the background, or dense targets in [0, 1].
        normalizer: divides the loss.
        alpha: balance: a number in [0, 1], one such number per class, or None.
        gamma: focusing parameter >= 0.
        epsilon: a number in [-1, 1e30]. 0 is the focal loss, -1 takes its first term away. As epsilon approaches -1,
            what is left of a well classified logit is a difference of nearly equal numbers: it is as accurate as these.
        reduction: 'none', 'sum' or 'mean'.
        name: accepted for Paddle's signature; has no effect.
        weight: multiplies the loss.
        ignore_index: class index that is left out.
        label_smoothing: in [0, 1); moves the cross entropy's target only.
        axis: the class axis.
        backend: None for the best one available, or 'native' or 'composite'.

    Returns:
        Tensor: for 'none' the shape and dtype of ``logit``; else a scalar in float32 (float64 for float64 logits). The
        gradient flows to ``logit`` only and is a closed form.

    Raises:
        TypeError, ValueError, RuntimeError: as :func:`paddle_focal.sigmoid_focal_loss`.

    Examples:
        >>> logit = paddle.to_tensor([[0.97, 0.91, 0.03], [0.55, 0.43, 0.71]])
        >>> float(poly1_focal_loss(logit, paddle.to_tensor([0, 1]), normalizer=2.0))
        1.0616298913955688
    """
    return compute_loss(
        POLY1,
        logit,
        label,
        normalizer=normalizer,
        alpha=alpha,
        gamma=gamma,
        reduction=reduction,
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        epsilon=epsilon,
        axis=axis,
        backend=backend,
    )


@traced_unchanged
def binary_poly1_focal_loss(
    prob: Tensor,
    label: Tensor,
    normalizer: float | Tensor | None = None,
    alpha: float | Sequence[float] | Tensor | None = 0.25,
    gamma: float = 2.0,
    epsilon: float = 1.0,
    reduction: Reduction = "sum",
    name: str | None = None,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -1,
    label_smoothing: float = 0.0,
    axis: int = -1,
    backend: Backend | None = None,
) -> Tensor:
    """Poly-1 focal loss of probabilities: :func:`poly1_focal_loss` after the sigmoid (arXiv:2204.12511).

    .. code-block:: python

        binary_poly1_focal_loss(prob, label, normalizer, alpha, gamma, epsilon, reduction)

        # Equivalent to, but finite and accurate for every probability from 0 to 1 inclusive:
        p_t = prob * label + (1 - prob) * (1 - label)
        alpha_t = alpha * label + (1 - alpha) * (1 - label)
        loss = alpha_t * (epsilon * (1 - p_t) ** (gamma + 1) - (1 - p_t) ** gamma * paddle.log(p_t))
        loss = (loss / normalizer).sum()

    Args:
        prob: probabilities in [0, 1]: floating, with C classes along ``axis``. All other arguments, the result and the
            errors are those of :func:`poly1_focal_loss`; what is said of 0, 1 and memory in
            :func:`paddle_focal.binary_focal_loss` holds here, too.
        label: class indices or dense targets.
        normalizer: divides the loss.
        alpha: balance.
        gamma: focusing parameter.
        epsilon: a number in [-1, 1e30].
        reduction: 'none', 'mean' or 'sum'.
        name: has no effect.
        weight: multiplies the loss.
        ignore_index: class index that is left out.
        label_smoothing: in [0, 1).
        axis: the class axis.
        backend: None, 'native' or 'composite'.
    """
    return compute_on_probabilities(
        POLY1,
        prob,
        label,
        normalizer=normalizer,
        alpha=alpha,
        gamma=gamma,
        reduction=reduction,
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        epsilon=epsilon,
        axis=axis,
        backend=backend,
    )


class Poly1FocalLoss(FocalLoss):
    """:func:`paddle_focal.poly1_focal_loss` with its hyper-parameters (arXiv:2204.12511).

    .. code-block:: python

        loss = Poly1FocalLoss(alpha=0.25, gamma=2.0, epsilon=1.0, reduction="sum")(pred, target)

    Every argument is an attribute of the same name that can be read and set at any time; a value that is not accepted
    is refused when it is set. The state dict is empty.

    Args:
        use_sigmoid: True, the only value accepted; heads of PaddleDetection read it.
        alpha: a number in [0, 1], one such number per class, or None for no balance.
        gamma: focusing parameter, a number >= 0.
        epsilon: a number in [-1, 1e30].
        loss_weight: a number >= 0 that multiplies the result.
        ignore_index: class index without loss and gradient; outside 0..C.
        label_smoothing: a number in [0, 1).
        reduction: 'none', 'mean' or 'sum' where the call does not say; None: 'mean' in a call with ``avg_factor``,
            'none' in one without.
        axis: the class axis of ``pred``.
        activated: whether ``pred`` holds probabilities instead of logits.
        name: a name for the layer, without effect.

    Raises:
        ValueError, TypeError: a value that is not accepted, with the argument's name.
    """

    _loss = POLY1
    _of_logits = staticmethod(poly1_focal_loss)
    _of_probabilities = staticmethod(binary_poly1_focal_loss)

    def __init__(
        self,
        use_sigmoid: bool = True,
        alpha: float | Sequence[float] | None = 0.25,
        gamma: float = 2.0,
        epsilon: float = 1.0,
        loss_weight: float = 1.0,
        ignore_index: int = -1,
        label_smoothing: float = 0.0,
        reduction: Reduction | None = None,
        axis: int = -1,
        activated: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(
            use_sigmoid=use_sigmoid,
            alpha=alpha,
            gamma=gamma,
            epsilon=epsilon,
            loss_weight=loss_weight,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            reduction=reduction,
            axis=axis,
            activated=activated,
            name=name,
        )
