"""Runs on data in VOC's format have what those on COCO's have."""

from __future__ import annotations

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("ppdet")

import voc_data
from ppdet.data.source.voc import VOCDataSet
from ppdet.engine import Trainer
from ppdet.metrics import VOCMetric
from ppdet.metrics.map_utils import DetectionMAP
from small_runs import STEPS, SmallRuns

from paddle_focal.data.annotations import ground_truth, image_folder, read_annotations
from paddle_focal.engine import report
from paddle_focal.engine.hooks.early_stop import EarlyStop
from paddle_focal.errors import ToolError


@pytest.fixture
def options(small_runs: SmallRuns, tmp_path):
    """Those that have a run train on the same data in VOC's format."""
    return voc_data.from_coco(small_runs.data, tmp_path / "voc")


def metrics(small_runs: SmallRuns) -> dict:
    return json.loads((small_runs.folder / "metrics.json").read_text())


def script_map(monkeypatch, *values: float) -> None:
    coming = iter(values)
    monkeypatch.setattr(DetectionMAP, "accumulate", lambda one: setattr(one, "mAP", next(coming)))


def test_a_run_is_evaluated_once_at_its_end(small_runs: SmallRuns, options, monkeypatch):
    evaluated = []
    accumulate = VOCMetric.accumulate
    monkeypatch.setattr(VOCMetric, "accumulate", lambda metric: evaluated.append(metric) or accumulate(metric))
    small_runs.train(*options, flags=["--eval"], final_eval=True)
    assert len(evaluated) == 2  # epochs
    assert list(metrics(small_runs)) == ["bbox_mAP"]
    assert 0 <= metrics(small_runs)["bbox_mAP"] <= 1
    records = [record["bbox_mAP"] for record in small_runs.records() if "bbox_mAP" in record]
    assert len(records) == 2
    assert records[-1] == metrics(small_runs)["bbox_mAP"]
    assert small_runs.evaluated == 2
    assert len(small_runs.images) == 2 * STEPS


def test_without_eval_the_final_weights_are(small_runs: SmallRuns, options):
    small_runs.train(*options, final_eval=True)
    assert list(metrics(small_runs)) == ["bbox_mAP"]
    assert small_runs.evaluated == 1


def test_an_evaluation_does_not_make_the_other_ranks_wait(small_runs: SmallRuns, monkeypatch):
    """Ppdet's ``evaluate`` puts the model into DataParallel, to which every rank has to come."""
    monkeypatch.setattr(Trainer, "evaluate", lambda trainer: pytest.fail("every rank is waited for"))
    small_runs.train("epoch=1", final_eval=True)
    assert "bbox_AP" in metrics(small_runs)


def test_early_stop(small_runs: SmallRuns, options, monkeypatch, caplog):
    script_map(monkeypatch, 0.3, 0.5, 0.4)
    small_runs.train(*options, "epoch=9", flags=["--eval", "--early-stop", "1"], final_eval=True)
    said = "Stopped after epoch 3: no better bbox_mAP for 1 evaluations; the best was 0.5000, after epoch 2"
    assert said in caplog.text
    assert metrics(small_runs) == {"bbox_mAP": 0.4}


@pytest.mark.parametrize(
    ("metric", "watched", "said"),
    [
        ("VOC", "bbox_AP", "cannot watch bbox_AP with metric: VOC; accepted are bbox_mAP and val_loss"),
        ("COCO", "bbox_mAP", "cannot watch bbox_mAP with metric: COCO; accepted are bbox_AP and val_loss"),
        ("RBOX", None, "cannot watch anything with metric: RBOX; accepted are the metrics COCO and VOC"),
    ],
)
def test_what_cannot_be_watched(small_runs: SmallRuns, metric, watched, said):
    trainer = SimpleNamespace(cfg=SimpleNamespace(metric=metric))
    with pytest.raises(ToolError, match=said):
        EarlyStop(trainer, SimpleNamespace(validation=object()), 1, watched)


def test_validation_losses_are_those_of_the_same_data_in_cocos_format(small_runs: SmallRuns, options):
    """Boxes end a pixel earlier at the right and bottom edge, which no digit reaches."""
    wanted = ("RetinaNet.head=FocalRetinaHead", "FocalRetinaHead.is_inference_output=true", "epoch=1")
    small_runs.train(*wanted)
    weights = f"weights={small_runs.folder}/model_final"
    found = []
    for data in ((), options):
        small_runs.evaluate(*wanted, weights, *data)
        found.append([metrics(small_runs)[name] for name in ("val_loss_cls", "val_loss_reg", "val_loss")])
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert "bbox_mAP" in metrics(small_runs)


