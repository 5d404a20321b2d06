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


def test_names_of_the_package():
    """They are there without having been imported, for type checkers, too; others are not."""
    block = Path(paddle_focal.__file__).read_text(encoding="utf-8").partition("if TYPE_CHECKING:")[2]
    checked = re.findall(r"^ {8}(\w+),$|import (backend_report)$", block.partition("__version__")[0], re.MULTILINE)
    assert sorted("".join(names) for names in checked) == paddle_focal.__all__
    assert {*paddle_focal.__all__, "functional", "layers", "__version__"} <= {*dir(paddle_focal)}
    assert paddle_focal.functional.sigmoid_focal_loss is paddle_focal.sigmoid_focal_loss
    with pytest.raises(AttributeError, match="module 'paddle_focal' has no attribute 'focal'"):
        _ = paddle_focal.focal


def test_names_of_configurations():
    detection = pytest.importorskip("paddle_focal.detection")
    losses = ["GaussianFocalLoss", "SigmoidFocalLoss", "SoftmaxFocalLoss"]
    assert sorted(detection.__all__) == ["FocalRetinaHead", *losses, "register", "replace"]


def test_the_modules_are_found():
    assert {"paddle_focal", "paddle_focal.losses", "paddle_focal.functional", "paddle_focal.ops.native"} <= {*MODULES}
