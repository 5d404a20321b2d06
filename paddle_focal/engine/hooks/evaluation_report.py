"""The files that every evaluation writes."""

from __future__ import annotations

import os
from pathlib import Path

from paddle import distributed
from ppdet.engine.callbacks import Callback

from paddle_focal.engine import report
from paddle_focal.engine.hooks.validation_loss import validation_loss_of
from paddle_focal.engine.logs import logger


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

    def callbacks_before(self) -> list[Callback]:
        """The callbacks that must be registered before this one."""
        return [self.validation] if self.validation else []

    def on_epoch_begin(self, status: dict) -> None:
        if distributed.get_rank() == 0:
            self.detections.unlink(missing_ok=True)  # if nothing is detected, ppdet leaves an old file in place

    def on_epoch_end(self, status: dict) -> None:
        config = self.model.cfg
        if status["mode"] != "eval" or distributed.get_rank() != 0 or config.metric != "COCO":
            return
        self.evaluated = True
        if config.get("save_prediction_only", False):
            return
        self.metrics = report.coco_metrics(self.model._metrics[0].get_results())
        logger.info(", ".join(f"{name} {value:.3f}" for name, value in self.metrics.items() if value is not None))
        if self.validation:
            self.metrics.update(self.validation.results)
        report.write_metrics(self.metrics, self.folder / "metrics.json")
        dataset = config.EvalDataset
        image_folder = os.path.join(dataset.dataset_dir, dataset.image_dir or "")
        report.draw_predictions(dataset.get_anno(), image_folder, str(self.detections), self.folder / "predictions.png")
        logger.info("%s: metrics.json, predictions.png", self.folder)
