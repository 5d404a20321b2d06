"""The cures of what PaddleDetection and older Paddles lack; those of the export are tested by exporting."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from PIL import Image, ImageDraw
from ppdet.data.source import dataset
from ppdet.engine.callbacks import Checkpointer
from ppdet.modeling import ops
from ppdet.utils import visualizer

from paddle_focal import fonts
from paddle_focal.detection import compatibility


@pytest.mark.parametrize("first", ["paddle_focal", "paddle_focal.detection"])
def test_zlib_after_paddle(first):
    """Paddle 2.6 brings functions of the same names; with those the process crashes."""
    code = f"import {first}, paddle, zlib; print(zlib.decompress(zlib.compress(b'whole')))"
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert result.stdout == "b'whole'\n", result.stderr


@pytest.mark.parametrize(
    ("module", "remedy"),
    [
        ("sklearn", "`pip install scikit-learn` brings it."),
        ("six", "`pip install six` brings it."),
        ("ppdet", "Install it with `pip install --no-deps paddledet==2.6.0` and the packages it imports"),
        ("ppdet.core", "Install it with `pip install --no-deps paddledet==2.6.0` and the packages it imports"),
    ],
)
def test_what_is_missing_is_said(module, remedy):
    code = f"import sys; sys.modules[{module!r}] = None; import paddle_focal.detection"
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    (message,) = (line for line in result.stderr.splitlines() if line.startswith("ImportError: paddle_focal.detection"))
    assert "needs PaddleDetection (ppdet), which cannot be imported: " in message
    assert remedy in message


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (ModuleNotFoundError("No module named 'cv2'", name="cv2"), "`pip install opencv-python-headless` brings it."),
        (ModuleNotFoundError("No module named 'yaml'", name="yaml"), "`pip install PyYAML` brings it."),
        (ModuleNotFoundError("No module named 'cv2.dnn'", name="cv2.dnn"), "Install it with `pip install --no-deps"),
        (ModuleNotFoundError("No module"), "Install it with `pip install --no-deps"),
        (ImportError("cannot import name 'x' from 'cv2'", name="cv2"), "Install it with `pip install --no-deps"),
    ],
    ids=str,
)
def test_the_remedy_of_an_import_that_fails(error, remedy):
    assert compatibility._remedy(error).startswith(remedy)


def test_suppression_in_graphs_has_the_arguments_of_ppdet():
    arguments, ppdets = (
        [(name, parameter.default) for name, parameter in inspect.signature(function).parameters.items()]
        for function in (compatibility._multiclass_nms, ops.multiclass_nms)
    )
    assert arguments == ppdets[: len(arguments)]


def test_what_ppdet_logs_later_is_seen():
    code = "import logging, paddle_focal.detection; logging.getLogger('ppdet.engine').info('an epoch')"
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert result.stdout.endswith("ppdet.engine INFO: an epoch\n"), result.stdout + result.stderr
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize("index", [True, False])
def test_suppression_in_graphs_is_that_of_ppdet(index):
    """Whose own function serves in dynamic mode."""
    rng = np.random.default_rng(0)
    corner, size = rng.uniform(0, 20, (2, 30, 2)), rng.uniform(5, 15, (2, 30, 2))
    boxes = paddle.to_tensor(np.concatenate([corner, corner + size], 2).astype("float32"))
    scores = paddle.to_tensor(rng.random((2, 4, 30)).astype("float32"))
    for options in ((0.4, 20, 25, 0.5, False, 1.0, 0), (0.1, 9, 5, 0.3, True, 0.9, -1)):
        arguments = (boxes, scores, *options, index)
        results, expected = compatibility._multiclass_nms(*arguments), ops.multiclass_nms(*arguments)
        assert len(results) == len(expected)
        for one, other in zip(results, expected):
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_array_equal(one.numpy(), other.numpy())
    functions = (compatibility._multiclass_nms, ops.multiclass_nms)
    for threshold in ((), (0.8,)):  # with which a shrinking one would differ
        for one, other in zip(*(function(boxes, scores, 0.3, 30, 60, *threshold) for function in functions)):
            assert (one is None and other is None) or (one.numpy() == other.numpy()).all()
    assert compatibility._multiclass_nms(*arguments, False)[1] is None  # as ppdet's in a graph


def test_what_is_replaced_during_an_export_comes_back():
    before = paddle.jit.to_static, ops.multiclass_nms
    with compatibility.exportable():
        assert (paddle.jit.to_static.func, paddle.jit.to_static.keywords) == (before[0], {"full_graph": True})
        in_graphs = paddle.base.framework.use_pir_api()
        assert ops.multiclass_nms is (compatibility._multiclass_nms if in_graphs else before[1])
    assert (paddle.jit.to_static, ops.multiclass_nms) == before


def test_images_of_any_ending(tmp_path):
    (tmp_path / "a.ppm").touch()
    with compatibility.any_ending():
        assert dataset._is_valid_file(str(tmp_path / "a.ppm"))
        assert not dataset._is_valid_file(str(tmp_path))
    assert not dataset._is_valid_file(str(tmp_path / "a.ppm"))


def test_checkpoints_are_in_the_folder_of_the_configuration(tmp_path):
    checkpointer = Checkpointer.__new__(Checkpointer)  # its arguments differ from branch to branch
    checkpointer.save_dir = "elsewhere"
    compatibility.save_in(SimpleNamespace(_callbacks=[object(), checkpointer]), tmp_path)
    assert checkpointer.save_dir == str(tmp_path)


def test_labels_are_drawn_and_their_font_is_kept_at_home(monkeypatch):
    downloads = []
    monkeypatch.setattr(visualizer, "get_path", lambda *arguments: downloads.append(arguments), raising=False)
    before = hasattr(ImageDraw.ImageDraw, "textsize")
    with compatibility.drawable():
        width, height = ImageDraw.Draw(Image.new("RGB", (9, 9))).textsize("label")
        visualizer.get_path("font.ttf", "~/.cache")
    assert width > height > 0
    assert downloads == [("font.ttf", str(Path.home() / ".cache"))]
    assert hasattr(ImageDraw.ImageDraw, "textsize") == before


def drawn(names: dict[int, str]) -> np.ndarray:
    """What ppdet draws of a box of the category 1, whose name it knows from the annotations."""
    box = {"image_id": 0, "category_id": 1, "bbox": [5, 30, 40, 20], "score": 0.9}
    state = np.random.get_state()  # noqa: NPY002 - from which ppdet draws a colour
    with compatibility.drawable(names):
        np.random.seed(0)  # noqa: NPY002
        picture = visualizer.draw_bbox(Image.new("RGB", (90, 60)), 0, {1: "of ppdet"}, [box], 0.5)
    np.random.set_state(state)  # noqa: NPY002
    return np.array(picture)


@pytest.mark.skipif(hasattr(visualizer, "get_path"), reason="this PaddleDetection has a font of its own")
def test_names_in_other_scripts_are_no_empty_boxes(monkeypatch):
    monkeypatch.setattr(fonts, "font_files", lambda: (fonts.DEFAULT,))  # others may have Chinese characters
    assert (drawn({1: "Ж"}) != drawn({1: "Щ"})).any()
    np.testing.assert_array_equal(drawn({1: "猫"}), drawn({1: "class 1", 2: "я"}))
    assert ImageDraw.ImageDraw.font is None
    assert visualizer.draw_bbox.__module__ == visualizer.__name__
