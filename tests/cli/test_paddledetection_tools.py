"""PaddleDetection's own tools, unmodified, with its own configurations and the line, on a few small pictures."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("ppdet")

from processes import ROOT

#: For each configuration, what makes its network small, the transforms after the resizing, and what is replaced in it.
CASES = {
    "ppyoloe/ppyoloe_plus_crn_s_80e_coco.yml": (
        {"depth_mult": 0.33, "width_mult": 0.25, "PPYOLOEHead": {"nms": {"score_threshold": 0.001}}},
        ["PadGT"],
        "PPYOLOEHead",
    ),
    "picodet/picodet_s_320_coco_lcnet.yml": ({"LCNet": {"scale": 0.35}}, ["PadGT"], "PicoHeadV2"),
    "rtdetr/rtdetr_r18vd_6x_coco.yml": (
        {
            "RTDETRTransformer": {"num_queries": 20, "num_decoder_layers": 2},
            "DETRPostProcess": {"num_top_queries": 20},
        },
        ["NormalizeBox", "BboxXYXY2XYWH"],
        "DINOLoss",
    ),
}
NORMALIZE = {"NormalizeImage": {"mean": [0, 0, 0], "std": [1, 1, 1], "norm_type": "none"}}
LINE = "paddle_focal: !!python/object/apply:paddle_focal.detection.replace []\n"


def write_config(path: Path, stock: Path, digits: Path, network: dict, transforms: list[str]) -> None:
    size = [192, 192]  # of nine cells on the coarsest level, as the assigners need
    dataset = {"dataset_dir": str(digits)}
    to_size = {"Resize": {"target_size": size, "keep_ratio": False}}
    evaluation = {"sample_transforms": [{"Decode": {}}, to_size, NORMALIZE, {"Permute": {}}], "batch_size": 2}
    resize = {"BatchRandomResize": {"target_size": [192, 224], "random_size": True, "keep_ratio": False}}
    changes = {
        "_BASE_": [str(stock)],
        "use_gpu": False,
        "norm_type": "bn",
        "epoch": 1,
        "log_iter": 1,
        "worker_num": 0,
        "save_dir": str(path.parent),
        "pretrain_weights": None,
        "num_classes": 10,
        "eval_size": size,
        "TrainDataset": {**dataset, "image_dir": "train", "anno_path": "annotations/instances_train.json"},
        "EvalDataset": {**dataset, "image_dir": "val", "anno_path": "annotations/instances_val.json"},
        "TestDataset": {**dataset, "anno_path": "annotations/instances_val.json"},
        "TrainReader": {
            "batch_transforms": [resize, NORMALIZE, *({name: {}} for name in [*transforms, "Permute"])],
            "batch_size": 4,
        },
        "EvalReader": evaluation,
        "TestReader": {**evaluation, "inputs_def": {"image_shape": [3, *size]}, "batch_size": 1},
        **network,
    }
    path.write_text(LINE + yaml.safe_dump(changes, sort_keys=False))


@pytest.mark.slow
@pytest.mark.skipif("PADDLEDETECTION" not in os.environ, reason="PADDLEDETECTION does not name a source tree")
@pytest.mark.parametrize("config", CASES)
def test_trains_evaluates_and_exports(tmp_path, few_digits, config):
    tree = Path(os.environ["PADDLEDETECTION"])
    network, transforms, component = CASES[config]
    path = tmp_path / "small.yml"
    write_config(path, tree / "configs" / config, few_digits, network, transforms)

    def run(tool: str, *flags: str) -> str:
        result = subprocess.run(
            [sys.executable, str(tree / "tools" / tool), "-c", str(path), *flags],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        return result.stdout + result.stderr

    trained = run("train.py", "--eval")
    assert re.search(rf"Focal losses of paddle_focal in .*\b{component}\b", trained)
    assert len(re.findall(r" loss: [\d.]+ ", trained)) == 3
    assert "Average Precision  (AP) @[ IoU=0.50:0.95" in trained
    weights = ["-o", f"weights={next(tmp_path.rglob('model_final.pdparams'))}"]
    assert "Average Precision  (AP) @[ IoU=0.50:0.95" in run("eval.py", *weights)
    run("export_model.py", "--output_dir", str(tmp_path / "exported"), *weights)
    assert {file.name for file in (tmp_path / "exported/small").iterdir()} >= {"infer_cfg.yml", "model.pdiparams"}
