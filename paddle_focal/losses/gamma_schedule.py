"""Gamma over the course of training."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from paddle_focal.arguments import check_number
from paddle_focal.losses.arguments import check_gamma

#: How gamma moves from one value to the next: the fraction of the way covered after each fraction of the time.
KINDS = {
    "constant": lambda share: 0.0,
    "step": lambda share: 0.0,
    "linear": lambda share: share,
    "cosine": lambda share: (1 - math.cos(math.pi * share)) / 2,
}
UNITS = ("epoch", "iteration")


class GammaSchedule:
    """Gamma as a function of how far training has come: low at first, raised once the easy samples are learnt.

    It depends on the epoch and iteration alone and has no state, so a resumed training continues where it was.

    .. code-block:: python

        schedule = GammaSchedule("linear", gammas=[0.5, 2.0], epochs=[0, 4])
        for epoch in range(12):
            for iteration, batch in enumerate(loader):
                loss.gamma = schedule(epoch, iteration, len(loader))

    Args:
        kind: 'constant', 'step', 'linear' or 'cosine': how gamma gets from each of ``gammas`` to the next. 'step' keeps
            one until the epoch of the next; 'cosine' starts and ends slowly.
        gammas: the gammas, each >= 0; exactly one for 'constant'.
        epochs: the epoch from which on each gamma holds, increasing; the first is 0. Fractions are allowed.
        by: 'iteration' changes gamma from one iteration to the next, 'epoch' at the beginning of each epoch.

    Raises:
        TypeError, ValueError: a value that is not accepted.
    """

    def __init__(
        self,
        kind: str,
        gammas: Sequence[float],
        epochs: Sequence[float] = (0,),
        by: str = "iteration",
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, but got {kind!r}")
        if by not in UNITS:
            raise ValueError(f"by must be one of {', '.join(UNITS)}, but got {by!r}")
        self.kind = kind
        self.gammas = [check_gamma(gamma) for gamma in _listed("gammas", gammas)]
        accepted = "a finite number >= 0"
        self.epochs = [
            check_number("epochs", epoch, accepted, lambda number: 0 <= number < math.inf)
            for epoch in _listed("epochs", epochs)
        ]
        self.by = by
        if len(self.gammas) != len(self.epochs):
            raise ValueError(
                f"epochs must have one number for each of gammas, but got {self.epochs} for gammas {self.gammas}"
            )
        if kind == "constant" and len(self.gammas) != 1:
            raise ValueError(f"gammas must be one number where kind is 'constant', but got {self.gammas}")
        if self.epochs[0] != 0 or any(one >= other for one, other in zip(self.epochs, self.epochs[1:])):
            raise ValueError(f"epochs must begin with 0 and increase, but got {self.epochs}")

    def __call__(self, epoch: int, iteration: int = 0, iterations_per_epoch: int = 1) -> float:
        """Gamma of an iteration, counted from 0 in each epoch."""
        time = epoch + (iteration / iterations_per_epoch if self.by == "iteration" else 0)
        i = bisect_right(self.epochs, time) - 1
        if i + 1 == len(self.epochs):
            return self.gammas[-1]
        share = (time - self.epochs[i]) / (self.epochs[i + 1] - self.epochs[i])
        return self.gammas[i] + KINDS[self.kind](share) * (self.gammas[i + 1] - self.gammas[i])

    def __repr__(self) -> str:
        return f"GammaSchedule({self.kind!r}, gammas={self.gammas}, epochs={self.epochs}, by={self.by!r})"


def _listed(name: str, values: Sequence[float]) -> list:
    if not isinstance(values, (list, tuple)) or not values:
        raise TypeError(f"{name} must be a list of at least one number, but got {values!r}")
    return list(values)
