"""The losses in static graphs: an operator of Paddle's over the native library, which ``build --operator`` compiles."""

from __future__ import annotations

import struct
from functools import cache

import paddle
from paddle import Tensor
from paddle.base import core
from paddle.base.layer_helper import LayerHelper
from paddle.framework import in_dynamic_or_pir_mode
from paddle.utils.cpp_extension import load_op_meta_info_and_register_op

from paddle_focal.ops.loss import LossParams
from paddle_focal.ops.native.library import library

NAME = "paddle_focal_loss"
#: Inputs and attributes in the order in which csrc/paddle/operator.cc declares them.
INPUTS = ("Logit", "Label", "Score@OPTIONAL", "FirstScale@OPTIONAL", "SecondScale@OPTIONAL", "Weight@OPTIONAL")
ATTRIBUTES = (
    "loss",
    "keeps_class_axis",
    "axis",
    "first_scale",
    "second_scale",
    "first_number",
    "second_number",
    "third_number",
    "ignore_index",
    "reduce",
)
_DOUBLE, _INTEGER = struct.Struct("d"), struct.Struct("q")


@cache
def register() -> None:
    """Registers the operator with Paddle.

    Raises:
        RuntimeError: it has not been built for this Paddle.
    """
    from paddle_focal import build

    library()  # which the operator is linked to
    path = build.PACKAGE / build.operator_name()
    if not path.exists():
        raise RuntimeError(
            "a focal loss in a static graph needs an operator for this Paddle: "
            "build it with `python -m paddle_focal.build --operator`, or run in dynamic mode"
        )
    load_op_meta_info_and_register_op(str(path))


def compute(logit: Tensor, params: LossParams) -> Tensor:
    """The loss of checked arguments; see :func:`paddle_focal.ops.compute`."""
    register()
    spec = params.spec
    scales = [*params.scales.values(), 0.0][:2]
    tensors = [None if isinstance(scale, float) else scale for scale in scales]
    numbers = [scale if isinstance(scale, float) else 0.0 for scale in scales]
    inputs = (logit, params.label.detach(), params.score, *tensors, params.weight)
    attributes = (
        spec.loss.number,
        spec.loss.keeps_class_axis,
        spec.axis,
        *map(_bits, [*numbers, *spec.numbers.values(), 0.0, 0.0][:5]),
        spec.ignore_index,
        spec.reduction == "sum",
    )
    if in_dynamic_or_pir_mode():
        run = getattr(paddle._C_ops, "_run_custom_op", None) or core.eager._run_custom_op
        with paddle.amp.auto_cast(enable=False):
            return run(NAME, *inputs, *attributes)[0]
    helper = LayerHelper(NAME)
    result = helper.create_variable_for_type_inference(logit.dtype)
    given = {name: tensor for name, tensor in zip(INPUTS, inputs) if tensor is not None}
    helper.append_op(type=NAME, inputs=given, outputs={"Loss": result}, attrs=dict(zip(ATTRIBUTES, attributes)))
    return result


def _bits(value: float) -> int:
    """A float64 as the integer of its bits; Paddle 2.6 has no attributes of type double."""
    return _INTEGER.unpack(_DOUBLE.pack(value))[0]
