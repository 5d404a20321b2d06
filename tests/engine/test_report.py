from __future__ import annotations

import json
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("ppdet")

from matplotlib.figure import Figure

from paddle_focal import fonts
from paddle_focal.data.annotations import read_annotations
from paddle_focal.engine import report
from paddle_focal.engine.hooks import loss_curve
from paddle_focal.engine.hooks.loss_curve import draw_loss_curve


def test_coco_metrics_have_names_and_no_sentinels():
    stats = [0.5, 0.8, 0.6, -1.0, 0.4, 0.7, 0.3, 0.5, 0.6, -1.0, 0.5, 0.8]
    metrics = report.coco_metrics({"bbox": np.array(stats)})
    assert list(metrics)[:3] == ["bbox_AP", "bbox_AP50", "bbox_AP75"]
    assert metrics["bbox_AP50"] == 0.8
    assert metrics["bbox_APs"] is None
    assert metrics["bbox_AR100"] == 0.6
    assert len(metrics) == 12


def test_nothing_detected_is_zero():
    assert set(report.coco_metrics({}).values()) == {0.0}


@pytest.mark.parametrize("iterations", [1, 19, 400])
def test_loss_curve(tmp_path, iterations):
    losses = {"loss_cls": list(np.linspace(1, 0.1, iterations)), "loss": list(np.linspace(2, 0.2, iterations))}
    draw_loss_curve(list(range(1, iterations + 1)), losses, tmp_path / "loss_curve.png")
    assert cv2.imread(str(tmp_path / "loss_curve.png")).shape == (540, 960, 3)


@pytest.mark.parametrize(("iterations", "window"), [(10, 1), (100, 5), (119, 5)])
def test_the_average_is_over_a_twentieth_of_the_run(tmp_path, monkeypatch, iterations, window):
    drawn = []

    def savefig(figure, path, **_):
        drawn.append(figure.axes[0].lines)
        path.touch()

    monkeypatch.setattr(loss_curve.Figure, "savefig", savefig)
    values = np.arange(1.0, iterations + 1)
    draw_loss_curve(range(1, iterations + 1), {"loss": values}, tmp_path / "loss_curve.png")
    ((faint, smooth),) = drawn
    np.testing.assert_array_equal(faint.get_ydata(), values)
    assert smooth.get_xdata()[0] == window
    np.testing.assert_allclose(smooth.get_ydata(), values[window - 1 :] - (window - 1) / 2)


@pytest.fixture
def validation_set(tmp_path):
    """Three black images of two sizes; the first has a box and a detection above and one below the threshold."""
    images = [{"id": i, "file_name": f"{i}.png", "width": 60, "height": 40 + 20 * (i == 3)} for i in (1, 2, 3)]
    for image in images:
        cv2.imwrite(str(tmp_path / image["file_name"]), np.zeros((image["height"], image["width"], 3), np.uint8))
    box = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [10, 10, 20, 15], "area": 300, "iscrowd": 0}
    document = {"images": images, "annotations": [box], "categories": [{"id": 7, "name": "cell"}]}
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    found = [
        {"image_id": 1, "category_id": 7, "bbox": [12, 11, 20, 15], "score": 0.9},
        {"image_id": 2, "category_id": 7, "bbox": [5, 5, 20, 20], "score": 0.4},
    ]
    (tmp_path / "bbox.json").write_text(json.dumps(found))
    return tmp_path


def draw(folder: Path, detections: str | None = "bbox.json") -> None:
    found = json.loads((folder / detections).read_text()) if detections else []
    truth = read_annotations(str(folder / "annotations.json"))
    report.draw_predictions(truth, str(folder), found, folder / "predictions.png")


def near(picture: np.ndarray, color: str) -> np.ndarray:
    """Where the picture has this color, lines on black included."""
    bgr = [int(color[i : i + 2], 16) for i in (5, 3, 1)]
    return (np.abs(picture.astype(int) - bgr) < 30).all(axis=-1)


