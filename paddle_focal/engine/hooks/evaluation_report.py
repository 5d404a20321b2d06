"""The files that every evaluation writes."""

from __future__ import annotations

import json
from pathlib import Path

from paddle import distributed
from ppdet.engine.callbacks import Callback
from ppdet.metrics import get_infer_results

from paddle_focal.data.annotations import ground_truth, image_folder
from paddle_focal.engine import report
from paddle_focal.engine.hooks.validation_loss import validation_loss_of
from paddle_focal.engine.logs import logger

#: The metrics of PaddleDetection that are reported, each with what names its values.
METRICS = {"COCO": report.coco_metrics, "VOC": report.voc_metrics}


class EvaluationReport(Callback):
    """Writes ``metrics.json`` and ``predictions.png`` after every evaluation.

    Attributes:
        metrics: those of the latest evaluation, by name.
        validation: the losses of the validation images, or None.
    """

    def __init__(self, trainer, folder: Path) -> None:
        super().__init__(trainer)
        self.validation = validation_loss_of(trainer)
        self.metrics: dict[str, float | None] = {}
        self.folder = folder
        self.detections = Path(trainer.cfg.output_eval, "bbox.json")
        self.evaluated = False
        self._found: list[dict] = []
        if trainer.cfg.metric == "VOC":  # whose bbox.json does not say which image a detection is in
            trainer.model.register_forward_post_hook(self._note_detections)

    def callbacks_before(self) -> list[Callback]:
        """The callbacks that must be registered before this one."""
        return [self.validation] if self.validation else []

    def _note_detections(self, model, inputs: tuple[dict], outputs: dict) -> None:
        if model.training:
            return
        classes = {label: label for label in range(self.model.cfg.num_classes)}
        found = get_infer_results({**outputs, "im_id": inputs[0]["im_id"].numpy()}, classes)["bbox"]
        self._found += [box for box in found if box["score"] >= report.DRAW_THRESHOLD]

    def on_epoch_begin(self, status: dict) -> None:
        if distributed.get_rank() == 0:
            self.detections.unlink(missing_ok=True)  # if nothing is detected, ppdet leaves an old file in place

    def on_epoch_end(self, status: dict) -> None:
        config = self.model.cfg
        if status["mode"] != "eval" or distributed.get_rank() != 0:
            return
        self.evaluated = True
        if config.get("save_prediction_only", False) or config.metric not in METRICS:
            return
        self.metrics = METRICS[config.metric](self.model._metrics[0].get_results())
        values = ", ".join(f"{name} {value:.3f}" for name, value in self.metrics.items() if value is not None)
        logger.info("%s", values, extra={"is_result": True})
        if self.validation:
            self.metrics.update(self.validation.results)
        report.write_metrics(self.metrics, self.folder / "metrics.json")
        dataset = config.EvalDataset
        if config.metric == "COCO" and self.detections.exists():
            self._found = json.loads(self.detections.read_text())
        path = self.folder / "predictions.png"
        report.draw_predictions(ground_truth(dataset), image_folder(dataset), self._found, path)
        self._found = []
        logger.info("%s: metrics.json, predictions.png", self.folder)
