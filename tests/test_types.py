"""What a type checker says to those who use the package."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from paddle_limits import IS_PADDLE_2

ROOT = Path(__file__).resolve().parents[1]
IGNORED = "--ignore-missing-imports"  # of types: Paddle 2.6 has none
PROGRAM = """\
import paddle
from paddle_focal import GammaSchedule, SigmoidFocalLoss, sigmoid_focal_loss, varifocal_loss

x, y = paddle.randn([4, 3]), paddle.to_tensor([0, 1, 2, 3])
total: paddle.Tensor = sigmoid_focal_loss(x, y, normalizer=2, alpha=[0.1, 0.2, 0.3], gamma=1.5, reduction="mean")
total = SigmoidFocalLoss(alpha=None, gamma=2)(x, y, avg_factor=paddle.to_tensor(3.0))
sigmoid_focal_loss(x, y, gamma="two")
varifocal_loss(x, y, detach_weight="no")
SigmoidFocalLoss(gamma="two")
SigmoidFocalLoss(gama=2.0)
sigmoid_focal_loss(x, y, alpha="balanced")
sigmoid_focal_loss(x, y, reduction="average")
SigmoidFocalLoss(normalizer="boxes", reduction="mean")
varifocal_loss(x, y, backend="cuda")
"""


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("mypy"), reason="there is no mypy")
def test_wrong_arguments_are_found(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "", "--follow-imports", "silent", IGNORED, "program.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = re.findall(r"^program.py:(\d+): error: .*\[([\w-]+)\]$", result.stdout, re.MULTILINE)
    expected = {str(line): "arg-type" for line in range(7, 15)} | {"10": "call-arg"}
    if IS_PADDLE_2:
        del expected["11"]  # an alpha may be a tensor, and without Paddle's types that is anything
    assert dict(found) == expected, result.stdout + result.stderr
