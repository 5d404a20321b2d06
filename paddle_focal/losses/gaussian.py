"""The focal loss of heatmaps with Gaussian peaks, on logits and on probabilities."""

from __future__ import annotations

from typing import Any, Callable, ClassVar

from paddle import Tensor

from paddle_focal import ops
from paddle_focal.losses.arguments import FLOATING, Backend, Reduction, check_is_tensor
from paddle_focal.losses.base import FocalLoss, compute_loss, compute_on_probabilities
from paddle_focal.losses.tracing import traced_unchanged
from paddle_focal.ops.registry import GAUSSIAN

#: What losses with classes have besides.
_WITHOUT_CLASSES: dict[str, Any] = {"alpha": None, "ignore_index": -1, "axis": -1}


@traced_unchanged
def gaussian_focal_loss(
    logit: Tensor,
    heatmap: Tensor,
    normalizer: float | Tensor | None = None,
    gamma: float = 2.0,
    beta: float = 4.0,
    reduction: Reduction = "sum",
    name: str | None = None,
    *,
    weight: Tensor | None = None,
    backend: Backend | None = None,
) -> Tensor:
    r"""Focal loss of heatmaps (Law and Deng, arXiv:1808.01244, eq. 1), of CornerNet, CenterNet, FairMOT and TTFNet.

    .. math:: L = -(1 - p)^\gamma \log p \text{ at a peak, where } y = 1, \qquad
              -(1 - y)^\beta p^\gamma \log(1 - p) \text{ elsewhere}, \qquad p = \sigma(x)

    .. code-block:: python

        gaussian_focal_loss(logit, heatmap, normalizer, gamma, beta, reduction)

        # Equivalent to, but finite and accurate for every logit, and with a fraction of the time and memory:
        p, peak = F.sigmoid(logit), (heatmap == 1).astype(logit.dtype)
        positive = -((1 - p) ** gamma) * F.log_sigmoid(logit) * peak
        negative = (1 - heatmap) ** beta * p**gamma * F.softplus(logit) * (1 - peak)
        loss = ((positive + negative) / normalizer).sum()

    Args:
        logit: floating tensor of any rank from 1 up.
        heatmap: floating, in the shape of ``logit``, in [0, 1]; exactly 1 at a peak, once it is rounded to the dtype of
            the computation (float32, or float64 for float64 logits).
        normalizer: divides the loss before the reduction, commonly the number of peaks: a number > 0, or a tensor of
            shape [] or [1], whose value the caller must keep above 0. None: no division.
        gamma: focusing parameter >= 0, the paper's alpha.
        beta: >= 0: how much less the loss is near a peak.
        reduction: 'none' (the shape of ``logit``), 'sum', or 'mean' over all elements.
        name: accepted for Paddle's signature; has no effect.
        weight: multiplies the loss: a tensor that broadcasts to ``logit`` with as many axes, or has its leading axes.
        backend: None for the best one available, or 'native' or 'composite'.

    Returns:
        Tensor: for 'none' the shape and dtype of ``logit``; else a scalar in float32 (float64 for float64 logits). The
        gradient flows to ``logit`` only and is a closed form.

    Raises:
        TypeError, ValueError, RuntimeError: as :func:`paddle_focal.sigmoid_focal_loss`; ValueError for a heatmap of
            another shape, or with values outside [0, 1].

    Examples:
        >>> logit = paddle.to_tensor([[0.97, 0.91, 0.03], [0.55, 0.43, 0.71]])
        >>> float(gaussian_focal_loss(logit, paddle.to_tensor([[1.0, 0.5, 0.0], [0.0, 0.9, 0.2]])))
        0.8550520539283752
    """
    return compute_loss(
        GAUSSIAN,
        logit,
        heatmap,
        normalizer=normalizer,
        gamma=gamma,
        beta=beta,
        reduction=reduction,
        weight=weight,
        backend=backend,
        **_WITHOUT_CLASSES,
    )