def test_the_picture_has_boxes_and_detections(small_runs: SmallRuns, options, monkeypatch):
    drawn = []
    monkeypatch.setattr(report, "draw_predictions", lambda *arguments: drawn.append(arguments))
    monkeypatch.setattr(report, "DRAW_THRESHOLD", 0.0)
    small_runs.train("epoch=1")
    weights = f"weights={small_runs.folder}/model_final"
    everything = "RetinaHead.nms.score_threshold=0.0"
    small_runs.evaluate(weights, everything)
    small_runs.evaluate(weights, everything, *options)
    (coco, _, expected, _), (truth, folder, found, path) = drawn
    assert path == small_runs.folder / "predictions.png"
    names = [truth.imgs[image]["file_name"] for image in sorted(truth.imgs)]
    assert names == [f"val/{coco.imgs[image]['file_name']}" for image in sorted(coco.imgs)]
    assert all(cv2.imread(f"{folder}/{name}") is not None for name in names)

    def rows(detections, images, first):
        return sorted(
            (
                images.index(one["image_id"]),
                one["category_id"] - first,
                *np.round(one["bbox"], 2),
                round(one["score"], 4),
            )
            for one in detections
        )

    assert rows(found, sorted(truth.imgs), 0) == rows(expected, sorted(coco.imgs), 1)
    assert len(found) > 10


def test_analysis(small_runs: SmallRuns, options):
    small_runs.train("epoch=1")
    weights = f"weights={small_runs.folder}/model_final"
    results = []
    for data in ((), options):
        small_runs.analyze(weights, *data)
        results.append(json.loads((small_runs.folder / "analysis.json").read_text()))
    coco, voc = results
    for key in ("name", "objects", "suggested_alpha"):
        assert [row[key] for row in voc["classes"]] == [row[key] for row in coco["classes"]]
    # Boxes end a pixel earlier at the right and bottom edge.
    losses = [[image["loss_cls"] for image in one["images"]] for one in (voc, coco)]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)
    assert voc["anchors"]["foreground"] == pytest.approx(coco["anchors"]["foreground"], rel=0.1)
    assert (small_runs.folder / "hardest_images.png").exists()


def test_ground_truth(tmp_path):
    """Boxes as ppdet trains on them, clipped and without those that have no area; ids and names of its own."""
    (tmp_path / "pictures").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / f"pictures/{name}.png").touch()
    (tmp_path / "pictures/a.xml").write_text(
        voc_data.xml((20, 10), [("dog", (0, 1, 5, 6)), ("cat", (15, 5, 25, 12), 1), ("cat", (5, 5, 5, 9))])
    )
    (tmp_path / "pictures/b.xml").write_text(voc_data.xml((30, 40)))
    (tmp_path / "pictures/c.xml").write_text(voc_data.xml((30, 40), [("cat", (1, 2, 3, 4))], extra="<id>77</id>"))
    (tmp_path / "list.txt").write_text("".join(f"{name}.png {name}.xml\n" for name in "abc"))
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    dataset = VOCDataSet(str(tmp_path), "pictures", "list.txt", label_list="labels.txt", data_fields=["image"])
    truth = ground_truth(dataset)
    assert dataset.data_fields == ["image"]
    assert image_folder(dataset) == f"{tmp_path}/pictures"
    assert truth.cats == {0: {"id": 0, "name": "cat"}, 1: {"id": 1, "name": "dog"}}
    sizes = {number: (image["file_name"], image["width"], image["height"]) for number, image in truth.imgs.items()}
    assert sizes == {0: ("a.png", 20, 10), 77: ("c.png", 30, 40)}
    boxes = [(box["image_id"], box["category_id"], box["bbox"], box["difficult"]) for box in truth.anns.values()]
    assert boxes == [(0, 1, [0, 1, 5, 5], 0), (0, 0, [15, 5, 4, 4], 1), (77, 0, [1, 2, 2, 2], 0)]
    assert [box["area"] for box in truth.anns.values()] == [25, 16, 4]


def test_ground_truth_of_coco(small_runs: SmallRuns):
    path = str(small_runs.data / "annotations/instances_val.json")
    truth = ground_truth(SimpleNamespace(get_anno=lambda: path))
    assert truth.anns == read_annotations(path).anns


def test_no_ground_truth_is_no_number():
    assert report.voc_metrics({"bbox": [float("nan")]}) == {"bbox_mAP": None}
    assert report.voc_metrics({"bbox": [None]}) == {"bbox_mAP": None}
    assert report.voc_metrics({"bbox": [np.float32(0.5)]}) == {"bbox_mAP": 0.5}
