"""Whole messages of errors, word for word."""

from __future__ import annotations

import contextlib
import pickle
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from ppdet.core.workspace import AttrDict
from ppdet.modeling.layers import MultiClassNMS

from paddle_focal import safe_config
from paddle_focal.engine import checkpoint, inference, mistakes, onnx, onnx_nms, pretrained, weights
from paddle_focal.engine.hooks.early_stop import EarlyStop, StopTraining
from paddle_focal.engine.hooks.interruption import SignalWatch
from paddle_focal.errors import ToolError

REMEDY = (
    "Name another file with -o pretrain_weights=FILE, or train from scratch with pretrain_weights=null; a ResNet then "
    "wants ResNet.freeze_at=-1 ResNet.freeze_norm=false, too"
)

#: PyTorch's magic number, as a pickle.
TORCH = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)


def said(function, *arguments, **options) -> str:
    with pytest.raises(ToolError) as error:
        function(*arguments, **options)
    return str(error.value)


class TestWeights:
    @pytest.fixture
    def model(self):
        return paddle.nn.Linear(2, 3)

    def test_that_are_not_named_or_not_there(self, model, tmp_path):
        assert said(weights.load, model, "") == "no weights: name a checkpoint with -o weights=FILE"
        expected = f"no such weights: {tmp_path}/a.pdparams; name a checkpoint with -o weights=FILE"
        assert said(weights.load, model, f"{tmp_path}/a") == expected

    def test_that_do_not_fit(self, model, tmp_path):
        path = tmp_path / "a.pdparams"
        paddle.save({"weight": paddle.ones([2, 4]), "bias": 3}, str(path))
        assert said(weights.load, model, str(path)) == (
            f"{path} is of another model than the configuration's: of 2 tensors, 2 do not fit: weight has shape [2, 4] "
            "instead of [2, 3]; bias is no tensor"
        )
        paddle.save([1], str(path))
        assert said(weights.read, path) == f"{path} has no tensors by name: what is in it is of the type list"

    def test_that_would_call_something(self, tmp_path):
        path = tmp_path / "a.pdparams"
        path.write_bytes(b"\x80\x02cos\nsystem\n.")
        with weights.restricted():
            assert said(weights.read, path) == (
                f"{path} would call os.system when it is loaded, which weights do not need: if you know where this "
                "file comes from, repeat the command with --trust-weights"
            )

    def test_to_start_from(self, model, tmp_path):
        trainer = SimpleNamespace(model=model, is_loaded_weights=False)
        path = tmp_path / "a.pdparams"
        assert said(pretrained.find, str(path)) == f"There are no weights {path}. {REMEDY}"
        paddle.save({f"layer{i}": paddle.ones([7]) for i in range(3)}, str(path))
        assert said(pretrained.load_into, trainer, str(path)) == (
            f"Nothing in {path} fits the model: its 3 tensors are layer0, layer1, layer2; the model's 2 are weight, "
            f"bias. {REMEDY}"
        )
        for name, content in (("a.pt.pdparams", TORCH), ("a.pth", b""), ("b.pt", b"")):
            (tmp_path / name).write_bytes(content)
            assert said(pretrained.check, AttrDict(pretrain_weights=f"{tmp_path}/{name}")) == (
                f"{tmp_path}/{name} is a file of PyTorch's, whose tensors have other names, and some another order of "
                "dimensions. Paddle's weights end in .pdparams: PaddleDetection's model zoo has some, and backbones "
                f"come with the shipped configurations. {REMEDY}"
            )


