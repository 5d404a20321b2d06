"""The figures of a run, with every text, place and colour that is set for them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import cv2
import matplotlib
import numpy as np
import pytest

pytest.importorskip("ppdet")

from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from paddle_focal.data.annotations import read_annotations
from paddle_focal.engine import report
from paddle_focal.engine.hooks import loss_curve


@pytest.fixture
def saved(monkeypatch):
    """Figures and how they are saved, instead of files that take a third of a second each."""
    figures = []

    def savefig(figure, path, **options):
        figures.append((figure, options))
        path.touch()

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def look(line) -> tuple:
    return to_hex(line.get_color()), line.get_alpha(), line.get_linewidth(), line.get_linestyle(), line.get_marker()


def test_the_loss_curve(saved, tmp_path):
    losses = {"loss_cls": np.linspace(4, 1, 40), "loss": np.linspace(8, 2, 40)}
    loss_curve.draw_loss_curve(range(1, 41), losses, tmp_path / "curve.png", {20: 3.0, 40: 2.5})
    ((figure, options),) = saved
    assert options == {"dpi": 120}
    assert figure.get_size_inches().tolist() == [8, 4.5]
    assert type(figure.get_layout_engine()).__name__ == "ConstrainedLayoutEngine"
    (axes,) = figure.axes
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("Training loss", "iteration", "loss")
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "log")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "loss_cls",
        "loss",
        "loss, validation images",
    ]
    blue, orange = "#1f77b4", "#ff7f0e"
    width = matplotlib.rcParams["lines.linewidth"]
    assert [look(line) for line in axes.lines] == [
        (blue, 0.25, 0.8, "-", "None"),
        (blue, None, width, "-", "None"),
        (orange, 0.25, 0.8, "-", "None"),
        (orange, None, width, "-", "None"),
        ("#000000", None, 0.8, ":", "o"),
    ]
    points = axes.lines[-1]
    assert points.get_markersize() == 4
    assert points.get_xydata().tolist() == [[20, 3.0], [40, 2.5]]
    ticks = [*axes.xaxis.get_major_ticks(), *axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks()]
    assert {(tick.gridline.get_visible(), tick.gridline.get_alpha()) for tick in ticks} == {(True, 0.3)}


def test_a_single_validation_loss_is_a_point(saved, tmp_path):
    loss_curve.draw_loss_curve([1, 2], {"loss": [2.0, 1.0]}, tmp_path / "curve.png", {2: 3.0})
    assert saved[0][0].axes[0].lines[-1].get_xydata().tolist() == [[2, 3.0]]


def test_the_loss_curve_before_the_first_iteration(saved, tmp_path):
    log = SimpleNamespace(records=[{"iteration": 3, "epoch": 1, "bbox_AP": 0.5}])
    with pytest.warns(UserWarning, match="No artists with labels"):
        loss_curve.LossCurve(SimpleNamespace(), tmp_path / "curve.png", log).on_epoch_end({"mode": "eval"})
    assert saved[0][0].axes[0].lines[:] == []


@pytest.fixture
def truth(tmp_path):
    """Five images of 60 by 30 pixels, the third of which is gone; the first has a box."""
    images = [{"id": i, "file_name": f"{i}.png", "width": 60, "height": 30} for i in range(1, 6)]
    for image in images:
        cv2.imwrite(str(tmp_path / image["file_name"]), np.full((30, 60, 3), (250, 0, 10 * image["id"]), np.uint8))
    (tmp_path / "3.png").unlink()
    box = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [10, 11, 20, 15], "area": 300, "iscrowd": 0}
    document = {"images": images, "annotations": [box], "categories": [{"id": 7, "name": "cell"}]}
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(document))
    return read_annotations(str(path))


FOUND = [
    {"image_id": 1, "category_id": 7, "bbox": [12, 5, 20, 15], "score": 0.5},
    {"image_id": 1, "category_id": 7, "bbox": [0, 0, 9, 9], "score": 0.4999},
    {"image_id": 5, "category_id": 7, "bbox": [1, 2, 3, 4], "score": 0.876},
]


def test_images_with_their_boxes(saved, truth, tmp_path):
    titles = {1: "one\nin two lines", 3: "three", 5: "five $x$", 2: "two", 4: "four"}
    report.draw_images(truth, titles, str(tmp_path), FOUND, "Some images", tmp_path / "images.png")
    ((figure, options),) = saved
    assert options == {"dpi": 110}
    # Four columns; each image 3.2 wide and half as high, with two lines of text; two rows, and the heading.
    assert figure.get_size_inches().tolist() == pytest.approx([4 * 3.2, 2 * (1.6 + 0.4) + 0.5])
    # A constrained layout, once: then labels are moved.
    assert type(figure.get_layout_engine()).__name__ == "PlaceHolderLayoutEngine"
    assert not figure.get_layout_engine().adjust_compatible
    assert figure.get_suptitle() == "Some images: ground truth (green), detections with score >= 0.5 (red)"
    assert figure._suptitle.get_fontsize() == 11
    assert len(figure.axes) == 8
    assert not any(axes.axison for axes in figure.axes)
    drawn = figure.axes[:5]
    assert [axes.get_title() for axes in drawn] == list(titles.values())
    assert {(axes.title.get_fontsize(), axes.title.get_parse_math()) for axes in drawn} == {(8, False)}
    pixels = [axes.images[0].get_array()[0, 0].tolist() if axes.images else None for axes in drawn]
    assert pixels == [[10, 0, 250], None, [50, 0, 250], [20, 0, 250], [40, 0, 250]]
    boxes = [[(*box.get_xy(), box.get_width(), box.get_height()) for box in axes.patches] for axes in drawn]
    assert boxes == [[(10, 11, 20, 15), (12, 5, 20, 15)], [], [(1, 2, 3, 4)], [], []]
    green, red = "#2ca02c", "#d62728"
    patches = [*drawn[0].patches, *drawn[2].patches]
    assert [to_hex(box.get_edgecolor()) for box in patches] == [green, red, red]
    assert {(box.get_linewidth(), box.get_fill()) for box in patches} == {(1.3, False)}
    texts = [*drawn[0].texts, *drawn[2].texts]
    assert [(text.get_text(), text.get_position(), text.get_va()) for text in texts] == [
        ("cell", (10, 26), "top"),
        ("cell 0.50", (12, 5), "bottom"),
        ("cell 0.88", (1, 2), "bottom"),
    ]
    for text, color in zip(texts, (green, red, red)):
        assert (to_hex(text.get_color()), text.get_fontsize()) == (to_hex("white"), 7)
        assert (text.get_clip_on(), text.get_parse_math()) == (False, False)
        label = text.get_bbox_patch()
        assert (to_hex(label.get_facecolor()), label.get_alpha()) == (color, 0.8)
        assert to_hex(label.get_edgecolor(), keep_alpha=True)[-2:] in ("00", "cc")
        assert label.get_boxstyle().pad == pytest.approx(0.8 / 7, abs=0.005)  # which matplotlib rounds


def test_predictions_are_twelve_images_evenly_spaced(monkeypatch, tmp_path):
    images = {number: {"file_name": f"{number}.png"} for number in range(36, 0, -1)}
    drawn = []
    monkeypatch.setattr(report, "draw_images", lambda *arguments: drawn.append(arguments))
    truth = SimpleNamespace(imgs=images)
    report.draw_predictions(truth, "folder", FOUND, tmp_path / "a.png")
    ((same, titles, folder, found, heading, path),) = drawn
    assert (same, folder, found, path) == (truth, "folder", FOUND, tmp_path / "a.png")
    assert heading == "Validation images"
    assert len(titles) == 12
    assert titles == {number: f"{number}.png" for number in titles}
    assert list(titles) == sorted(titles)
    assert (min(titles), set(np.diff(list(titles)))) == (1, {3}) or max(titles) == 36


def test_one_image_is_one_column(saved, truth, tmp_path):
    report.draw_images(truth, {2: "two"}, str(tmp_path), [], "One", tmp_path / "images.png")
    figure = saved[0][0]
    assert figure.get_size_inches().tolist() == pytest.approx([3.2, 1.6 + 0.2 + 0.5])
    assert len(figure.axes) == 1
