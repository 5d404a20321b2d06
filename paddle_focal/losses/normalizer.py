"""The number by which the losses of a batch are divided: its foreground count, on this rank or on all of them."""

from __future__ import annotations

import paddle
from paddle import Tensor, distributed, nn

from paddle_focal.ops import devices

MODES = ("local", "sync", "ema")


class ForegroundNormalizer(nn.Layer):
    """Turns the foreground count of a batch into the divisor of its losses.

    ========= =========================================================================================
    mode      divisor
    ========= =========================================================================================
    ``local`` the count of this rank, at least 1; PaddleDetection's RetinaHead
    ``sync``  the mean of the counts of all ranks, at least 1: the gradients, which are averaged over the
              ranks, are then those of one process with the whole batch, however uneven the ranks are
    ``ema``   an exponential moving average of ``sync``: ``average = momentum * average + (1 - momentum) *
              sync``, from ``initial`` on; detectron2's RetinaNet (``loss_normalizer``)
    ========= =========================================================================================

    Nothing waits for the device: the count goes in and the divisor comes out as tensors, and the ranks exchange one
    scalar by one all-reduce.

    In training mode every call counts as one iteration and every rank has to make it. In evaluation mode there is
    no exchange and no update: ``sync`` is then ``local``, and ``ema`` the average as it stands.

    Equivalent plain Paddle for ``sync``:

    .. code-block:: python

        paddle.distributed.all_reduce(count)
        divisor = (count / paddle.distributed.get_world_size()).clip(min=1)

    Args:
        mode: 'local', 'sync' or 'ema'.
        momentum: weight of the past in ``ema``, in [0, 1).
        initial: first value of the average, a number >= 1.

    Attributes:
        average: float32 scalar Tensor, the state of ``ema``. It is a buffer outside the state dict, so that
            checkpoints fit with and without it; ``tools/train.py`` keeps it beside them.

    Raises:
        ValueError: an argument that is not accepted.
    """

    def __init__(self, mode: str = "local", momentum: float = 0.9, initial: float = 100.0) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, but got {mode!r}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be a number in [0, 1), but got {momentum!r}")
        if not initial >= 1:
            raise ValueError(f"initial must be a number >= 1, but got {initial!r}")
        self.mode = mode
        self.momentum = momentum
        self.average: Tensor
        self.register_buffer("average", paddle.to_tensor(float(initial), dtype="float32"), persistable=False)

    @paddle.no_grad()
    def forward(self, count: Tensor) -> Tensor:
        """The divisor.

        Args:
            count: scalar Tensor of any numeric dtype, the foreground labels of this rank's batch.

        Returns:
            Tensor: float32 scalar, without gradient.
        """
        with devices.at_home(count):
            count = count.astype("float32")
            count = count.reshape([]) if count.ndim else count
            if self.mode != "local" and self.training:
                count = _mean_over_ranks(count)
            count = count.clip(min=1)
            if self.mode != "ema":
                return count
            if self.training:
                self.average = self.momentum * self.average + (1 - self.momentum) * count
            return self.average.clone()

    def extra_repr(self) -> str:
        return f"mode={self.mode!r}" + (f", momentum={self.momentum}" if self.mode == "ema" else "")


def _mean_over_ranks(count: Tensor) -> Tensor:
    ranks = distributed.get_world_size()
    if ranks == 1:
        return count
    total = count.clone()
    distributed.all_reduce(total)
    return total / ranks
