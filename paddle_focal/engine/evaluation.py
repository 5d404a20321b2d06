"""Evaluation of a checkpoint."""

from __future__ import annotations

import paddle
from ppdet.core.workspace import create
from ppdet.engine import Trainer
from ppdet.metrics.coco_utils import json_eval_results

from paddle_focal.engine import runtime, weights
from paddle_focal.engine.hooks.evaluation_report import EvaluationReport
from paddle_focal.engine.reading import guarded


def evaluate(config, path: str) -> None:
    """Evaluate the weights on the validation set; the COCO table goes to the terminal.

    Raises:
        ToolError: the weights do not fit, or data cannot be read.
    """
    with guarded(), paddle.no_grad():
        trainer = Trainer(config, mode="eval")
        evaluation = EvaluationReport(trainer, runtime.output_folder(config))
        trainer.register_callbacks([*evaluation.callbacks_before(), evaluation])
        weights.load_into(trainer, path)
        # Not trainer.evaluate(): it would make every rank wait for the others.
        trainer._eval_with_loader(trainer.loader)


def evaluate_detections(config) -> None:
    """Evaluate the ``bbox.json`` in the folder ``output_eval``; the COCO table goes to the terminal."""
    json_eval_results(config.metric, json_directory=config.output_eval, dataset=create("EvalDataset")())