class TestCheckpoints:
    def test_of_another_model(self, tmp_path):
        base = tmp_path / "0"
        paddle.save({"weight": paddle.ones([2, 3])}, f"{base}.pdparams")
        trainer = SimpleNamespace(model=paddle.nn.Linear(2, 3))
        resume = checkpoint.Checkpoints(trainer, tmp_path, {}).resume
        assert said(resume, str(base)) == (
            f"The checkpoint {base} is of another model than the configuration's: of 2 tensors, 1 do not fit: bias is "
            "missing. To start a training from its weights, set pretrain_weights instead of --resume."
        )
        (tmp_path / "0.state.json").write_text('{"digests": {".pdparams": "0"}}')
        size = f"{(tmp_path / '0.pdparams').stat().st_size:,}"
        assert said(resume, str(base)) == (
            f"The checkpoint {base} is damaged: 0.pdparams has not the content that was written: {size} bytes are "
            "there. There is no complete checkpoint yet."
        )
        (tmp_path / "0.state.json").write_text("[]")
        expected = (
            f"The checkpoint {base} is damaged: 0.state.json is no JSON object. There is no complete checkpoint yet."
        )
        assert said(resume, str(base)) == expected
        expected = f"There is no checkpoint {tmp_path}/1.pdparams. There is no complete checkpoint yet."
        assert said(resume, f"{tmp_path}/1") == expected

    def test_the_newest(self, tmp_path, caplog):
        resume = checkpoint.Checkpoints(SimpleNamespace(), tmp_path, {}).resume
        with caplog.at_level("INFO"):
            assert resume("auto") == (0, 0)
        assert caplog.messages == ["There is no complete checkpoint yet."]
        assert checkpoint.in_words(Path("a/7")) == "The newest complete checkpoint is a/7."

    def test_damaged_weights(self, tmp_path):
        (tmp_path / "0.pdparams").write_bytes(b"\x80\x04")
        resume = checkpoint.Checkpoints(SimpleNamespace(model=None), tmp_path, {}).resume
        message = said(resume, f"{tmp_path}/0")
        assert message.startswith(f"{tmp_path}/0.pdparams cannot be read: ")
        assert message.endswith(". There is no complete checkpoint yet.")


class TestConfigurations:
    def test_that_cannot_be_read(self, tmp_path):
        path = tmp_path / "a.yml"
        check = lambda: said(safe_config.check_config, str(path))  # noqa: E731
        assert check() == f"The configuration {path} cannot be read: No such file or directory"
        path.write_text("_BASE_: [b.yml]")
        assert check() == (
            f"The configuration {tmp_path}/b.yml, which is a _BASE_ of {path}, cannot be read: No such file or "
            "directory"
        )
        path.write_text("_BASE_: [a.yml]")
        expected = f"The configuration {path} is based on itself: look at the _BASE_ of the files it names"
        assert check() == expected
        path.write_text("_BASE_: b.yml")
        assert check() == f"The configuration {path} must have a list of files as its _BASE_: [FILE, ...]"
        path.write_text("- a")
        assert check() == f"The configuration {path} has no sections: it must be lines of KEY: VALUE"
        path.write_text("a: [1")
        assert check().startswith(f"The configuration {path} is not valid YAML: while parsing a flow sequence")
        path = tmp_path / "a.txt"
        path.write_text("a: 1")
        assert check() == f"The name of a configuration must end in .yml or .yaml, which {path} does not"
        path = tmp_path / "a.yaml"
        path.write_text("a: 1\nb:\n  - c: !!python/name:os.system")
        assert check() == (
            f"{path}, line 3: the tag !!python/name:os.system would run Python code. If you know where this "
            "configuration comes from, repeat the command with --trust-config."
        )


class TestImages:
    def test_that_are_not_there(self, tmp_path):
        expected = "Name an image with --infer_img, or a folder of images with --infer_dir"
        assert said(inference.find_images, None, None) == expected
        assert said(inference.find_images, None, "no/where") == "--infer_dir names no folder that is there: no/where"
        (tmp_path / "a.txt").touch()
        assert said(inference.find_images, None, str(tmp_path)) == (
            "There is no image (.jpg, .jpeg, .jpe, .png, .bmp, .dib, .tif, .tiff, .webp, .jp2, .gif, .avif, .ppm, "
            f".pgm, .pbm, .pnm) in {tmp_path}"
        )

    def test_that_cannot_be_read(self, tmp_path, monkeypatch):
        cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
        (tmp_path / "b.png").touch()
        monkeypatch.setattr(inference.cv2, "haveImageReader", lambda path: False)
        monkeypatch.setattr(inference.Image, "open", self.open_(inference.Image.open))
        assert said(inference.find_images, None, str(tmp_path)) == (
            f"Images that cannot be read:\n- {tmp_path}/a.png: OpenCV {cv2.__version__} does not know its format\n"
            f"- {tmp_path}/b.png: EOFError"
        )

    def open_(self, image_open):
        def open_(path):
            if path.name == "b.png":
                raise EOFError  # without a word
            return image_open(path)

        return open_


