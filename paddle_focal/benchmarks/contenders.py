"""The contenders of the loss benchmark, which all compute the same loss and gradient from the same inputs.

A framework is imported when the first of its contenders is prepared.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Callable

import numpy as np

from paddle_focal.benchmarks.cases import ITEM_SIZE, NORMALIZER, Case, Inputs
from paddle_focal.benchmarks.losses import ALPHA, LOSSES


@dataclass(frozen=True)
class Tolerance:
    """The largest relative errors allowed, of the loss and of the gradient (by its sum of absolute differences)."""

    loss: float
    gradient: float


#: These allow for one rounding of each gradient element to the logits' dtype, and for sums in at least float32. Most of
#: the gradient is smaller than any number of float16.
_OURS = {
    "float32": Tolerance(1e-6, 1e-6),
    "bfloat16": Tolerance(1e-6, 4e-3),
    "float16": Tolerance(1e-6, 4e-3),
    "float64": Tolerance(1e-12, 1e-12),
}
_THEIRS = {
    "float32": Tolerance(1e-4, 1e-4),
    "bfloat16": Tolerance(3e-2, 3e-2),
    "float16": Tolerance(1e-2, 3e-2),
    "float64": Tolerance(1e-9, 1e-9),
}


class LossRun:
    """A loss with its inputs in place, in any framework whose tensors have ``backward()`` and ``grad``."""

    def __init__(self, function: Callable, logit, label, as_array: Callable[..., np.ndarray]) -> None:
        self._function, self._logit, self._label, self._as_array = function, logit, label, as_array
        self._loss = None

    def forward(self) -> None:
        self._loss = self._function(self._logit, self._label)

    def backward(self) -> None:
        self._loss.backward()

    def clear(self) -> None:
        """Frees the results; must be called before the next call."""
        self._loss = None
        try:
            self._logit.grad = None
        except ValueError:  # Paddle 2.6 does not accept None
            self._logit.clear_gradient(set_to_zero=False)

    def loss(self) -> float:
        return float(self._loss)

    def gradient(self) -> np.ndarray:
        return self._as_array(self._logit.grad)


class CopyRun:
    """The floor under every loss: each must read the logits and write a gradient of their size, once.

    The logits are copied into an existing buffer, one contiguous part by each thread; all of it counts as forward.
    """

    PART = 1 << 20  # the fewest bytes that are worth a thread of their own

    def __init__(self, logit: np.ndarray, threads: int) -> None:
        parts = max(1, min(threads, logit.nbytes // self.PART))
        source = logit.reshape(-1)
        self._sources = np.array_split(source, parts)
        self._targets = np.array_split(source.copy(), parts)
        self._map = ThreadPoolExecutor(parts).map if parts > 1 else map

    def forward(self) -> None:
        list(self._map(np.copyto, self._targets, self._sources))

    def backward(self) -> None:
        pass

    def clear(self) -> None:
        pass


@dataclass(frozen=True)
class Contender:
    """One way to compute the loss.

    Attributes:
        name: what the command line and the results call it.
        prepare: puts inputs in place for a number of threads. Raises ImportError if a package is missing.
        footprint: rough peak memory of a call, without its inputs, in multiples of the size of the logits.
        tolerances: the errors that the correctness gate allows; None if there is no loss to check.
        ours: whether it is this package's; if so, an error stops the benchmark.
        compiled: whether the first call on each shape compiles.
        dtypes: the dtypes that it computes on the CPU.
        losses: the losses that it has.
    """

    name: str
    prepare: Callable[[Inputs, int], LossRun | CopyRun]
    footprint: float
    tolerances: Mapping[str, Tolerance] | None = None
    ours: bool = False
    compiled: bool = False
    dtypes: tuple[str, ...] = tuple(ITEM_SIZE)
    losses: Collection[str] = tuple(LOSSES)


def _prepare_paddle(inputs: Inputs, threads: int, function: Callable) -> LossRun:
    import paddle

    paddle.set_device("cpu")
    paddle.base.core.set_num_threads(threads)
    logit = paddle.to_tensor(inputs.logit, stop_gradient=False)
    return LossRun(function, logit, paddle.to_tensor(inputs.label), lambda gradient: gradient.numpy())


def _prepare_ours(inputs: Inputs, threads: int, backend: str) -> LossRun:
    import paddle_focal

    case, loss = inputs.case, LOSSES[inputs.case.loss]
    options = {"gamma": case.gamma, "axis": case.axis, "backend": backend, **loss.arguments}
    function = partial(getattr(paddle_focal, loss.description.name), **options)
    return _prepare_paddle(inputs, threads, lambda logit, label: function(logit, label) / NORMALIZER)


def _prepare_ppdet(inputs: Inputs, threads: int) -> LossRun:
    """As ppdet's RetinaHead calls it: on logits [anchors, classes], so another class axis is transposed first."""
    import paddle

    from paddle_focal.detection.compatibility import import_ppdet

    import_ppdet()
    from ppdet.modeling.losses import FocalLoss

    case = inputs.case
    loss_class = FocalLoss(alpha=ALPHA, gamma=case.gamma)

    def function(logit, label):
        prediction = logit if logit.ndim == 2 else paddle.moveaxis(logit, case.axis, -1).reshape([-1, case.classes])
        return loss_class(prediction, label.flatten(), reduction="sum") / NORMALIZER

    return _prepare_paddle(inputs, threads, function)