def test_an_unreadable_image_and_dollar_signs_do_not_stop_the_picture(validation_set):
    (validation_set / "2.png").unlink()
    text = (validation_set / "annotations.json").read_text()
    (validation_set / "annotations.json").write_text(text.replace("cell", "$cell{$"))
    draw(validation_set)
    assert near(cv2.imread(str(validation_set / "predictions.png")), "#2ca02c").sum() > 50


@pytest.mark.parametrize("detections", ["bbox.json", None])
def test_predictions(validation_set, detections):
    path = validation_set / "predictions.png"
    draw(validation_set, detections)
    picture = cv2.imread(str(path))
    assert near(picture, "#2ca02c").sum() > 50
    columns = np.flatnonzero(near(picture, "#d62728").any(axis=0))
    # The detection of score 0.9 is in the first of the three columns, the one of score 0.4 is not drawn.
    assert (columns.size > 0) == (detections == "bbox.json")
    assert columns.size == 0 or columns.max() < picture.shape[1] / 3


def test_boxes_bear_their_category_and_detections_their_score(validation_set, monkeypatch):
    drawn = []

    def savefig(figure, path, **_):
        drawn.extend([text.get_text() for text in axes.texts] for axes in figure.axes)
        path.touch()

    monkeypatch.setattr(report.Figure, "savefig", savefig)
    draw(validation_set)
    assert drawn == [["cell", "cell 0.90"], [], []]


def test_names_in_any_script(validation_set, monkeypatch):
    """Those that no font can show become numbers; no glyph is missing from the picture."""
    drawn = []

    def savefig(figure, path, **_):
        drawn.append([text.get_text() for axes in figure.axes for text in (axes.title, *axes.texts)])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Figure.savefig(figure, path)

    (validation_set / "1.png").rename(validation_set / "图1.png")
    text = (validation_set / "annotations.json").read_text().replace("1.png", "图1.png")
    monkeypatch.setattr(fonts, "font_files", lambda: (fonts.DEFAULT,))
    monkeypatch.setattr(report, "Figure", type("Saved", (Figure,), {"savefig": savefig}))
    for name, shown in (("клетка", "клетка"), ("细胞", "class 7")):
        (validation_set / "annotations.json").write_text(text.replace("cell", name))
        draw(validation_set)
        assert drawn.pop() == ["?1.png", shown, f"{shown} 0.90", "2.png", "3.png"]


BLUE = (255, 0, 0)  # as OpenCV has it


@pytest.fixture
def blue_image(tmp_path):
    """One image of 60 by 40 pixels, all blue, with a box on the left and a detection on the right."""
    cv2.imwrite(str(tmp_path / "1.png"), np.full((40, 60, 3), BLUE, np.uint8))
    image = {"id": 1, "file_name": "1.png", "width": 60, "height": 40}
    box = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [6, 10, 15, 20], "area": 300, "iscrowd": 0}
    document = {"images": [image], "annotations": [box], "categories": [{"id": 7, "name": ""}]}
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    found = [{"image_id": 1, "category_id": 7, "bbox": [33, 14, 21, 12], "score": 0.5}]
    (tmp_path / "bbox.json").write_text(json.dumps(found))
    return tmp_path