@pytest.mark.parametrize(
    ("metric", "wanted", "words"),
    [
        ("COCO", "bbox_mAP", "bbox_mAP with metric: COCO; accepted are bbox_AP and val_loss"),
        ("KEYPOINT", None, "anything with metric: KEYPOINT; accepted are the metrics COCO and VOC"),
    ],
)
def test_metrics_that_are_not_there(metric, wanted, words):
    trainer = SimpleNamespace(cfg=SimpleNamespace(metric=metric))
    evaluation = SimpleNamespace(validation=object())
    assert said(EarlyStop, trainer, evaluation, 1, wanted) == f"--early-stop cannot watch {words}"


@pytest.mark.parametrize(
    ("metric", "values", "message"),
    [
        ("COCO", [None, None], "2: no better bbox_AP for 2 evaluations; the best was none, after epoch 0"),
        ("VOC", [0.25, 0.25, 0.1], "3: no better bbox_mAP for 2 evaluations; the best was 0.2500, after epoch 1"),
    ],
)
def test_the_end_of_the_patience(caplog, metric, values, message):
    """Without a named metric it is that of the configuration."""
    evaluation = SimpleNamespace(validation=None, metrics={})
    stop = EarlyStop(SimpleNamespace(cfg=SimpleNamespace(metric=metric)), evaluation, 2, None)
    with caplog.at_level("INFO"):
        for epoch, value in enumerate(values):
            evaluation.metrics = {"bbox_AP" if metric == "COCO" else "bbox_mAP": value}
            is_last = epoch == len(values) - 1
            with pytest.raises(StopTraining) if is_last else contextlib.nullcontext():
                stop.on_epoch_end({"mode": "eval", "epoch_id": epoch})
    assert caplog.messages == [f"Stopped after epoch {message}"]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal(caplog, name):
    with caplog.at_level("INFO"), SignalWatch() as watch:
        watch._note(signal.Signals[name], None)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert caplog.messages == [
        f"{name}: stopping after this iteration and saving a checkpoint. Ctrl-C stops at once, without one."
    ]


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("x" * 400, f"ValueError: {'x' * 400}"),
        ("x" * 401, f"ValueError: {'x' * 400} ..."),
        ("-- a\n\n b", "ValueError: -- a b"),
        ("C++\n---\nError Message Summary:\n---\n  a - b\n", "ValueError: a - b"),
    ],
)
def test_an_exception_in_one_line(message, line):
    assert mistakes.in_one_line(ValueError(message)) == line


class TestOnnx:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"normalized": False}, "normalized must be True, but is False"),
            ({"nms_eta": 0.9}, "nms_eta must be 1.0, but is 0.9"),
            ({"trt": True}, "trt must be False, but is True"),
        ],
    )
    def test_what_it_does_not_know(self, options, words):
        assert said(onnx_nms.graph, MultiClassNMS(**options)) == f"--format onnx: MultiClassNMS.{words}"

    def test_another_head(self, tmp_path):
        expected = (
            "--format onnx takes a detector with MultiClassNMS, such as RetinaNet, or of the DETR family, "
            "which ReLU is not"
        )
        assert said(onnx.export, SimpleNamespace(model=paddle.nn.ReLU()), tmp_path) == expected

    def test_missing_packages(self, monkeypatch):
        monkeypatch.setattr(paddle.base.framework, "use_pir_api", lambda: True)
        monkeypatch.setitem(sys.modules, "onnx", SimpleNamespace())
        monkeypatch.setitem(sys.modules, "paddle2onnx", None)
        message = said(onnx.check_requirements)
        assert message.startswith("--format onnx needs paddle2onnx, which cannot be imported: ")
        assert message.endswith(". `pip install onnx paddle2onnx` brings it")
        monkeypatch.setattr(paddle.base.framework, "use_pir_api", lambda: False)
        assert said(onnx.check_requirements) == (
            f"--format onnx needs the PIR graphs of Paddle 3, which this Paddle, {paddle.__version__}, lacks or "
            "FLAGS_enable_pir_api=0 turns off"
        )
