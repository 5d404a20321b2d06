"""Models for ONNX Runtime: their boxes against those of the tools, and what cannot be exported."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import paddle
import pytest
from paddle_limits import IS_PADDLE_2

pytest.importorskip("ppdet")

from ppdet.modeling.layers import MultiClassNMS

from paddle_focal.engine import onnx as exporting
from paddle_focal.engine import onnx_nms
from paddle_focal.errors import ToolError

ROOT = Path(__file__).resolve().parents[2]
PHOTOGRAPHS = ROOT.parent / "shared/bccd"
#: A group norm in the head, an upsampling in the neck, and levels of more anchors than go on to suppression.
NETWORK = (
    "FPN.out_channel=32",
    "RetinaHead.conv_feat.feat_in=32",
    "RetinaHead.conv_feat.feat_out=32",
    "RetinaHead.conv_feat.norm_type=gn",
    "RetinaHead.nms_pre=200",
)


def prepare(folder: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    """As the page on deployment says."""
    page = (ROOT / "docs/en/deployment.md").read_text(encoding="utf-8")
    names: dict = {}
    exec(re.search(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL).group(1), names)
    return names["prepare"](image, names["steps_of"](folder))


def assert_same_boxes(found: np.ndarray, expected: np.ndarray, image: np.ndarray) -> None:
    """The same rows of class, score and corners; boxes of nearly the same score may have changed places."""
    assert len(found) == len(expected)
    height, width = image.shape[:2]
    tolerance = np.array([0, 1e-4, *np.array([width, height, width, height]) * 1e-3])
    for row in expected:
        same = (np.abs(found - row) <= tolerance).all(axis=1)
        assert same.any(), row
        found = np.delete(found, same.argmax(), axis=0)


def assert_same_detections(small_runs, images: Path, *options: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    options = (*NETWORK, *options)
    options = (*options, f"weights={small_runs.random_weights(*options)}")
    drawn, exported = (small_runs.folder.parent / name for name in ("drawn", "exported"))
    flags = ["--infer_dir", str(images), "--output_dir", str(drawn), "--visualize", "false"]
    small_runs.infer(*options, flags=flags)
    small_runs.export(*options, flags=["--output_dir", str(exported), "--format", "onnx"])
    folder = exported / small_runs.folder.name
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "infer_cfg.yml"}
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    assert [output.name for output in session.get_outputs()] == ["bbox", "bbox_num"]
    predictions = json.loads((drawn / "predictions.json").read_text())
    names = list(dict.fromkeys(box["category"] for box in sorted(predictions, key=lambda box: box["category_id"])))
    for path in images.iterdir():
        rows = []
        for box in predictions:
            if Path(box["file_name"]).name == path.name:
                x, y, width, height = box["bbox"]
                rows.append([names.index(box["category"]), box["score"], x, y, x + width, y + height])
        expected, image = np.array(rows), cv2.imread(str(path))
        assert len(expected) > 50
        assert np.ptp(expected[:, 1]) > 0.2
        inputs = prepare(folder, image)
        found, number = session.run(None, {one.name: inputs[one.name] for one in session.get_inputs()})
        assert number.tolist() == [len(found)]
        assert_same_boxes(found, expected, image)


@pytest.fixture
def converters():
    if IS_PADDLE_2:
        pytest.skip("paddle2onnx needs Paddle 3")
    for name in exporting.PACKAGES:
        pytest.importorskip(name)


@pytest.mark.usefixtures("converters")
class TestBoxes:
    @pytest.mark.parametrize("head", ["FocalRetinaHead", "RetinaHead"])
    def test_of_images_of_any_size(self, small_runs, tmp_path, head):
        (tmp_path / "images").mkdir()
        image = cv2.imread(str(small_runs.data / "val/000001.png"))
        for name, part in (("whole", image), ("wide", image[:30]), ("high", image[:, 10:50])):
            cv2.imwrite(str(tmp_path / f"images/{name}.png"), part)
        assert_same_detections(small_runs, tmp_path / "images", f"RetinaNet.head={head}")

    def test_of_images_of_one_size(self, small_runs):
        shape = "TestReader.inputs_def.image_shape=[3,96,96]"
        assert_same_detections(small_runs, small_runs.data / "val", shape)
        onnx = pytest.importorskip("onnx")
        (path,) = small_runs.folder.parent.glob("exported/*/model.onnx")
        image = next(value for value in onnx.load(path).graph.input if value.name == "image")
        assert [dimension.dim_value for dimension in image.type.tensor_type.shape.dim] == [1, 3, 96, 96]

    def test_of_photographs(self, small_runs, tmp_path):
        if not PHOTOGRAPHS.is_dir():
            pytest.skip(f"the blood cells are not in {PHOTOGRAPHS}")
        (tmp_path / "images").mkdir()
        for path in sorted((PHOTOGRAPHS / "images").iterdir())[:10]:
            (tmp_path / "images" / path.name).symlink_to(path)
        data = (f"TestDataset.dataset_dir={PHOTOGRAPHS}", "TestDataset.anno_path=annotations/instances_val.json")
        assert_same_detections(small_runs, tmp_path / "images", *data, "num_classes=3", "RetinaNet.backbone=ResNet")


@pytest.mark.usefixtures("converters")
def test_the_epsilon_of_a_group_norm(small_runs, tmp_path):
    """paddle2onnx reads it from anywhere in memory, often 0, which the boxes do not show."""
    onnx = pytest.importorskip("onnx")
    weights = small_runs.random_weights(*NETWORK)
    small_runs.export(*NETWORK, f"weights={weights}", flags=["--output_dir", str(tmp_path), "--format", "onnx"])
    nodes = onnx.load(tmp_path / small_runs.folder.name / "model.onnx").graph.node
    values = [
        attribute.f
        for node in nodes
        if node.op_type == "InstanceNormalization"
        for attribute in node.attribute
        if attribute.name == "epsilon"
    ]
    assert len(values) >= 6
    assert values == pytest.approx([1e-5] * len(values))


class TestSuppression:
    @pytest.mark.parametrize(
        ("score_threshold", "nms_threshold", "nms_top_k", "keep_top_k"),
        [
            (0.05, 0.5, 1000, 100),
            (0.5, 0.5, 20, 500),
            (1e-5, 0.1, -1, -1),
            (0.0, 0.9, 7, -1),
            (0.9, 0.3, -1, 3),
            (2.0, 0.5, 1000, 100),
        ],
    )
    def test_as_paddle(self, rng, score_threshold, nms_threshold, nms_top_k, keep_top_k):
        onnx_parser = pytest.importorskip("onnx.parser")
        onnxruntime = pytest.importorskip("onnxruntime")
        corner, size = rng.uniform(0, 300, (1, 400, 2)), rng.uniform(20, 60, (1, 400, 2))
        boxes = np.concatenate([corner, corner + size], axis=2).astype("float32")
        scores = rng.uniform(0, 1, (1, 3, 400)).astype("float32")
        options = (nms_top_k, keep_top_k, nms_threshold, True, 1.0, -1)
        tensors = paddle.to_tensor(boxes), paddle.to_tensor(scores)
        expected, _, number = paddle._C_ops.multiclass_nms3(*tensors, None, score_threshold, *options)
        nms = MultiClassNMS(score_threshold, nms_top_k, keep_top_k, nms_threshold)
        model = onnx_parser.parse_model(onnx_nms.graph(nms)).SerializeToString()
        found, count = onnxruntime.InferenceSession(model).run(None, {"boxes": boxes, "scores": scores})
        np.testing.assert_array_equal(found, expected.numpy())
        assert count.dtype == np.int32
        assert count.tolist() == number.tolist() == [len(found)]

    @pytest.mark.parametrize(("key", "value", "known"), [("nms_eta", 0.9, 1.0), ("normalized", False, True)])
    def test_what_onnx_does_not_know(self, key, value, known):
        with pytest.raises(ToolError, match=rf"MultiClassNMS.{key} must be {known}, but is {value}$"):
            onnx_nms.graph(MultiClassNMS(**{key: value}))


class TestRefusals:
    @pytest.mark.parametrize("package", exporting.PACKAGES)
    def test_of_a_missing_package(self, monkeypatch, package):
        monkeypatch.setattr(paddle.base.framework, "use_pir_api", lambda: True)
        for name in exporting.PACKAGES:
            monkeypatch.setitem(sys.modules, name, None if name == package else SimpleNamespace())
        with pytest.raises(ToolError, match=rf"needs {package}, .*`pip install onnx paddle2onnx` brings it$"):
            exporting.check_requirements()

    def test_of_an_old_paddle(self, monkeypatch):
        monkeypatch.setattr(paddle.base.framework, "use_pir_api", lambda: False)
        with pytest.raises(ToolError, match="needs the PIR graphs of Paddle 3"):
            exporting.check_requirements()

    def test_of_another_head(self, tmp_path):
        model = paddle.nn.Sequential(paddle.nn.ReLU())
        model[0].nms = "MatrixNMS"
        with pytest.raises(ToolError, match=r"takes a detector with MultiClassNMS, .*, which Sequential is not$"):
            exporting.export(SimpleNamespace(model=model), tmp_path)

    @pytest.mark.usefixtures("converters")
    def test_of_what_cannot_be_converted(self, small_runs, tmp_path, monkeypatch, caplog):
        import paddle2onnx

        monkeypatch.setattr(paddle2onnx, "export", lambda *_, **__: b"no model")
        flags = ["--output_dir", str(tmp_path / "exported"), "--format", "onnx"]
        with pytest.raises(SystemExit):
            small_runs.export(f"weights={small_runs.random_weights()}", flags=flags)
        assert f"paddle2onnx {paddle2onnx.__version__} cannot convert this model" in caplog.text
        assert not (tmp_path / "exported").exists()
