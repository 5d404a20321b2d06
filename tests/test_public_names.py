"""What the package's modules say that they export."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import paddle_focal

PACKAGE = Path(paddle_focal.__file__).parent
MODULES = [
    ".".join(("paddle_focal", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
    if re.search(r"^__all__ = ", path.read_text(encoding="utf-8"), re.MULTILINE)
]


@pytest.mark.parametrize("name", MODULES)
def test_every_name_is_there(name):
    if name.startswith("paddle_focal.detection"):
        pytest.importorskip("ppdet")
    module = importlib.import_module(name)
    assert [public for public in module.__all__ if not hasattr(module, public)] == []
    assert len(set(module.__all__)) == len(module.__all__)


def test_names_of_configurations():
    detection = pytest.importorskip("paddle_focal.detection")
    losses = ["GaussianFocalLoss", "SigmoidFocalLoss", "SoftmaxFocalLoss"]
    assert sorted(detection.__all__) == ["FocalRetinaHead", *losses, "register", "replace"]


def test_the_modules_are_found():
    assert {"paddle_focal", "paddle_focal.losses", "paddle_focal.functional", "paddle_focal.ops.native"} <= {*MODULES}
