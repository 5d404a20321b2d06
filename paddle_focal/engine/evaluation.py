"""``tools/eval.py``: evaluate a checkpoint, with PaddleDetection's flags."""

from __future__ import annotations

import os
from pathlib import Path

import paddle
from paddle import distributed
from ppdet.core.workspace import create
from ppdet.engine import Trainer, init_parallel_env
from ppdet.engine.callbacks import Callback
from ppdet.metrics.coco_utils import json_eval_results
from ppdet.slim import build_slim_model

from paddle_focal.engine import report, runtime, weights
from paddle_focal.engine.hooks.validation_loss import validation_loss_of
from paddle_focal.engine.runtime import logger


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
        """What is to be registered before it."""
        return [self.validation] if self.validation else []

    def on_epoch_begin(self, status: dict) -> None:
        if distributed.get_rank() == 0:
            self.detections.unlink(missing_ok=True)  # ppdet leaves an old file where nothing is detected

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


def evaluate(config, path: str) -> None:
    """Evaluate the weights on the validation set; the COCO table goes to the terminal."""
    trainer = Trainer(config, mode="eval")
    evaluation = EvaluationReport(trainer, runtime.output_folder(config))
    trainer.register_callbacks([*evaluation.callbacks_before(), evaluation])
    weights.load_into(trainer, path)
    with paddle.no_grad():
        # Not trainer.evaluate(): it would make every rank wait for the others.
        trainer._eval_with_loader(trainer.loader)


def parse_arguments(arguments: list[str] | None = None):
    """The command line of PaddleDetection's ``tools/eval.py``."""
    parser = runtime.ArgumentParser("Evaluate a detector of PaddleDetection with the losses of paddle_focal.")
    parser.add_argument("--output_eval", help="folder of bbox.json (default: the output folder of the configuration)")
    parser.add_argument("--json_eval", action="store_true", help="evaluate the bbox.json of --output_eval")
    parser.add_argument("--slim_config", help="configuration of PaddleSlim")
    parser.add_argument("--bias", action="store_true", help="add 1 to widths and heights")
    parser.add_argument("--classwise", action="store_true", help="AP of each class, and its curves in bbox_pr_curve/")
    parser.add_argument("--save_prediction_only", action="store_true", help="write bbox.json, compute no AP")
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision")
    return parser.parse_args(arguments)


@runtime.errors_in_words()
def main(arguments: list[str] | None = None) -> None:
    """Run ``tools/eval.py``."""
    flags = parse_arguments(arguments)
    config = runtime.load_config(flags)
    runtime.log_to_file(runtime.output_folder(config) / "eval.log")
    if flags.json_eval:
        json_eval_results(config.metric, json_directory=config.output_eval, dataset=create("EvalDataset")())
        return
    init_parallel_env()
    if flags.slim_config:
        config = build_slim_model(config, flags.slim_config, mode="eval")
    evaluate(config, config.weights)
