"""Models of other detectors for ONNX Runtime: the boxes and scores of the models that they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle_limits import IS_PADDLE_2

pytest.importorskip("ppdet")

from ppdet.core import workspace

from paddle_focal.cli import export, train
from paddle_focal.engine import onnx as exporting
from paddle_focal.engine import onnx_nms, runtime

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
#: In place of the suppression, which has tests of its own: a box at its threshold may be one here and none there.
NO_SUPPRESSION = f"""
<ir_version: {onnx_nms.IR_VERSION}, opset_import: ["": {onnx_nms.OPSET}]>
all (float[1, M, 4] boxes, float[1, C, M] scores) => (float[1, M, 4] bbox, float[1, C, M] bbox_num)
{{
    bbox = Identity(boxes)
    bbox_num = Identity(scores)
}}
"""


@pytest.mark.slow
@pytest.mark.skipif(IS_PADDLE_2, reason="paddle2onnx needs Paddle 3")
@pytest.mark.usefixtures("workspace_copy")
@pytest.mark.parametrize(
    ("config", "architecture", "scores_of"),
    [
        ("ppyoloe_digits", "YOLOv3", "pred_cls"),
        ("picodet_digits", "PicoDet", "head_cls"),
        ("rtdetr_digits", "DETR", "score_head"),
    ],
)
def test_boxes_and_scores(tmp_path, few_digits, monkeypatch, capfd, rng, config, architecture, scores_of):
    for name in exporting.PACKAGES:
        pytest.importorskip(name)
    onnxruntime = pytest.importorskip("onnxruntime")
    weights, path = tmp_path / "random.pdparams", CONFIGS / f"{config}.yml"
    settings = [f"weights={weights}", f"TestDataset.dataset_dir={few_digits}", f"save_dir={tmp_path}"]
    arguments = ["-c", str(path), "-o", *settings]
    if config == "rtdetr_digits" and "RTDETRTransformer" not in workspace.get_registered_modules():
        pytest.skip("this PaddleDetection has no RT-DETR")
    runtime.load_config(train.parse_arguments(arguments))
    paddle.seed(1)
    model = workspace.create(architecture)
    for name, parameter in model.named_parameters():
        if scores_of in name and name.endswith("weight"):
            parameter.set_value(0.3 * paddle.randn(parameter.shape))
    paddle.save(model.state_dict(), str(weights))
    model.eval()
    monkeypatch.setattr(onnx_nms, "graph", lambda nms: NO_SUPPRESSION)
    export.main(["--format", "onnx", "--output_dir", str(tmp_path / "exported"), *arguments])
    capfd.readouterr()
    session = onnxruntime.InferenceSession(str(tmp_path / "exported" / config / "model.onnx"))
    assert capfd.readouterr().err == ""
    assert [output.name for output in session.get_outputs()] == ["bbox", "bbox_num"]
    inputs = {
        "image": rng.normal(size=(1, 3, 96, 96)).astype("float32"),
        "scale_factor": np.ones((1, 2), "float32"),
        "im_shape": np.full((1, 2), 96, "float32"),
    }
    found = session.run(None, {one.name: inputs[one.name] for one in session.get_inputs()})
    for head in model.sublayers():
        if hasattr(head, "nms"):
            head.nms = exporting._boxes_and_scores
    expected = model({key: paddle.to_tensor(value) for key, value in inputs.items()})
    assert np.ptp(expected["bbox"].numpy()) > 10
    for values, key in zip(found, ("bbox", "bbox_num")):
        np.testing.assert_allclose(values, expected[key].numpy(), rtol=1e-4, atol=1e-4)
