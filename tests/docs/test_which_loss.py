"""What docs/en/which_loss.md says is equal is equal."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

import paddle_focal.functional

PAGE = (Path(__file__).resolve().parents[2] / "docs/en/which_loss.md").read_text()
BLOCKS = re.findall(r"^## ([^\n]*)\n(?:(?!^## ).)*?```python\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def names(rng):
    """The names that the formulas use."""
    x, label, classes = rng.normal(size=(20, 4)), rng.integers(0, 4, 20), 4
    one_hot = np.eye(4)[label]
    heatmap = np.where(rng.random((20, 4)) < 0.2, 1.0, rng.random((20, 4)))
    tensors = {"x": x, "one_hot": one_hot, "heatmap": heatmap, "a": rng.normal(size=(20, 4)), "b": x}
    tensors.update(score=rng.random(20), p=1 / (1 + np.exp(-x)))
    functions = {name: getattr(paddle_focal.functional, name) for name in paddle_focal.functional.__all__}

    def bce(x, y):
        return F.binary_cross_entropy_with_logits(x, y, reduction="none")

    return {
        **functions, "F": F, "paddle": paddle, "C": classes, "bce": bce, "detach_weight": False,
        "label": paddle.to_tensor(label), **{name: paddle.to_tensor(value) for name, value in tensors.items()},
    }  # fmt: skip


def test_every_loss_has_its_formula():
    assert [title for title, _ in BLOCKS] == [
        "Sigmoid focal loss", "Softmax focal loss", "Quality focal loss", "Varifocal loss", "Focal loss of heatmaps",
        "Asymmetric loss", "Poly-1 focal loss", "Joint scores",
    ]  # fmt: skip


@pytest.mark.parametrize(("title", "block"), BLOCKS, ids=[title for title, _ in BLOCKS])
def test_equal(names, title, block):
    call, formula = block.split("\n\n")
    *statements, expression = formula.strip().splitlines()
    arguments = call.replace(", detach_weight=False", "").split("  #")[0]
    ours = eval(arguments, names)
    exec("\n".join(statements), names)
    np.testing.assert_allclose(float(ours), float(eval(expression, names)), rtol=1e-9)
