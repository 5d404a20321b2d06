"""Which configurations have a loss of the focal family, and which of them are served."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ppdet")

from ppdet.core import workspace

from paddle_focal.analysis import coverage
from paddle_focal.cli import coverage as command
from paddle_focal.errors import ToolError

ROOT = Path(__file__).resolve().parents[2]
BASE = "architecture: DETR\nDETR: {detr_head: DETRHead}\nDETRHead: {loss: DETRLoss}"
#: Of which two are parts of others, and one cannot be read.
CONFIGS = {
    "base/detr.yml": BASE,
    "base/runtime.yml": "epoch: 1",
    "centernet.yml": "architecture: CenterNet\nepoch: 1\nCenterNet: {head: CenterNetHead}",
    "detr/focal.yml": "_BASE_: [../base/detr.yml, ../base/runtime.yml]\nuse_focal_loss: true",
    "detr/sections.yml": "_BASE_: [focal.yml]\n"
    "DETRLoss: {use_focal_loss: false}\nHungarianMatcher: {use_focal_loss: false}",
    "detr/softmax.yml": "_BASE_: [../base/detr.yml, ../base/runtime.yml]",
    "gfl.yml": "architecture: GFL\nepoch: 1\nGFL: {head: GFLHead}",
    "missing.yml": "_BASE_: [none.yml]\nepoch: 1",
    "semi.yml": "architecture: PPYOLOE\nepoch: 1\nssod_method: DenseTeacher\nPPYOLOE: {yolo_head: PPYOLOEHead}",
    "vfl.yml": "architecture: GFL\nepoch: 1\nGFL: {head: {name: GFLHead, loss_class: {name: VarifocalLoss}}}",
    "yolov3.yml": "architecture: YOLOv3\nepoch: 1\nYOLOv3: {yolo_head: YOLOv3Head}",
}
EACH = """\
| component        | configurations | served           |
| ---------------- | -------------- | ---------------- |
| CenterNetHead    | 1              | yes              |
| DETRLoss         | 1              | yes              |
| HungarianMatcher | 1              | no: not replaced |
| QualityFocalLoss | 1              | no: not replaced |
| PPYOLOEHead      | 1              | yes              |
| SSODPPYOLOELoss  | 1              | no: not replaced |
| VarifocalLoss    | 1              | no: not replaced |

| configuration     | components                   | served                            |
| ----------------- | ---------------------------- | --------------------------------- |
| centernet.yml     | CenterNetHead                | yes                               |
| detr/focal.yml    | DETRLoss, HungarianMatcher   | no: HungarianMatcher not replaced |
| detr/sections.yml | no focal loss                |                                   |
| detr/softmax.yml  | no focal loss                |                                   |
| gfl.yml           | QualityFocalLoss             | no: QualityFocalLoss not replaced |
| semi.yml          | PPYOLOEHead, SSODPPYOLOELoss | no: SSODPPYOLOELoss not replaced  |
| vfl.yml           | VarifocalLoss                | no: VarifocalLoss not replaced    |
| yolov3.yml        | no focal loss                |                                   |

PaddleDetection cannot load 1:

- missing.yml: FileNotFoundError: [Errno 2] No such file or directory: '{}/configs/none.yml'

