"""Prediction and export: whole processes, and the exported model against the dynamic one."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from PIL import Image
from ppdet.core import workspace
from processes import CONFIG, SMALL, run_tool

from paddle_focal.data.formats.pictures import SUFFIXES
from paddle_focal.engine import export as exporting
from paddle_focal.engine import inference
from paddle_focal.errors import ToolError


@pytest.fixture
def weights(tmp_path, digits, workspace_copy):
    """A small network with random weights and scores far apart."""
    from paddle_focal.cli import train as training
    from paddle_focal.engine import runtime

    flags = training.parse_arguments(["-c", str(CONFIG), "-o", *SMALL, f"save_dir={tmp_path}"])
    runtime.load_config(flags)
    paddle.seed(3)
    model = workspace.create("RetinaNet")
    classifier = model.head.retina_cls
    classifier.weight.set_value(0.5 * paddle.randn(classifier.weight.shape))
    classifier.bias.set_value(paddle.full(classifier.bias.shape, -3.0))
    paddle.save(model.state_dict(), str(tmp_path / "random.pdparams"))
    return tmp_path / "random"


def exported_boxes(folder: Path, image: np.ndarray) -> np.ndarray:
    """Rows of class, score, left, top, right and bottom, in pixels of the image, from paddle.inference.

    It gives their number, too.
    """
    program = next(path for path in (folder / "model.json", folder / "model.pdmodel") if path.exists())
    config = paddle.inference.Config(str(program), str(folder / "model.pdiparams"))
    config.disable_glog_info()
    if hasattr(config, "disable_mkldnn"):
        config.disable_mkldnn()  # in which Paddle 3.3.1 cannot run an upsampling of the neck
    predictor = paddle.inference.create_predictor(config)
    height, width = image.shape[:2]
    ratio = min(96 / height, 96 / width)  # as TestReader says: Resize, NormalizeImage, Permute, PadBatch to 32
    resized = cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_LINEAR)
    pixels = ((resized[..., ::-1] / np.float32(255) - np.float32(0.5)) / np.float32(0.25)).transpose(2, 0, 1)
    padded = np.zeros([3, *(-(-n // 32) * 32 for n in pixels.shape[1:])], np.float32)
    padded[:, : pixels.shape[1], : pixels.shape[2]] = pixels
    inputs = {
        "image": padded[None],
        "im_shape": np.float32([pixels.shape[1:]]),
        "scale_factor": np.float32([[ratio, ratio]]),
    }
    for name in predictor.get_input_names():
        predictor.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(inputs[name]))
    predictor.run()
    boxes, number = (predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names())
    assert number.tolist() == [len(boxes)]
    return boxes


def test_predict_and_export(tmp_path, digits, weights):
    data = f"TestDataset.dataset_dir={digits}"
    images = tmp_path / "images"
    images.mkdir()
    for path in sorted((digits / "val").iterdir())[:3]:
        (images / path.name).write_bytes(path.read_bytes())
    settings = (*SMALL, data, f"weights={weights}")
    flags = ("--infer_dir", str(images), "--output_dir", str(tmp_path / "drawn"), "--draw_threshold", "0.3")
    result = run_tool("infer", tmp_path, digits, *settings, flags=flags)
    boxes = json.loads((tmp_path / "drawn/predictions.json").read_text())
    assert f"predictions.json: {len(boxes)} boxes of any score in 3 images" in result.stdout
    for path in images.iterdir():
        drawn, original = cv2.imread(str(tmp_path / "drawn" / path.name)), cv2.imread(str(path))
        assert drawn.shape == original.shape
        assert np.abs(drawn.astype(int) - original).max() > 50

    run_tool("export_model", tmp_path, digits, *settings, flags=("--output_dir", str(tmp_path / "exported")))
    names = {str(i) for i in range(10)}
    for path in images.iterdir():
        dynamic = [box for box in boxes if Path(box["file_name"]).name == path.name]
        assert len(dynamic) >= 20
        assert {box["category"] for box in dynamic} <= names
        exported = exported_boxes(tmp_path / "exported" / CONFIG.stem, cv2.imread(str(path)))
        assert len(exported) == len(dynamic)
        corners = [[x, y, x + width, y + height] for x, y, width, height in (box["bbox"] for box in dynamic)]
        np.testing.assert_allclose(exported[:, 1], [box["score"] for box in dynamic], atol=1e-4)
        np.testing.assert_allclose(exported[:, 2:], corners, atol=1e-4 * 96)
        assert [str(int(c)) for c in exported[:, 0]] == [box["category"] for box in dynamic]


def test_the_same_detections_as_in_evaluation(small_runs, tmp_path):
    few = "RetinaHead.nms.score_threshold=0.001"
    small_runs.train("epoch=1", few, final_eval=True)
    evaluated = json.loads((small_runs.folder / "bbox.json").read_text())
    flags = ["--infer_dir", str(small_runs.data / "val"), "--output_dir", str(tmp_path / "drawn")]
    small_runs.infer(few, f"weights={small_runs.folder / 'model_final'}", flags=[*flags, "--draw_threshold", "0.9"])
    found = json.loads((tmp_path / "drawn/predictions.json").read_text())
    assert len(found) == len(evaluated) > 100
    for box, expected in zip(found, evaluated):
        assert Path(box["file_name"]) == small_runs.data / f"val/{expected['image_id']:06d}.png"
        assert box["category_id"] == expected["category_id"]
        assert int(box["category"]) == expected["category_id"] - 1
        np.testing.assert_allclose(box["bbox"], expected["bbox"], atol=1e-3)
        assert box["score"] == pytest.approx(expected["score"], rel=1e-4)
    for path in (small_runs.data / "val").iterdir():  # with no box of that score, the picture is the image
        np.testing.assert_allclose(cv2.imread(str(tmp_path / "drawn" / path.name)), cv2.imread(str(path)), atol=30)
    assert max(box["score"] for box in found) < 0.5
    flags = [*flags[:3], str(tmp_path / "low"), "--draw_threshold", "0.001"]
    small_runs.infer(few, f"weights={small_runs.folder / 'model_final'}", flags=flags)
    for path in (small_runs.data / "val").iterdir():
        difference = cv2.imread(str(tmp_path / "low" / path.name)).astype(int) - cv2.imread(str(path))
        assert np.abs(difference).max() > 50


def test_nothing_is_drawn_unless_it_is_wanted(small_runs, tmp_path):
    small_runs.train("epoch=1")
    image = small_runs.data / "val/000001.png"
    flags = ["--infer_img", str(image), "--output_dir", str(tmp_path / "drawn"), "--visualize", "false"]
    small_runs.infer(f"weights={small_runs.folder / 'model_final'}", flags=flags)
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["predictions.json"]


def test_an_export_is_in_a_folder_of_the_configurations_name(monkeypatch):
    called = []
    trainer = SimpleNamespace(is_loaded_weights=True, export=called.append, dataset=None)
    monkeypatch.setattr(exporting, "Trainer", lambda config, mode: trainer)
    config = SimpleNamespace(weights="none", filename="retinanet", metric="RBOX")
    assert exporting.export(config, "exported") == Path("exported/retinanet")
    assert called == ["exported"]


@pytest.mark.parametrize("format", ["paddle", "onnx"])
def test_the_steps_of_an_export(monkeypatch, format):
    """A package that is missing is known before the model is made."""
    called = []

    @contextlib.contextmanager
    def exportable():
        called.append("as ppdet can")
        yield
        called.append("as before")

    trainer = SimpleNamespace(export=lambda folder: called.append(("ppdet", folder)), dataset="images")
    monkeypatch.setattr(exporting, "exportable", exportable)
    monkeypatch.setattr(exporting, "Trainer", lambda config, mode: called.append(("trainer", mode)) or trainer)
    monkeypatch.setattr(exporting.class_names, "settle", lambda config, data: called.append((config.weights, data)))
    monkeypatch.setattr(exporting.weights, "load_into", lambda one, path: called.append(("weights", one, path)))
    monkeypatch.setattr(exporting.onnx, "check_requirements", lambda: called.append("requirements"))
    monkeypatch.setattr(exporting.onnx, "export", lambda *given: called.append(("onnx", *given)))
    config = SimpleNamespace(weights="best", filename="retinanet")
    assert exporting.FORMATS == ("paddle", "onnx")
    assert exporting.export(config, "out", format) == Path("out/retinanet")
    steps = [("trainer", "test"), ("best", "images"), ("weights", trainer, "best")]
    if format == "onnx":
        assert called == ["requirements", *steps, ("onnx", trainer, Path("out/retinanet"))]
    else:
        assert called == [*steps, "as ppdet can", ("ppdet", "out"), "as before"]


PREDICTIONS = """\
[
 {
  "file_name": "a.png",
  "category_id": 7,
  "category": "cat",
  "bbox": [
   1.0,
   2.0,
   2.0,
   5.0
  ],
  "score": 0.5
 },
 {
  "file_name": "b.png",
  "category_id": 3,
  "category": "dog",
  "bbox": [
   0.0,
   0.0,
   4.0,
   8.0
  ],
  "score": 0.25
 }
]
"""


def test_the_file_of_predictions(monkeypatch, tmp_path, caplog):
    """Of images in two batches, one of them without boxes."""
    asked = []

    def result(numbers: list[int], rows: list[list[float]], counts: list[int]) -> dict:
        return {
            "im_id": np.array(numbers)[:, None],
            "bbox": np.array(rows).reshape(-1, 6),
            "bbox_num": np.array(counts),
        }

    def predict(*given, **options):
        asked.append((given, options))
        return [result([4, 5], [[0, 0.5, 1, 2, 3, 7]], [1, 0]), result([6], [[1, 0.25, 0, 0, 4, 8]], [1])]

    dataset = SimpleNamespace(get_anno=lambda: "val.json", get_imid2path=lambda: {4: "a.png", 5: "c.png", 6: "b.png"})
    trainer = SimpleNamespace(dataset=dataset, predict=predict)
    made = []
    monkeypatch.setattr(inference, "Trainer", lambda config, mode: made.append((config, mode)) or trainer)
    monkeypatch.setattr(inference.class_names, "settle", lambda config, data: made.append((config, data)))
    monkeypatch.setattr(inference.weights, "load_into", lambda one, path: made.append((one, path)))
    categories = {("COCO", "val.json"): ({0: 7, 1: 3}, {7: "cat", 3: "dog"})}
    monkeypatch.setattr(inference, "get_categories", lambda *given: categories[given])
    config = SimpleNamespace(weights="best", metric="COCO")
    with caplog.at_level("INFO"):
        path = inference.infer(config, ("x", "y", "z"), str(tmp_path))
        inference.infer(config, ["x"], str(tmp_path), 0.1, False)
    assert made[:3] == [(config, "test"), (config, dataset), (trainer, "best")]
    assert asked == [
        ((["x", "y", "z"], 0.5, str(tmp_path)), {"visualize": True}),
        ((["x"], 0.1, str(tmp_path)), {"visualize": False}),
    ]
    assert path == tmp_path / "predictions.json"
    assert path.read_text() == PREDICTIONS
    assert caplog.messages[0] == f"{path}: 2 boxes of any score in 3 images"


class TestImages:
    def test_a_folder_in_order_of_names(self, tmp_path):
        for name in ("b.png", "a.JPG", "c.txt"):
            cv2.imwrite(str(tmp_path / "x.png"), np.zeros((4, 4, 3), np.uint8))
            (tmp_path / name).write_bytes((tmp_path / "x.png").read_bytes())
        (tmp_path / "x.png").unlink()
        assert inference.find_images(None, str(tmp_path)) == [str(tmp_path / "a.JPG"), str(tmp_path / "b.png")]
        assert inference.find_images(str(tmp_path / "b.png"), "elsewhere") == [str(tmp_path / "b.png")]

    def test_what_is_wrong_is_said(self, tmp_path):
        with pytest.raises(ToolError, match="--infer_img, or a folder"):
            inference.find_images(None, None)
        with pytest.raises(ToolError, match="--infer_dir names no folder that is there: nowhere"):
            inference.find_images(None, "nowhere")
        with pytest.raises(ToolError, match=r"There is no image \(.jpg, .jpeg, .jpe, .png, .*\) in"):
            inference.find_images(None, str(tmp_path))
        (tmp_path / "a.png").write_bytes(b"no image")
        with pytest.raises(ToolError, match=r"cannot be read:\n- .*a.png: cannot identify image file"):
            inference.find_images(None, str(tmp_path))
        cv2.imwrite(str(tmp_path / "a.png"), np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
        (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:6000])
        with pytest.raises(ToolError, match=r"cannot be read:\n- .*a.png: "):
            inference.find_images(None, str(tmp_path))
        with pytest.raises(ToolError, match=r"- none.png: .*No such file"):
            inference.find_images("none.png", None)

    def test_what_is_left_out_is_said(self, tmp_path, caplog):
        cv2.imwrite(str(tmp_path / "image.png"), np.zeros((4, 4, 3), np.uint8))
        for name in ("notes.txt", "a.json", "video.mp4", "labels"):
            (tmp_path / name).touch()
        (tmp_path / "folder.png").mkdir()
        with caplog.at_level("INFO"):
            assert inference.find_images(None, str(tmp_path)) == [str(tmp_path / "image.png")]
        assert caplog.messages == [
            f"4 files of {tmp_path} are left out, as no images end so: a.json, labels, notes.txt, ..."
        ]

    def test_frames_that_are_ignored(self, tmp_path, caplog):
        frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
        for name in ("a.tif", "b.gif"):
            frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        frames[0].save(tmp_path / "photo.jpg", format="MPO", save_all=True, append_images=frames[1:])
        frames[0].save(tmp_path / "single.tif")
        assert len(inference.find_images(None, str(tmp_path))) == 4
        message = "Only the first frame is used of images that have several: a.tif (3)"
        assert caplog.messages == [f"{message}, b.gif (3)"]
        caplog.clear()
        inference.find_images(str(tmp_path / "a.tif"), None)
        assert caplog.messages == [message]

    def test_a_format_that_only_pillow_knows(self, tmp_path):
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png", format="TGA")
        with pytest.raises(ToolError, match=r"a.png: OpenCV [\d.]+ does not know its format"):
            inference.find_images(None, str(tmp_path))


def test_every_ending_that_training_takes(small_runs, tmp_path):
    small_runs.train("epoch=1")
    images = tmp_path / "images"
    images.mkdir()
    image = Image.open(small_runs.data / "val/000001.png").convert("RGB")
    for i, ending in enumerate(SUFFIXES):
        kind = "BMP" if ending == ".dib" else None  # Pillow's own .dib has no header for files
        image.save(images / f"{i:02d}{ending.upper() if i % 2 else ending}", format=kind, quality=100)
    flags = ["--infer_dir", str(images), "--output_dir", str(tmp_path / "drawn"), "--draw_threshold", "0.9"]
    few = "RetinaHead.nms.score_threshold=0.001"
    small_runs.infer(few, f"weights={small_runs.folder / 'model_final'}", flags=flags)
    found = {Path(box["file_name"]).name for box in json.loads((tmp_path / "drawn/predictions.json").read_text())}
    assert found == {path.name for path in images.iterdir()}
    for path in images.iterdir():
        assert Image.open(tmp_path / "drawn" / path.name).size == image.size
