"""Where in an epoch a resumed run goes on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from ppdet.engine.callbacks import Callback


class ResumedPosition(Callback):
    """Makes the loader go on with the images that the run has not seen, in the order of an uninterrupted run.

    Args:
        trainer: ppdet's, whose loader starts anew.
        epochs: complete epochs.
        iterations: complete iterations of the next one.
    """

    def __init__(self, trainer, epochs: int, iterations: int) -> None:
        super().__init__(trainer)
        self._epoch, self._iterations = epochs, iterations
        loader = trainer.loader
        loader._batch_sampler.set_epoch(epochs)  # its order depends on nothing else
        loader.dataloader.batch_sampler = _WithoutTheSeen(loader._batch_sampler, iterations)
        loader.loader = iter(loader.dataloader)

    def on_step_begin(self, status: dict) -> None:
        if status["mode"] == "train" and status["epoch_id"] == self._epoch:
            status["step_id"] += self._iterations  # ppdet counts from 0


class _WithoutTheSeen:
    """A batch sampler whose first pass leaves out the first batches."""

    def __init__(self, sampler, seen: int) -> None:
        self._sampler, self._seen = sampler, seen

    def __iter__(self) -> Iterator[list[int]]:
        seen, self._seen = self._seen, 0
        return itertools.islice(iter(self._sampler), seen, None)

    def __len__(self) -> int:
        return len(self._sampler)
