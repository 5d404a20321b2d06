"""The logit of a product of two probabilities, for losses of joint scores."""

from __future__ import annotations

import math
from typing import Any

import paddle
from paddle import Tensor

from paddle_focal.arguments import check_number
from paddle_focal.losses.arguments import FLOATING, Backend, check_dtype, check_is_tensor, dtype_name
from paddle_focal.losses.tracing import traced_unchanged
from paddle_focal.ops import devices, joint


@traced_unchanged
def joint_logit(a: Tensor, b: Tensor, power: float = 1.0, *, backend: Backend | None = None) -> Tensor:
    r"""The logit of a joint score, :math:`(\sigma(a) \, \sigma(b))^{power}`, which any loss of logits takes.

    Heads multiply the probability of a class by that of an object: TOOD and PicoDet with ``power=0.5``
    (arXiv:2108.07755, eq. 5), FCOS by its centerness with ``power=1``.

    .. code-block:: python

        quality_focal_loss(joint_logit(a, b, power=0.5), label, score)

        # Equivalent to, but finite and accurate for all logits, with gradients that do not vanish:
        p = (F.sigmoid(a) * F.sigmoid(b)) ** 0.5
        binary_quality_focal_loss(p, label, score)

    Args:
        a: floating tensor of any shape.
        b: floating, of the dtype of ``a`` and a shape that broadcasts with it.
        power: a number > 0.
        backend: None for the best one available, or 'native' or 'composite'.

    Returns:
        Tensor: the logits log(p / (1 - p)), in the dtype of ``a``. The gradient flows to both and is a closed form (it
        cannot be differentiated again).

    Raises:
        TypeError, ValueError: an argument of the wrong type, dtype, shape or size, or on another device than the other.
        RuntimeError: in a static graph; or ``backend`` cannot serve.

    Examples:
        >>> float(joint_logit(paddle.to_tensor([0.0]), paddle.to_tensor([0.0]), power=0.5))
        0.0
    """
    for name, tensor in (("a", a), ("b", b)):
        check_is_tensor(name, tensor, FLOATING)
        check_dtype(name, tensor.dtype, FLOATING)
    if a.dtype != b.dtype:
        raise TypeError(f"b must have the dtype of a, {dtype_name(a.dtype)}, but its dtype is {dtype_name(b.dtype)}")
    power = _check_power(power)
    if not paddle.in_dynamic_mode():
        raise RuntimeError("joint_logit cannot be traced into a static graph: multiply the probabilities there")
    devices.check_beside("b", b, "a", a)
    if not all(m == n or 1 in (m, n) for m, n in zip(reversed(a.shape), reversed(b.shape))):
        raise ValueError(
            f"b must have a shape that broadcasts with that of a, {list(a.shape)}, but its shape is {list(b.shape)}"
        )
    with devices.at_home(a):
        if a.shape != b.shape:
            # Paddle's broadcast_tensors ends the process in its backward pass where one of them wants no gradient.
            shape = paddle.broadcast_shape(a.shape, b.shape)
            a, b = a.expand(shape), b.expand(shape)
        return joint.joint_logit(a, b, power, backend)


def _check_power(power: Any) -> float:
    return check_number("power", power, "a finite number > 0", lambda number: 0 < number < math.inf)
