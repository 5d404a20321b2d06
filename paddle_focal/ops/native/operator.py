"""The fused backend: the native operators of ``csrc``, which read each logit once.

Forward and backward each pass over the logits once and keep nothing of their size but the result; half precision is
computed in float32. They are built by :mod:`paddle_focal.build`.
"""

from __future__ import annotations

import ctypes
import struct
from functools import cache, partial
from typing import Callable

import paddle
from paddle import Tensor
from paddle.amp.auto_cast import amp_state
from paddle.base import core
from paddle.base.layer_helper import LayerHelper
from paddle.framework import in_dynamic_or_pir_mode
from paddle.utils.cpp_extension import load_op_meta_info_and_register_op

from paddle_focal.ops import devices, label_range

#: For each loss the devices that its operator has kernels for.
DEVICES = {"sigmoid_focal_loss": ("cpu", "gpu"), "softmax_focal_loss": ("cpu",)}
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
        found = f" (there is {', '.join(others)}: another Python, Paddle or other sources)" if others else ""
        raise UnavailableError(f"the native operator has not been built for this Paddle{found}: {REMEDY}")
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise UnavailableError(f"the native operator cannot be loaded ({error}): {REMEDY}") from error
    load_op_meta_info_and_register_op(str(path))
    loaded.paddle_focal_instruction_set.restype = ctypes.c_char_p
    return loaded


@cache
def reason_against(device: str, loss: str = "sigmoid_focal_loss") -> str | None:
    """Why the operator of a loss cannot serve a kind of device; None if it can."""
    if device not in DEVICES[loss]:
        return f"the native operator of {loss} has no kernels for {device}"
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
    """Sigmoid focal loss of checked arguments; see :func:`paddle_focal.ops.composite.sigmoid.sigmoid_focal_loss`."""
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
    check = partial(label_range.check, label, logit.shape[axis], ignore_index)
    return _run("sigmoid_focal_loss", inputs, attributes, check)


def softmax_focal_loss(
    logit: Tensor,
    label: Tensor,
    *,
    axis: int,
    scale: float | Tensor,
    weight: Tensor | None,
    gamma: float,
    label_smoothing: float,
    ignore_index: int,
    reduction: str,
) -> Tensor:
    """Softmax focal loss of checked arguments; see :func:`paddle_focal.ops.composite.softmax.softmax_focal_loss`."""
    inputs = {
        "Logit": logit,
        "Label": label.detach(),
        "Scale@OPTIONAL": scale if paddle.is_tensor(scale) else None,
        "Weight@OPTIONAL": weight,
    }
    attributes = {
        "axis": axis,
        "scale": _bits(scale),
        "gamma": _bits(gamma),
        "label_smoothing": _bits(label_smoothing),
        "ignore_index": ignore_index,
        "reduce": reduction == "sum",
    }
    check = partial(label_range.check, label, logit.shape[axis], ignore_index, has_background=False)
    return _run("softmax_focal_loss", inputs, attributes, check)


def _run(loss: str, inputs: dict[str, Tensor | None], attributes: dict, check_label: Callable[[], None]) -> Tensor:
    if label_range.is_wanted_everywhere() and devices.kind(inputs["Label"]) != "cpu":
        check_label()
    try:
        result = _call(f"fused_{loss}", inputs, attributes)
    except OSError as error:
        if "is out of range" in str(error):  # raised by the CPU kernel, which looks at every label anyway
            check_label()
        raise
    # Paddle marks the result of an operator of ours as differentiable under no_grad, too.
    return result.detach() if paddle.in_dynamic_mode() and not paddle.is_grad_enabled() else result


def _bits(value: float | Tensor) -> int:
    """A float64 as the integer of its bits; Paddle 2.6 has no attributes of type double."""
    return 0 if paddle.is_tensor(value) else struct.unpack("q", struct.pack("d", value))[0]


def _call(operator: str, inputs: dict[str, Tensor | None], attributes: dict) -> Tensor:
    if in_dynamic_or_pir_mode():
        run = getattr(paddle._C_ops, "_run_custom_op", None) or core.eager._run_custom_op
        arguments = (operator, *inputs.values(), *attributes.values())
        if paddle.in_dynamic_mode() and amp_state() is None:  # else entering auto_cast takes longer than a small loss
            return run(*arguments)[0]
        with paddle.amp.auto_cast(enable=False):
            return run(*arguments)[0]
    helper = LayerHelper(operator)
    loss = helper.create_variable_for_type_inference(inputs["Logit"].dtype)
    given = {name: tensor for name, tensor in inputs.items() if tensor is not None}
    helper.append_op(type=operator, inputs=given, outputs={"Loss": loss}, attrs=attributes)
    return loss
