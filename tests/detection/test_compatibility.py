"""The cures of what PaddleDetection and older Paddles lack; those of the export are tested by exporting."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("ppdet")

from PIL import Image, ImageDraw
from ppdet.engine.callbacks import Checkpointer
from ppdet.utils import visualizer

from paddle_focal.detection import compatibility


@pytest.mark.parametrize("first", ["paddle_focal", "paddle_focal.detection"])
def test_zlib_after_paddle(first):
    """Paddle 2.6 brings functions of the same names; with those the process crashes."""
    code = f"import {first}, zlib; print(zlib.decompress(zlib.compress(b'whole')))"
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


def test_what_ppdet_logs_later_is_seen():
    code = "import logging, paddle_focal.detection; logging.getLogger('ppdet.engine').info('an epoch')"
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert result.stdout.endswith("ppdet.engine INFO: an epoch\n"), result.stdout + result.stderr
    assert len(result.stdout.splitlines()) == 1


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
def test_names_in_other_scripts_are_no_empty_boxes():
    assert (drawn({1: "Ж"}) != drawn({1: "Щ"})).any()
    np.testing.assert_array_equal(drawn({1: "猫"}), drawn({1: "class 1", 2: "я"}))
    assert ImageDraw.ImageDraw.font is None
    assert visualizer.draw_bbox.__module__ == visualizer.__name__
