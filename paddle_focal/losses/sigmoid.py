"""The focal loss of independent sigmoid classifiers, on logits and on probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, ClassVar, Literal

from paddle import Tensor

from paddle_focal.losses.arguments import Backend, Reduction, check_label, check_logit
from paddle_focal.losses.base import FocalLoss, compute_loss, compute_on_probabilities
from paddle_focal.losses.normalizer import ForegroundNormalizer
from paddle_focal.losses.tracing import traced_unchanged
from paddle_focal.ops.registry import SIGMOID


@traced_unchanged
def sigmoid_focal_loss(
    logit: Tensor,
    label: Tensor,
    normalizer: float | Tensor | None = None,
    alpha: float | Sequence[float] | Tensor | None = 0.25,
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
            per class), whose values the caller must keep above 0. None: no division.
        alpha: balance. A number in [0, 1]: targets 1 weigh ``alpha``, targets 0 ``1 - alpha``. C numbers: one alpha
            per class. None: no balance, every factor is 1.
        gamma: focusing parameter >= 0; 0 is the cross entropy.
        reduction: 'none' (the shape of ``logit``), 'sum', or 'mean' over the elements that are not ignored (0 if there
            are none).
        name: accepted for Paddle's signature; has no effect.
        weight: multiplies the loss: a tensor with leading axes of the labels, class indices or dense, so that ``[N]``
            is one factor for each sample; or one that broadcasts to ``logit`` with as many axes, so that ``[1, C]`` is
            one for each class; or one of the flattened shape of ``logit``.
        ignore_index: class index that is left out; outside 0..C.
        label_smoothing: in [0, 1). The cross entropy is taken against ``label * (1 - s) + s / 2``; alpha and the
            modulating factor keep the label itself.
        axis: the class axis. ``[N, A, C, H * W]`` with ``axis=2`` is read in place, without a transpose.
        backend: None for the best one available, or 'native' or 'composite'.

    Returns:
        Tensor: for 'none' the shape and dtype of ``logit``; else a scalar in float32 (float64 for float64 logits).
        Half precision is computed in float32 and rounded once. The gradient flows to ``logit`` only and is a closed
        form (it cannot be differentiated again).

    Raises:
        TypeError: an argument of the wrong type or dtype.
        ValueError: an argument out of range or of the wrong shape. The range of ``label`` is checked on the CPU; on
            other devices, where that would wait for the device, a class index out of range gives NaN.
        RuntimeError: ``backend`` names one that cannot be used, with the reason; or, in the backward pass, a second
            derivative is asked for, ``backward()`` is called a second time (with ``retain_graph=True``, too;
            ``paddle.grad`` can be called again and again), or ``logit``, ``label`` or ``weight`` has been changed in
            place meanwhile. Paddle passes an error in the backward pass on as an OSError.

    Examples:
        >>> logit = paddle.to_tensor([[0.97, 0.91, 0.03], [0.55, 0.43, 0.71]])
        >>> label = paddle.to_tensor([0, 1])
        >>> float(sigmoid_focal_loss(logit, label, normalizer=2.0))
        0.6578246355056763
    """
    return compute_loss(
        SIGMOID,
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


@traced_unchanged
def binary_focal_loss(
    prob: Tensor,
    label: Tensor,
    normalizer: float | Tensor | None = None,
    alpha: float | Sequence[float] | Tensor | None = 0.25,
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
    r"""Focal loss of probabilities: :func:`sigmoid_focal_loss` after the sigmoid (arXiv:1708.02002, eqs. 4 and 5).

    .. code-block:: python

        binary_focal_loss(prob, label, normalizer, alpha, gamma, reduction)

        # Equivalent to, but finite and accurate for every probability from 0 to 1 inclusive:
        p_t = prob * label + (1 - prob) * (1 - label)
        alpha_t = alpha * label + (1 - alpha) * (1 - label)
        loss = (-alpha_t * (1 - p_t) ** gamma * paddle.log(p_t) / normalizer).sum()

    It is computed in float64 whatever the dtype, and takes several times the memory of :func:`sigmoid_focal_loss`: if
    there are logits, call that function.

    Args:
        prob: probabilities in [0, 1]: floating, with C classes along ``axis``.
        label: class indices or dense targets. It and all other arguments are those of :func:`sigmoid_focal_loss`.
        normalizer: divides the loss.
        alpha: balance.
        gamma: focusing parameter.
        reduction: 'none', 'sum' or 'mean'.
        name: has no effect.
        weight: multiplies the loss.
        ignore_index: class index that is left out.
        label_smoothing: in [0, 1).
        axis: the class axis.
        backend: None, 'native' or 'composite'.

    Returns:
        Tensor: as :func:`sigmoid_focal_loss`. A probability of exactly 0 where the target is 1, or 1 where it is 0, has
        an infinite loss; it gets the loss and gradient of 1e-300 instead, a loss of 690.8 times the balance. A gradient
        beyond the largest number of the dtype becomes that number.

    Raises:
        TypeError, ValueError, RuntimeError: as :func:`sigmoid_focal_loss`. A probability outside [0, 1] is a ValueError
            on the CPU, and gives NaN elsewhere.
    """
    return compute_on_probabilities(
        SIGMOID,
        prob,
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


#: The values of ``normalizer``, and the mode of :class:`ForegroundNormalizer` that each one stands for.
NORMALIZERS = {"foreground": "local", "foreground_sync": "sync", "foreground_ema": "ema"}


def _check_normalizer(normalizer: str | None) -> str | None:
    if normalizer is not None and normalizer not in NORMALIZERS:
        accepted = ", ".join(repr(name) for name in NORMALIZERS)
        raise ValueError(f"normalizer must be None or one of {accepted}, but got {normalizer!r}")
    return normalizer


class SigmoidFocalLoss(FocalLoss):
    """:func:`paddle_focal.sigmoid_focal_loss` with its hyper-parameters (arXiv:1708.02002, eq. 5).

    Takes the place of PaddleDetection's ``FocalLoss`` and ``Weighted_FocalLoss``:

    .. code-block:: python

        loss = SigmoidFocalLoss(alpha=0.25, gamma=2.0, loss_weight=1.0)(pred, target, reduction="sum")

        # Equivalent to
        target = F.one_hot(target, C + 1)[:, :C].cast(pred.dtype)
        loss = F.sigmoid_focal_loss(pred, target, alpha=0.25, gamma=2.0, reduction="sum") * loss_weight

    Every argument is an attribute of the same name that can be read and set at any time (``loss.gamma = 1.5``); a
    value that is not accepted is refused when it is set. The state dict is empty.

    Args:
        use_sigmoid: True, the only value accepted; heads of PaddleDetection read it.
        alpha: a number in [0, 1], one such number per class, or None for no balance.
        gamma: focusing parameter, a number >= 0.
        loss_weight: a number >= 0 that multiplies the result.
        normalizer: None: the caller divides, as PaddleDetection's RetinaHead and YOLOFHead do. 'foreground': the
            loss divides by the number of foreground labels, at least 1; 'foreground_sync': by its mean over the ranks;
            'foreground_ema': by the moving average of that. See :class:`paddle_focal.ForegroundNormalizer`; the
            attribute ``foreground_normalizer`` is one.
        ignore_index: class index without loss and gradient; outside 0..C.
        label_smoothing: a number in [0, 1).
        reduction: 'none', 'mean' or 'sum' where the call does not say; None: 'mean' in a call with ``avg_factor``,
            'none' in one without, as in PaddleDetection.
        axis: the class axis of ``pred``.
        activated: whether ``pred`` holds probabilities, as in mmdetection, instead of logits; see
            :func:`paddle_focal.binary_focal_loss`.
        name: a name for the layer, without effect.

    Raises:
        ValueError, TypeError: a value that is not accepted, with the argument's name.
    """

    _loss = SIGMOID
    _of_logits = staticmethod(sigmoid_focal_loss)
    _of_probabilities = staticmethod(binary_focal_loss)
    _OWN_CHECKS: ClassVar[dict[str, Callable]] = {"normalizer": _check_normalizer}
    foreground_normalizer: Any

    def __init__(
        self,
        use_sigmoid: bool = True,
        alpha: float | Sequence[float] | None = 0.25,
        gamma: float = 2.0,
        loss_weight: float = 1.0,
        normalizer: Literal["foreground", "foreground_sync", "foreground_ema"] | None = None,
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
            loss_weight=loss_weight,
            normalizer=normalizer,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            reduction=reduction,
            axis=axis,
            activated=activated,
            name=name,
        )

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "normalizer":
            self.foreground_normalizer = None if value is None else ForegroundNormalizer(NORMALIZERS[value])

    def _normalizer_of(self, pred: Tensor, target: Tensor, axis: int) -> Tensor:
        return self.foreground_normalizer(self._foreground_count(pred, target, axis))

    def _foreground_count(self, pred: Tensor, target: Tensor, axis: int) -> Tensor:
        axis = check_logit(pred, axis, "prob" if self.activated else "logit")
        if check_label(SIGMOID, pred, target, axis, self.ignore_index):
            return (target >= 0).logical_and(target < pred.shape[axis]).sum()
        return target.astype("float32").sum()
