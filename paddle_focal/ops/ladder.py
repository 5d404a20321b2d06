"""The backend ladder: which implementation computes a loss, and why."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from types import ModuleType

import paddle
from paddle import Tensor

from paddle_focal.ops import composite, devices, native
from paddle_focal.ops.loss import Loss, LossParams
from paddle_focal.ops.native import assignment
from paddle_focal.ops.native.library import library
from paddle_focal.ops.registry import GAUSSIAN, LOSSES, SIGMOID

BACKENDS = ("native", "composite")
#: Names that they had before.
_FORMER_NAMES = {"fused": "native"}


def compute(logit: Tensor, params: LossParams, backend: str | None) -> Tensor:
    """The loss of checked arguments; its gradient flows to ``logit`` only.

    Returns:
        Tensor: for the reduction 'none' the losses in the dtype of ``logit``, else a scalar in float32 (float64 for
        float64 logits).

    Raises:
        ValueError: a label is out of range (not checked where that would wait for a device), a tensor is on another
            device than the logits, or an unknown backend.
        RuntimeError: the named backend cannot be used.
    """
    devices.check_same(logit, params)
    return select(backend, logit, params.spec.loss).compute(logit, params)


def compute_sum(logits: Sequence[Tensor], params: Sequence[LossParams]) -> Tensor:
    """The sum of several losses of checked arguments, in dynamic mode.

    The specs say how the logits and labels are to be seen, which have as many numbers in any shape.
    """
    for logit, one in zip(logits, params):
        devices.check_same(logit, one)
    backend = select(None, logits[0], params[0].spec.loss)
    if backend is native:
        return native.compute_sum(logits, params)
    return paddle.add_n([backend.compute(*_in_shape(logit, one)) for logit, one in zip(logits, params)])


def _in_shape(logit: Tensor, params: LossParams) -> tuple[Tensor, LossParams]:
    shape, axis = list(params.spec.shape), params.spec.axis
    label = params.label.reshape([*shape[:axis], *shape[axis + 1 :]])
    return logit.reshape(shape), params._replace(label=label)


def select(backend: str | None, logit: Tensor, loss: Loss = SIGMOID) -> ModuleType:
    """The package that computes a loss of ``logit``: the best one for None, else the one named.

    Raises:
        ValueError: ``backend`` is not the name of a backend.
        RuntimeError: the named backend cannot be used; the message says why.
    """
    if backend is not None:
        backend = _known(backend)
    if backend == "composite" or 0 in logit.shape:  # Paddle ends the process if an operator's result is empty
        return composite
    reason = native.reason_against(devices.name(logit), loss)
    if reason is None:
        return native
    if backend == "native":
        raise RuntimeError(f"backend 'native' cannot serve: {reason}")
    _warn_of_fallback(reason)
    return composite


def count_ones(tensor: Tensor) -> Tensor:
    """How many numbers of a floating tensor in [0, 1] are 1, as a scalar of int64; it does not wait for a device."""
    if devices.can_read(tensor) and select(None, tensor, GAUSSIAN) is native:
        return paddle.to_tensor(native.cpu.count_ones(tensor), place=tensor.place)
    return (tensor >= 1.0).astype("int64").sum()


def assigns(anchors: Tensor) -> bool:
    """Whether the native library assigns anchors to boxes on their device; if it cannot, there is a warning."""
    if not paddle.in_dynamic_mode():
        return False
    reason = assignment.reason_against(anchors)
    if reason:
        _warn_of_fallback(reason)
    return reason is None


def _known(backend: str) -> str:
    backend = _FORMER_NAMES.get(backend, backend) if isinstance(backend, str) else backend
    if not isinstance(backend, str) or backend not in BACKENDS:
        raise ValueError(f"backend must be None or one of {BACKENDS}, but got {backend!r}")
    return backend


@cache  # once for each reason
def _warn_of_fallback(reason: str) -> None:
    warnings.warn(f"paddle_focal falls back on its slower composite backend: {reason}", stacklevel=6)


def backend_report() -> str:
    """Which backend is used on which device, and why; plain text, one line for each kind of device."""
    lines = [f"paddle_focal on Paddle {paddle.__version__}", f"cpu: {_serving('cpu')}"]
    if paddle.is_compiled_with_cuda():
        lines.append(f"gpu: {_serving('gpu')}")
    return "\n".join(lines)


def _serving(device: str) -> str:
    reasons = {loss.name: native.reason_against(device, loss) for loss in LOSSES.values()}
    if all(reasons.values()):
        return f"composite, because {reasons[SIGMOID.name]}"
    chosen = library().focal_instruction_set() or library().focal_error()
    instruction_set = f" ({chosen.decode()})" if device == "cpu" else ""
    exceptions = [f"; {name} composite, because {reason}" for name, reason in reasons.items() if reason]
    return f"native{instruction_set}{''.join(exceptions)}"
