"""The loss over a run as a picture, ``loss_curve.png``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure
from ppdet.engine.callbacks import Callback

from paddle_focal.engine.hooks.metrics_log import MetricsLog
from paddle_focal.files import write_whole


class LossCurve(Callback):
    """Draws ``loss_curve.png`` after each epoch and evaluation.

    Args:
        trainer: ppdet's.
        path: the file.
        log: holds the losses; must be registered before this one.
    """

    def __init__(self, trainer, path: Path, log: MetricsLog) -> None:
        super().__init__(trainer)
        self._path, self._log = path, log

    def on_epoch_end(self, status: dict) -> None:
        steps = [record for record in self._log.records if "loss" in record]
        names = [name for name in steps[-1] if name.startswith("loss")] if steps else []
        losses = {name: [record[name] for record in steps] for name in names}
        points = {record["iteration"]: record["val_loss"] for record in self._log.records if "val_loss" in record}
        draw_loss_curve([record["iteration"] for record in steps], losses, self._path, points)


def draw_loss_curve(
    iterations: Sequence[int],
    losses: Mapping[str, Sequence[float]],
    path: Path,
    validation_losses: Mapping[int, float] | None = None,
) -> None:
    """One line per loss: every iteration faint, the moving average over 1/20 of the run on top.

    Validation losses are points, at the iterations after which they were computed.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="iteration", ylabel="loss", yscale="log", title="Training loss")
    window = max(1, len(iterations) // 20)
    for color, (name, values) in zip(matplotlib.color_sequences["tab10"], losses.items()):
        axes.plot(iterations, values, color=color, alpha=0.25, linewidth=0.8)
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")
        axes.plot(iterations[window - 1 :], smooth, color=color, label=name)
    if validation_losses:
        points = {"color": "black", "marker": "o", "markersize": 4, "linewidth": 0.8, "linestyle": ":"}
        axes.plot(list(validation_losses), list(validation_losses.values()), label="loss, validation images", **points)
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    write_whole(path, lambda partial: figure.savefig(partial, dpi=120))
