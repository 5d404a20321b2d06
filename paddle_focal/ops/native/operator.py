"""The native operators of ``csrc`` as Paddle calls them.

Forward and backward each pass over the logits once and keep nothing of that size except the result; half precision is
computed in float32.
"""

from __future__ import annotations

import struct

import paddle
from paddle import Tensor
from paddle.amp.auto_cast import amp_state
from paddle.base import core
from paddle.base.layer_helper import LayerHelper
from paddle.framework import in_dynamic_or_pir_mode

from paddle_focal.ops import devices, label_range
from paddle_focal.ops.loss import Loss, LossParams


def compute(loss: Loss, logit: Tensor, params: LossParams) -> Tensor:
    """The loss of checked arguments; see :func:`paddle_focal.ops.compute`."""
    scales = {name: scale if paddle.is_tensor(scale) else None for name, scale in params.scales.items()}
    inputs = {
        "Logit": logit,
        "Label": params.label.detach(),
        **{f"{name.title().replace('_', '')}@OPTIONAL": scale for name, scale in scales.items()},
        "Weight@OPTIONAL": params.weight,
    }
    attributes = {
        "axis": params.axis,
        **{name: _bits(scale) for name, scale in params.scales.items()},
        **{name: _bits(params.numbers[name]) for name in loss.numbers},
        "ignore_index": params.ignore_index,
        "reduce": params.reduction == "sum",
    }
    if label_range.is_wanted_everywhere() and devices.kind(params.label) != "cpu":
        label_range.check(loss, params, logit.shape[params.axis])
    try:
        result = _call(f"fused_{loss.name}", inputs, attributes)
    except OSError as error:
        if "is out of range" in str(error):  # raised by the CPU kernel, which looks at every label anyway
            label_range.check(loss, params, logit.shape[params.axis])
        raise
    # Paddle marks the result of a custom operator as differentiable even under no_grad.
    return result.detach() if paddle.in_dynamic_mode() and not paddle.is_grad_enabled() else result


def _bits(value: float | Tensor) -> int:
    """A float64 as the integer of its bits; Paddle 2.6 has no attributes of type double."""
    return 0 if paddle.is_tensor(value) else struct.unpack("q", struct.pack("d", value))[0]


def _call(operator: str, inputs: dict[str, Tensor | None], attributes: dict) -> Tensor:
    if in_dynamic_or_pir_mode():
        run = getattr(paddle._C_ops, "_run_custom_op", None) or core.eager._run_custom_op
        arguments = (operator, *inputs.values(), *attributes.values())
        if paddle.in_dynamic_mode() and amp_state() is None:  # entering auto_cast takes longer than a small loss
            return run(*arguments)[0]
        with paddle.amp.auto_cast(enable=False):
            return run(*arguments)[0]
    helper = LayerHelper(operator)
    loss = helper.create_variable_for_type_inference(inputs["Logit"].dtype)
    given = {name: tensor for name, tensor in inputs.items() if tensor is not None}
    helper.append_op(type=operator, inputs=given, outputs={"Loss": loss}, attrs=attributes)
    return loss