1 of 5 configurations that train with a loss of the focal family are served; 3 others have no such loss.
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """One of PaddleDetection, as far as the command looks at it."""
    tree = tmp_path_factory.mktemp("tree")
    for name, text in CONFIGS.items():
        (tree / "configs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / "configs" / name).write_text(text)
    (tree / "ppdet").mkdir()
    return tree


@pytest.fixture(autouse=True)
def _three_are_replaced(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(coverage, "REPLACEMENTS", dict.fromkeys(("CenterNetHead", "PPYOLOEHead", "DETRLoss")))


def test_the_workspace_is_left_as_it_was(tree):
    before = {**workspace.global_config}
    head = workspace.global_config["DETRHead"]
    coverage.survey(tree)
    assert workspace.global_config == before
    assert workspace.global_config["DETRHead"] is head
    assert dict(head) == {}


def test_tables(tree, capsys):
    command.main(["--paddledetection", str(tree), "--verbose"])
    assert capsys.readouterr().out == EACH.format(tree)
    command.main(["--paddledetection", str(tree)])
    components, _, *rest = EACH.format(tree).split("\n\n")
    assert capsys.readouterr().out == "\n\n".join([components, *rest])


def test_json(tree, tmp_path, capsys):
    command.main(["--paddledetection", str(tree), "--json", "-"])
    found = json.loads(capsys.readouterr().out)
    assert (found["focal"], found["served"]) == (5, 1)
    assert found["components"]["DETRLoss"] == {"configurations": 1, "served": True}
    assert found["components"]["VarifocalLoss"] == {"configurations": 1, "served": False}
    assert found["configurations"]["centernet.yml"] == {"components": ["CenterNetHead"], "served": True}
    assert found["configurations"]["gfl.yml"] == {"components": ["QualityFocalLoss"], "served": False}
    assert found["configurations"]["yolov3.yml"] == {"components": [], "served": None}
    assert found["configurations"]["missing.yml"]["error"].startswith("FileNotFoundError: ")
    assert set(found["configurations"]) == {name for name in CONFIGS if not name.startswith("base/")}
    command.main(["--paddledetection", str(tree), "--json", str(tmp_path / "a.json")])
    assert json.loads((tmp_path / "a.json").read_text()) == found
    assert capsys.readouterr().out.startswith("| component ")


def test_what_is_no_tree(tmp_path, monkeypatch, capsys):
    (tmp_path / "configs").mkdir()
    with pytest.raises(SystemExit):
        command.main(["--paddledetection", str(tmp_path)])
    said = f"--paddledetection must be a folder that has ppdet and configs in it, but got {tmp_path}\n"
    assert capsys.readouterr().err.endswith(said)
    monkeypatch.setattr(coverage.ppdet, "__file__", str(tmp_path / "ppdet/__init__.py"))
    assert coverage.tree_of_ppdet() == tmp_path
    (tmp_path / "configs").rmdir()
    with pytest.raises(ToolError, match=r"has no configurations beside it: .* with --paddledetection DIR"):
        coverage.tree_of_ppdet()


def test_every_name_is_a_components():
    """Some came after paddledet 2.6.0."""
    newer = {"CLRNetLoss", "CenterFocalLoss", "FCOSLossCR", "FCOSLossMILC", "MaskDINOLoss", "PPYOLOEInsHead"}
    assert coverage.FAMILY.keys() - workspace.get_registered_modules() <= newer | {"Weighted_FocalLoss"}


@pytest.mark.slow
@pytest.mark.skipif("PADDLEDETECTION" not in os.environ, reason="PADDLEDETECTION does not name a source tree")
def test_paddledetection():
    """Whole folders of it have the loss that their papers have."""
    flags = ["--paddledetection", os.environ["PADDLEDETECTION"], "--json", "-"]
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "paddle_focal", "coverage", *flags], cwd=ROOT, capture_output=True
    )
    assert result.returncode == 0, result.stderr
    found = {
        path: set(one["components"])
        for path, one in json.loads(result.stdout)["configurations"].items()
        if "components" in one
    }
    losses = {
        "dino": "DINOLoss", "fcos": "FCOSLoss", "mot/fairmot": "CenterNetHead", "picodet": "VarifocalLoss",
        "ppyoloe": "PPYOLOEHead", "rtdetr": "DINOLoss", "retinanet": "FocalLoss", "solov2": "SOLOv2Loss",
    }  # fmt: skip
    for folder, loss in losses.items():
        assert sum(path.startswith(f"{folder}/") for path in found) > 1, folder
        assert all(loss in components for path, components in found.items() if path.startswith(f"{folder}/")), folder
    for folder in ("faster_rcnn", "yolov3", "yolox", "ppyolo"):
        assert not any(components for path, components in found.items() if path.startswith(f"{folder}/")), folder