@traced_unchanged
def binary_gaussian_focal_loss(
    prob: Tensor,
    heatmap: Tensor,
    normalizer: float | Tensor | None = None,
    gamma: float = 2.0,
    beta: float = 4.0,
    reduction: Reduction = "sum",
    name: str | None = None,
    *,
    weight: Tensor | None = None,
    backend: Backend | None = None,
) -> Tensor:
    """Focal loss of heatmaps of probabilities: :func:`gaussian_focal_loss` after the sigmoid (arXiv:1808.01244, eq. 1).

    .. code-block:: python

        binary_gaussian_focal_loss(prob, heatmap, normalizer, gamma, beta, reduction)

        # Equivalent to, but finite and accurate for every probability from 0 to 1 inclusive:
        peak = (heatmap == 1).astype(prob.dtype)
        positive = -((1 - prob) ** gamma) * paddle.log(prob) * peak
        negative = -((1 - heatmap) ** beta) * prob**gamma * paddle.log(1 - prob) * (1 - peak)
        loss = ((positive + negative) / normalizer).sum()

    Args:
        prob: probabilities in [0, 1]: floating. All other arguments, the result and the errors are those of
            :func:`gaussian_focal_loss`; what is said of 0, 1 and memory in :func:`paddle_focal.binary_focal_loss`
            holds here, too.
        heatmap: exactly 1 at a peak.
        normalizer: divides the loss.
        gamma: focusing parameter.
        beta: how much less the loss is near a peak.
        reduction: 'none', 'mean' or 'sum'.
        name: has no effect.
        weight: multiplies the loss.
        backend: None, 'native' or 'composite'.
    """
    return compute_on_probabilities(
        GAUSSIAN,
        prob,
        heatmap,
        normalizer=normalizer,
        gamma=gamma,
        beta=beta,
        reduction=reduction,
        weight=weight,
        backend=backend,
        **_WITHOUT_CLASSES,
    )


def _check_normalizer(normalizer: str | None) -> str | None:
    if normalizer not in (None, "peaks"):
        raise ValueError(f"normalizer must be None or 'peaks', but got {normalizer!r}")
    return normalizer


class GaussianFocalLoss(FocalLoss):
    """:func:`paddle_focal.gaussian_focal_loss` with its hyper-parameters (arXiv:1808.01244, eq. 1).

    .. code-block:: python

        loss = GaussianFocalLoss(gamma=2.0, beta=4.0, normalizer="peaks")(pred, heatmap, reduction="sum")

    Every argument is an attribute of the same name that can be read and set at any time; a value that is not accepted
    is refused when it is set. The state dict is empty.

    Args:
        gamma: focusing parameter, a number >= 0; mmdetection calls it alpha.
        beta: a number >= 0: how much less the loss is near a peak; mmdetection calls it gamma.
        loss_weight: a number >= 0 that multiplies the result.
        normalizer: None: the caller divides, as by ``avg_factor``. 'peaks': the loss divides by the number of peaks, at
            least 1, as PaddleDetection's CTFocalLoss does.
        reduction: 'none', 'mean' or 'sum' where the call does not say; None: 'mean' in a call with ``avg_factor``,
            'none' in one without.
        activated: whether ``pred`` holds probabilities, as in mmdetection, instead of logits.
        name: a name for the layer, without effect.

    Raises:
        ValueError, TypeError: a value that is not accepted, with the argument's name.
    """

    _loss = GAUSSIAN
    _of_logits = staticmethod(gaussian_focal_loss)
    _of_probabilities = staticmethod(binary_gaussian_focal_loss)
    _OWN_CHECKS: ClassVar[dict[str, Callable]] = {"normalizer": _check_normalizer}

    def __init__(
        self,
        gamma: float = 2.0,
        beta: float = 4.0,
        loss_weight: float = 1.0,
        normalizer: str | None = None,
        reduction: Reduction | None = None,
        activated: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(
            gamma=gamma,
            beta=beta,
            loss_weight=loss_weight,
            normalizer=normalizer,
            reduction=reduction,
            activated=activated,
            name=name,
        )

    def _normalizer_of(self, pred: Tensor, target: Tensor, axis: None) -> Tensor:
        check_is_tensor("heatmap", target, FLOATING)
        return ops.count_ones(target).clip(min=1)
