"""The fused backend: the native operator of ``csrc``, which reads each logit once.

Forward and backward each pass over the logits once and keep nothing of their size but the result; half precision is
computed in float32. The operator is built by :mod:`paddle_focal.build`.
"""

from __future__ import annotations

import ctypes
import struct
from functools import cache

import paddle
from paddle import Tensor
from paddle.amp.auto_cast import amp_state
from paddle.base import core
from paddle.base.layer_helper import LayerHelper
from paddle.framework import in_dynamic_or_pir_mode
from paddle.utils.cpp_extension import load_op_meta_info_and_register_op

from paddle_focal.ops import devices, label_range

OPERATOR = "fused_sigmoid_focal_loss"
REMEDY = "build it with `python -m paddle_focal.build`"


class UnavailableError(RuntimeError):
    """The native operator cannot serve; the message says why and what to do."""


@cache
def library() -> ctypes.CDLL:
    """The operator's library, registered with Paddle.

    Raises:
        UnavailableError: there is none for this Paddle and these sources, or it cannot be loaded.
    """
    from paddle_focal import build  # not above: `python -m paddle_focal.build` imports the package first

    path = build.PACKAGE / build.library_name()
    if not path.exists():
        others = sorted(other.name for other in build.PACKAGE.glob("_C-*.so"))
        found = f" (there is {', '.join(others)}: another Paddle or other sources)" if others else ""
        raise UnavailableError(f"the native operator has not been built for this Paddle{found}: {REMEDY}")
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise UnavailableError(f"the native operator cannot be loaded ({error}): {REMEDY}") from error
    load_op_meta_info_and_register_op(str(path))
    loaded.paddle_focal_instruction_set.restype = ctypes.c_char_p
    return loaded


@cache
def reason_against(device: str) -> str | None:
    """Why the operator cannot serve a kind of device; None if it can."""
    if device not in ("cpu", "gpu"):
        return f"the native operator has no kernels for {device}"
    try:
        loaded = library()
    except UnavailableError as error:
        return str(error)
    if device == "gpu" and not loaded.paddle_focal_has_cuda():
        return f"the native operator was built without CUDA, for want of nvcc: install it, then {REMEDY}"
    return None


def sigmoid_focal_loss(
    logit: Tensor,
    label: Tensor,
    *,
    axis: int,
    foreground_scale: float | Tensor,
    background_scale: float | Tensor,
    weight: Tensor | None,
    gamma: float,
    label_smoothing: float,
    ignore_index: int,
    reduction: str,
) -> Tensor:
    """Sigmoid focal loss of checked arguments; see :func:`paddle_focal.ops.composite.sigmoid_focal_loss`."""
    classes = logit.shape[axis]
    if label_range.is_wanted_everywhere() and devices.kind(label) != "cpu":
        label_range.check(label, classes, ignore_index)
    inputs = {
        "Logit": logit,
        "Label": label.detach(),
        "ForegroundScale@OPTIONAL": foreground_scale if paddle.is_tensor(foreground_scale) else None,
        "BackgroundScale@OPTIONAL": background_scale if paddle.is_tensor(background_scale) else None,
        "Weight@OPTIONAL": weight,
    }
    attributes = {
        "axis": axis,
        "foreground_scale": _bits(foreground_scale),
        "background_scale": _bits(background_scale),
        "gamma": _bits(gamma),
        "label_smoothing": _bits(label_smoothing),
        "ignore_index": ignore_index,
        "reduce": reduction == "sum",
    }
    try:
        loss = _call(inputs, attributes)
    except OSError as error:
        if "is out of range" in str(error):  # raised by the CPU kernel, which looks at every label anyway
            label_range.check(label, classes, ignore_index)
        raise
    # Paddle marks the result of an operator of ours as differentiable under no_grad, too.
    return loss.detach() if paddle.in_dynamic_mode() and not paddle.is_grad_enabled() else loss


def _bits(value: float | Tensor) -> int:
    """A float64 as the integer of its bits; Paddle 2.6 has no attributes of type double."""
    return 0 if paddle.is_tensor(value) else struct.unpack("q", struct.pack("d", value))[0]


def _call(inputs: dict[str, Tensor | None], attributes: dict) -> Tensor:
    if in_dynamic_or_pir_mode():
        run = getattr(paddle._C_ops, "_run_custom_op", None) or core.eager._run_custom_op
        arguments = (OPERATOR, *inputs.values(), *attributes.values())
        if paddle.in_dynamic_mode() and amp_state() is None:  # else entering auto_cast takes longer than a small loss
            return run(*arguments)[0]
        with paddle.amp.auto_cast(enable=False):
            return run(*arguments)[0]
    helper = LayerHelper(OPERATOR)
    loss = helper.create_variable_for_type_inference(inputs["Logit"].dtype)
    given = {name: tensor for name, tensor in inputs.items() if tensor is not None}
    helper.append_op(type=OPERATOR, inputs=given, outputs={"Loss": loss}, attrs=attributes)
    return loss
