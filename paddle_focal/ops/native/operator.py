"""The native operators of ``csrc`` as Paddle calls them.

Forward and backward each pass over the logits once and keep nothing of that size except the result; half precision is
computed in float32.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import paddle
from paddle import Tensor
from paddle.amp.auto_cast import amp_state
from paddle.base import core
from paddle.base.layer_helper import LayerHelper
from paddle.framework import in_dynamic_or_pir_mode

from paddle_focal.ops import devices, label_range
from paddle_focal.ops.loss import Loss, LossParams

_DOUBLE, _INTEGER = struct.Struct("d"), struct.Struct("q")


def compute(loss: Loss, logit: Tensor, params: LossParams) -> Tensor:
    """The loss of checked arguments; see :func:`paddle_focal.ops.compute`."""
    scales = params.scales.values()
    tensors = [None if isinstance(scale, float) else scale for scale in scales]
    numbers = [scale if isinstance(scale, float) else 0.0 for scale in scales]
    numbers += [params.numbers[name] for name in loss.numbers]
    inputs = (logit, params.label.detach(), *tensors, params.weight)
    attributes = (params.axis, *map(_bits, numbers), params.ignore_index, params.reduction == "sum")
    if label_range.is_wanted_everywhere() and devices.kind(params.label) != "cpu":
        label_range.check(loss, params, logit.shape[params.axis])
    try:
        result = _call(loss, inputs, attributes)
    except OSError as error:
        if "is out of range" in str(error):  # raised by the CPU kernel, which looks at every label anyway
            label_range.check(loss, params, logit.shape[params.axis])
        raise
    # Paddle marks the result of a custom operator as differentiable even under no_grad.
    return result.detach() if paddle.in_dynamic_mode() and not paddle.is_grad_enabled() else result


def _bits(value: float) -> int:
    """A float64 as the integer of its bits; Paddle 2.6 has no attributes of type double."""
    return _INTEGER.unpack(_DOUBLE.pack(value))[0]


def _call(loss: Loss, inputs: Sequence[Tensor | None], attributes: Sequence[float]) -> Tensor:
    """The result of the operator, whose inputs and attributes come in the order in which it has declared them."""
    operator = f"fused_{loss.name}"
    if in_dynamic_or_pir_mode():
        run = getattr(paddle._C_ops, "_run_custom_op", None) or core.eager._run_custom_op
        if paddle.in_dynamic_mode() and amp_state() is None:  # entering auto_cast takes longer than a small loss
            return run(operator, *inputs, *attributes)[0]
        with paddle.amp.auto_cast(enable=False):
            return run(operator, *inputs, *attributes)[0]
    helper = LayerHelper(operator)
    result = helper.create_variable_for_type_inference(inputs[0].dtype)
    input_names, attribute_names = declared_names(loss)
    given = {name: tensor for name, tensor in zip(input_names, inputs) if tensor is not None}
    attrs = dict(zip(attribute_names, attributes))
    helper.append_op(type=operator, inputs=given, outputs={"Loss": result}, attrs=attrs)
    return result


def declared_names(loss: Loss) -> tuple[list[str], list[str]]:
    """The inputs and the attributes of the operator as ``csrc`` declares them, in their order."""
    optional = [f"{name.title().replace('_', '')}@OPTIONAL" for name in (*loss.scales, "weight")]
    return ["Logit", "Label", *optional], ["axis", *loss.scales, *loss.numbers, "ignore_index", "reduce"]
