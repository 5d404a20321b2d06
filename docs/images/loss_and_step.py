"""Draws loss_and_step.png from the first table of README.md: ``python docs/images/loss_and_step.py``."""

from __future__ import annotations

import re
from pathlib import Path

from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
ROW = re.compile(
    r"^\| the (loss alone|whole training step), (time|memory) \| ([\d.,]+) (\w+) \| ([\d.,]+) \w+ \|", re.M
)
COLORS = {"PaddleDetection": "#9a9a9a", "paddle_focal": "#2f6fde"}


def read_table(text: str) -> dict[str, list[tuple[str, str, list[float]]]]:
    """By quantity: what was measured, its unit, and the numbers of PaddleDetection and paddle_focal."""
    found: dict[str, list[tuple[str, str, list[float]]]] = {}
    for what, quantity, first, unit, second in ROW.findall(text):
        numbers = [float(number.replace(",", "")) for number in (first, second)]
        found.setdefault(quantity, []).append((what, unit, numbers))
    return found


def draw(text: str) -> Figure:
    """Loss and step on one axis, so that the share of the loss in the step is seen."""
    figure = Figure(figsize=(8.6, 2.9), dpi=130, layout="constrained", facecolor="white")
    for axes, (quantity, rows) in zip(figure.subplots(1, 2), read_table(text).items()):
        for i, (_, unit, numbers) in enumerate(rows):
            for j, (number, (name, color)) in enumerate(zip(numbers, COLORS.items())):
                y = i + (j - 0.5) * 0.36
                axes.barh(y, number, 0.34, color=color, label=name if i == 0 else None)
                axes.annotate(
                    f"{number:,g} {unit}", (number, y), xytext=(5, 0), textcoords="offset points", va="center"
                )
        axes.set(title=f"{quantity.capitalize()} ({unit})", yticks=range(len(rows)))
        axes.set_yticklabels([what for what, _, _ in rows])
        axes.invert_yaxis()
        axes.margins(x=0.35)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


if __name__ == "__main__":
    draw((HERE.parents[1] / "README.md").read_text(encoding="utf-8")).savefig(HERE / "loss_and_step.png")
