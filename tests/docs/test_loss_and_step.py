"""The first table of the README, from which its figure is drawn, has the numbers of the page on benchmarks."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs/images/loss_and_step.py"))


def last_numbers(row: str) -> list[float]:
    """Of the first row of the page that starts so."""
    page = (ROOT / "docs/en/benchmarks.md").read_text(encoding="utf-8").replace("*", "")
    cells = re.search(rf"^\| {row} \|(.*)\|$", page, re.MULTILINE).group(1).split("|")
    return [float(re.search(r"[\d.,]+", cell).group().replace(",", "")) for cell in cells if re.search(r"\d", cell)]


def test_numbers_are_those_of_the_page():
    table = SCRIPT["read_table"]((ROOT / "README.md").read_text(encoding="utf-8"))
    stock, native = last_numbers("PaddleDetection's `FocalLoss`"), last_numbers("native")
    step, stock_step = (
        last_numbers("FocalRetinaHead \\| 27.0 s"),
        last_numbers("RetinaHead with `FocalLoss` \\| 33.7 s"),
    )
    logits = 403_200 * 80 * 4 / 2**20
    (_, _, loss_time), (_, _, step_time) = table["time"]
    (_, _, loss_memory), (_, _, step_memory) = table["memory"]
    assert loss_time == pytest.approx([stock[1] / 1000, native[1] / 1000], abs=5e-4)  # two threads
    assert loss_memory == pytest.approx([stock[2] * logits, native[2] * logits], rel=1e-2)
    assert step_time == [33.7, 27.0]
    assert step_memory == [stock_step[1], step[1]]


def test_the_figure_shows_them():
    figure = SCRIPT["draw"]((ROOT / "README.md").read_text(encoding="utf-8"))
    time, memory = figure.axes
    assert [label.get_text() for label in time.texts] == ["3.223 s", "0.032 s", "33.7 s", "27 s"]
    assert [label.get_text() for label in memory.texts] == ["1,600 MiB", "124 MiB", "5,713 MiB", "4,019 MiB"]
    widths = sorted(bar.get_width() for bar in time.patches)
    assert widths == [0.032, 3.223, 27.0, 33.7]
