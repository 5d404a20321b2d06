"""What is written and said after every evaluation."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from ppdet.core.workspace import AttrDict

from paddle_focal.engine import report
from paddle_focal.engine.hooks import evaluation_report
from paddle_focal.engine.hooks.evaluation_report import EvaluationReport

STATS = [0.5, 0.75, 0.25, -1.0, 0.4, 0.7, 0.3, 0.5, 0.6, 0.1, 0.125, 0.8]
EVALUATED = {"mode": "eval"}


class Detector(paddle.nn.Layer):
    """Gives the boxes that it is told to."""

    boxes, counts = [[0, 0.9, 1, 2, 3, 5]], [1]

    def forward(self, inputs):
        return {"bbox": paddle.to_tensor(self.boxes), "bbox_num": paddle.to_tensor(self.counts, dtype="int32")}


@pytest.fixture
def drawn(monkeypatch):
    pictures = []
    monkeypatch.setattr(report, "draw_predictions", lambda *arguments: pictures.append(arguments))
    monkeypatch.setattr(evaluation_report, "ground_truth", lambda dataset: f"truth of {dataset}")
    monkeypatch.setattr(evaluation_report, "image_folder", lambda dataset: f"images of {dataset}")
    return pictures


def make(tmp_path, metric: str, results: dict, **options) -> EvaluationReport:
    config = AttrDict(output_eval=str(tmp_path / "eval"), metric=metric, EvalDataset="data", num_classes=2, **options)
    (tmp_path / "eval").mkdir()
    metrics = [SimpleNamespace(get_results=lambda: results)]
    return EvaluationReport(SimpleNamespace(model=Detector(), cfg=config, _metrics=metrics), tmp_path)


METRICS = """\
{
  "bbox_AP": 0.5,
  "bbox_AP50": 0.75,
  "bbox_AP75": 0.25,
  "bbox_APs": null,
  "bbox_APm": 0.4,
  "bbox_APl": 0.7,
  "bbox_AR1": 0.3,
  "bbox_AR10": 0.5,
  "bbox_AR100": 0.6,
  "bbox_ARs": 0.1,
  "bbox_ARm": 0.125,
  "bbox_ARl": 0.8,
  "val_loss": 1.5
}
"""


def test_of_coco(drawn, tmp_path, caplog):
    evaluation = make(tmp_path, "COCO", {"bbox": np.array(STATS)})
    evaluation.validation = SimpleNamespace(results={"val_loss": 1.5})
    assert evaluation.callbacks_before() == [evaluation.validation]
    assert (evaluation.evaluated, evaluation.metrics) == (False, {})
    found = [{"image_id": 3, "score": 0.1}]
    (tmp_path / "eval/bbox.json").write_text(json.dumps(found))
    with caplog.at_level("INFO"):
        evaluation.on_epoch_end({"mode": "train"})
        assert not evaluation.evaluated
        evaluation.on_epoch_end(EVALUATED)
    assert evaluation.evaluated is True
    assert (tmp_path / "metrics.json").read_text() == METRICS
    assert caplog.messages == [
        "bbox_AP 0.500, bbox_AP50 0.750, bbox_AP75 0.250, bbox_APm 0.400, bbox_APl 0.700, bbox_AR1 0.300, bbox_AR10 "
        "0.500, bbox_AR100 0.600, bbox_ARs 0.100, bbox_ARm 0.125, bbox_ARl 0.800",
        f"{tmp_path}: metrics.json, predictions.png",
    ]
    assert drawn == [("truth of data", "images of data", found, tmp_path / "predictions.png")]
    (tmp_path / "eval/bbox.json").unlink()
    evaluation.on_epoch_end(EVALUATED)
    assert drawn[1][2] == []  # and not those of the evaluation before


def test_of_voc(drawn, tmp_path, caplog):
    """The detections are those of the model's outputs; an old bbox.json is none of them."""
    evaluation = make(tmp_path, "VOC", {"bbox": [np.float32(0.25)]})
    assert evaluation.callbacks_before() == []
    (tmp_path / "eval/bbox.json").write_text("[1]")
    model = evaluation.model.model
    model.boxes = [[0, 0.9, 1, 2, 3, 5], [1, 0.5, 0, 0, 4, 4], [1, 0.49, 0, 0, 4, 4]]
    model.counts = [1, 2]
    inputs = {"im_id": paddle.to_tensor([[5], [8]]), "im_shape": paddle.ones([2, 2])}
    model.train()
    model(inputs)
    model.eval()
    model(inputs)
    model.boxes, model.counts = [[0, 0.75, 2, 2, 3, 5]], [1]
    model({"im_id": paddle.to_tensor([[9]])})  # a second batch
    with caplog.at_level("INFO"):
        evaluation.on_epoch_end(EVALUATED)
    ((_, _, found, _),) = drawn
    assert [(box["image_id"], box["category_id"], box["bbox"]) for box in found] == [
        (5, 0, [1, 2, 2, 3]),
        (8, 1, [0, 0, 4, 4]),
        (9, 0, [2, 2, 1, 3]),
    ]
    assert [box["score"] for box in found] == pytest.approx([0.9, 0.5, 0.75])
    assert (tmp_path / "metrics.json").read_text() == '{\n  "bbox_mAP": 0.25\n}\n'
    assert caplog.messages == ["bbox_mAP 0.250", f"{tmp_path}: metrics.json, predictions.png"]
    evaluation.on_epoch_end(EVALUATED)
    assert drawn[1][2] == []


def test_of_coco_the_outputs_are_left_alone(drawn, tmp_path):
    evaluation = make(tmp_path, "COCO", {"bbox": np.array(STATS)})
    model = evaluation.model.model
    model.eval()
    model({"im_id": paddle.to_tensor([[5]])})
    evaluation.on_epoch_end(EVALUATED)
    assert drawn[0][2] == []


@pytest.mark.parametrize(("rank", "written"), [(0, True), (1, False)])
def test_the_first_rank_writes_it(drawn, tmp_path, monkeypatch, rank, written):
    monkeypatch.setattr(evaluation_report.distributed, "get_rank", lambda: rank)
    evaluation = make(tmp_path, "COCO", {"bbox": np.array(STATS)})
    evaluation.on_epoch_end(EVALUATED)
    assert evaluation.evaluated == written
    assert (tmp_path / "metrics.json").exists() == written == bool(drawn)


@pytest.mark.parametrize("wanted", [True, False])
def test_predictions_only(drawn, tmp_path, wanted):
    evaluation = make(tmp_path, "COCO", {"bbox": np.array(STATS)}, save_prediction_only=wanted)
    evaluation.on_epoch_end(EVALUATED)
    assert evaluation.evaluated
    assert (tmp_path / "metrics.json").exists() != wanted


def test_the_metrics_and_their_names():
    assert {"COCO": report.coco_metrics, "VOC": report.voc_metrics} == evaluation_report.METRICS
    assert report.coco_metrics({"bbox": [0.0, -0.5, *STATS[2:]]})["bbox_AP50"] == -0.5
    assert report.voc_metrics({"bbox": [math.inf]}) == {"bbox_mAP": None}
    assert report.voc_metrics({"bbox": [0]}) == {"bbox_mAP": 0.0}