def extent(mask: np.ndarray) -> np.ndarray:
    """Left, top, right and bottom of what is true."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)


def test_images_keep_their_colours_and_boxes_their_places(blue_image):
    draw(blue_image)
    picture = cv2.imread(str(blue_image / "predictions.png"))
    left, top, right, bottom = extent(near(picture, "#0000ff"))
    scale = (right - left) / 60
    assert (bottom - top) / 40 == pytest.approx(scale, rel=0.02)
    for color, corners in (("#2ca02c", [6, 10, 21, 30]), ("#d62728", [33, 14, 54, 26])):
        drawn = (extent(near(picture, color)) - [left, top, left, top]) / scale
        np.testing.assert_allclose(drawn, np.array(corners) + 0.5, atol=0.4, err_msg=color)  # from pixels' centres


def test_the_label_of_a_detection_is_above_its_box(blue_image):
    draw(blue_image)
    picture = cv2.imread(str(blue_image / "predictions.png")).astype(int)
    left, top, right, _ = extent(near(picture, "#0000ff"))
    scale = (right - left) / 60
    color = 0.8 * np.array([0x28, 0x27, 0xD6]) + 0.2 * np.array(BLUE)
    label = extent(np.abs(picture - color).max(axis=-1) < 12)
    assert left + 32 * scale < label[0] < left + 35 * scale
    assert label[3] < top + 15.5 * scale


@pytest.fixture
def places(blue_image, monkeypatch):
    """Draws a detection of 12 by 12 pixels in an image, and gives where its label is and where the image is."""

    def savefig(figure, path, **_):
        figure.draw_without_rendering()
        (axes,) = figure.axes
        ((label,), image) = axes.texts, axes.get_window_extent()
        assert not label.get_clip_on()
        drawn.append((label.get_bbox_patch().get_window_extent(), image))
        path.touch()

    def draw_at(x: int, y: int, width: int = 60, height: int = 40):
        document = json.loads((blue_image / "annotations.json").read_text())
        image = {**document["images"][0], "width": width, "height": height}
        (blue_image / "annotations.json").write_text(json.dumps({**document, "images": [image], "annotations": []}))
        cv2.imwrite(str(blue_image / "1.png"), np.full((height, width, 3), BLUE, np.uint8))
        found = [{"image_id": 1, "category_id": 7, "bbox": [x, y, 12, 12], "score": 0.5}]
        (blue_image / "bbox.json").write_text(json.dumps(found))
        draw(blue_image)
        return drawn.pop()

    drawn = []
    monkeypatch.setattr(report.Figure, "savefig", savefig)
    return draw_at


@pytest.mark.parametrize("corner", [(20, 20), (20, 1), (-6, -6), (54, 20), (57, -6), (20, 500)])
def test_labels_stay_in_their_image(places, corner):
    """Also those of boxes at its border, and of boxes that reach out of it."""
    label, image = places(*corner)
    np.testing.assert_array_less(image.min, label.min + 0.1)
    np.testing.assert_array_less(label.max, image.max + 0.1)


@pytest.mark.parametrize("size", [(4, 400), (400, 4)])
def test_labels_of_images_that_are_smaller_are_beside_them(places, size):
    label, image = places(1, 1, *size)
    if size[0] < size[1]:
        assert (label.x0 - image.x0) / image.width == pytest.approx(1.5 / 4, abs=0.2)
        assert label.width > image.width
    else:
        assert (image.y1 - label.y0) / image.height == pytest.approx(1.5 / 4, abs=0.5)
        assert label.height > image.height


@pytest.mark.parametrize("size", [(4, 400), (400, 4)])
def test_images_of_any_shape_make_a_picture_of_some_size(tmp_path, size):
    """A side of more than 2^16 pixels is beyond matplotlib."""
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((*size[::-1], 3), np.uint8))
    images = [{"id": i, "file_name": "1.png", "width": size[0], "height": size[1]} for i in range(1, 9)]
    (tmp_path / "annotations.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    draw(tmp_path, None)
    sides = cv2.imread(str(tmp_path / "predictions.png")).shape[:2]
    assert min(sides) > 200
    assert max(sides) < 2500


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
def test_every_image_is_drawn_also_in_the_last_row(tmp_path, monkeypatch, count):
    drawn = []

    def savefig(figure, path, **_):
        drawn.extend(axes for axes in figure.axes if axes.images)
        path.touch()

    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((40, 60, 3), np.uint8))
    images = [{"id": i, "file_name": "1.png", "width": 60, "height": 40} for i in range(1, count + 1)]
    (tmp_path / "annotations.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    monkeypatch.setattr(report.Figure, "savefig", savefig)
    draw(tmp_path, None)
    assert len(drawn) == count


def test_validation_losses_are_points_of_the_curve(tmp_path):
    losses = {"loss": [1.0] * 10}
    draw_loss_curve(list(range(1, 11)), losses, tmp_path / "without.png")
    draw_loss_curve(list(range(1, 11)), losses, tmp_path / "with.png", {5: 1.0, 10: 1.0})
    without, drawn = (cv2.imread(str(tmp_path / f"{name}.png")) for name in ("without", "with"))
    assert (near(drawn, "#000000").sum() - near(without, "#000000").sum()) > 50