def _prepare_textbook(inputs: Inputs, threads: int) -> LossRun:
    """The softmax focal loss as it is usually written in Paddle."""
    import paddle
    import paddle.nn.functional as F

    case = inputs.case

    def function(logit, label):
        one_hot = F.one_hot(label, case.classes)
        p_t = (F.softmax(logit.moveaxis(case.axis, -1)) * one_hot).sum(-1)
        return (-((1 - p_t) ** case.gamma) * paddle.log(p_t)).sum() / NORMALIZER

    return _prepare_paddle(inputs, threads, function)


def _prepare_memcpy(inputs: Inputs, threads: int) -> CopyRun:
    return CopyRun(inputs.logit, threads)


def _torch_sigmoid(case: Case, compiled: bool) -> Callable:
    """The formula as it is usually written in PyTorch, from a one-hot target in the logits' dtype."""
    import torch
    import torch.nn.functional as F

    def one_hot(label):
        if compiled:  # a comparison, which the compiler fuses with the rest
            return label[..., None] == torch.arange(case.classes)
        return F.one_hot(label, case.classes + 1)[..., :-1]

    def function(logit, label):
        logit = logit.movedim(case.axis, -1)
        target = one_hot(label).to(logit.dtype)
        p = torch.sigmoid(logit)
        cross_entropy = F.binary_cross_entropy_with_logits(logit, target, reduction="none")
        p_t = p * target + (1 - p) * (1 - target)
        alpha_t = ALPHA * target + (1 - ALPHA) * (1 - target)
        return (alpha_t * (1 - p_t) ** case.gamma * cross_entropy).sum() / NORMALIZER

    return function


def _torch_softmax(case: Case, compiled: bool) -> Callable:
    import torch.nn.functional as F

    def function(logit, label):
        log_p = F.log_softmax(logit.movedim(case.axis, -1), -1)
        log_p_t = log_p.gather(-1, label.unsqueeze(-1))
        return (-((1 - log_p_t.exp()) ** case.gamma) * log_p_t).sum() / NORMALIZER

    return function


_IN_TORCH = {"sigmoid": _torch_sigmoid, "softmax": _torch_softmax}


def _prepare_torch(inputs: Inputs, threads: int, compiled: bool) -> LossRun:
    import torch

    torch.set_num_threads(threads)
    function = _IN_TORCH[inputs.case.loss](inputs.case, compiled)
    if compiled:
        torch.compiler.reset()  # the number of threads is compiled in
        function = torch.compile(function, dynamic=False)
    half = inputs.logit.dtype == np.uint16
    logit = torch.from_numpy(inputs.logit.view(np.int16) if half else inputs.logit).clone()
    logit = logit.view(torch.bfloat16) if half else logit

    def as_array(gradient) -> np.ndarray:
        return gradient.view(torch.int16).numpy().view(np.uint16) if half else gradient.numpy()

    return LossRun(function, logit.requires_grad_(), torch.from_numpy(inputs.label), as_array)


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("ppdet", _prepare_ppdet, 18, _THEIRS, dtypes=("float32", "float64"), losses=("sigmoid",)),
        Contender("textbook", _prepare_textbook, 6, _THEIRS, dtypes=("float32", "float64"), losses=("softmax",)),
        Contender("composite", partial(_prepare_ours, backend="composite"), 2, _OURS, ours=True),
        Contender("native", partial(_prepare_ours, backend="native"), 1, _OURS, ours=True),
        Contender("memcpy", _prepare_memcpy, 0),
        Contender("torch-eager", partial(_prepare_torch, compiled=False), 18, _THEIRS, losses=_IN_TORCH),
        Contender("torch-compile", partial(_prepare_torch, compiled=True), 2, _THEIRS, compiled=True, losses=_IN_TORCH),
    )
}
