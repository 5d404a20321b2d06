"""How a loss is distributed over samples: how much of it the easy and the hard ones contribute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from paddle_focal.files import write_whole

#: The part of the samples that counts as the hardest.
HARDEST = 0.01


class LossHistogram:
    """The losses of any number of samples in bins 1.2 % wide, in memory that does not grow with them.

    Each bin keeps the number of its samples and the sum of their losses, so statements about all samples from a given
    bin on are exact. Within a bin, samples are treated as equal. Losses below 1e-40 share the first bin, those
    from 1e6 on the last.
    """

    PER_DECADE = 200
    LOWEST, HIGHEST = -40, 6  # decades

    def __init__(self) -> None:
        bins = (self.HIGHEST - self.LOWEST) * self.PER_DECADE
        self._counts = np.zeros(bins, np.int64)
        self._sums = np.zeros(bins)

    def add(self, losses: np.ndarray) -> None:
        """Add the losses of samples: floating-point numbers >= 0, in any shape."""
        losses = np.ravel(losses).astype(np.float64)
        decade = np.log10(np.maximum(losses, 10.0**self.LOWEST))
        index = ((decade - self.LOWEST) * self.PER_DECADE).astype(np.int64).clip(max=len(self._counts) - 1)
        self._counts += np.bincount(index, minlength=len(self._counts))
        self._sums += np.bincount(index, losses, minlength=len(self._sums))

    @property
    def count(self) -> int:
        return int(self._counts.sum())

    @property
    def total(self) -> float:
        return float(self._sums.sum())

    def cumulative(self) -> tuple[np.ndarray, np.ndarray]:
        """Fractions of the samples, the easiest first, and the shares of the loss that they carry; both from 0 to 1.

        Raises:
            ValueError: the total loss is not above 0.
        """
        if not self.total > 0:
            raise ValueError(f"the loss of {self.count} samples is {self.total}: nobody has a share of it")
        filled = self._counts > 0
        fractions = np.concatenate([[0], self._counts[filled].cumsum() / self.count])
        shares = np.concatenate([[0], self._sums[filled].cumsum() / self.total])
        return fractions, shares

    def share_of_hardest(self, fraction: float) -> float:
        """The share of the loss that this fraction of the samples, those with the greatest loss, carries."""
        return float(1 - np.interp(1 - fraction, *self.cumulative()))


def draw_distribution(panels: Mapping[str, Mapping[float, LossHistogram]], title: str, path: Path) -> None:
    """One panel for each kind of anchor, one curve for each gamma: the cumulative loss from easy to hard anchors.

    Args:
        panels: the losses, by the panel's title and then by gamma.
        title: the title of the whole figure.
        path: the PNG to write.
    """
    figure = Figure(figsize=(5 * len(panels), 4.6), layout="constrained")
    figure.suptitle(title, fontsize=12)
    for axes, (name, histograms) in zip(np.ravel(figure.subplots(1, len(panels), sharey=True)), panels.items()):
        colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(histograms)))
        for color, (gamma, histogram) in zip(colors, histograms.items()):
            label = f"$\\gamma$ = {gamma:g}: {histogram.share_of_hardest(HARDEST):.0%}"
            axes.plot(*histogram.cumulative(), color=color, label=label)
        axes.set(title=name, xlabel="fraction of these anchors, easiest first", xlim=(0, 1), ylim=(0, 1))
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", title=f"the hardest {HARDEST:.0%} carry")
    figure.axes[0].set_ylabel("share of the loss that they carry")
    write_whole(path, lambda partial: figure.savefig(partial, dpi=110))
