"""Ends a training run that no longer gets better."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from ppdet.engine.callbacks import Callback

from paddle_focal.engine.hooks.evaluation_report import EvaluationReport
from paddle_focal.engine.logs import logger
from paddle_focal.errors import ToolError
from paddle_focal.files import write_whole

#: The values that can be watched, each with the sign that makes a greater value better.
METRICS = {"bbox_AP": 1, "bbox_mAP": 1, "val_loss": -1}
#: For each of PaddleDetection's metrics, the value that is watched unless another one is named.
_MAIN = {"COCO": "bbox_AP", "VOC": "bbox_mAP"}


class StopTraining(Exception):  # noqa: N818 - it is no error
    """Leaves ppdet's loop over the epochs, which has no other way out."""


class EarlyStop(Callback):
    """Raises StopTraining after ``patience`` evaluations in a row without a better value.

    Args:
        trainer: ppdet's.
        evaluation: the callback whose metrics are watched; must be registered before this one.
        patience: a number of evaluations.
        metric: 'bbox_AP' of COCO's metric, 'bbox_mAP' of VOC's, or 'val_loss'; None for the one of the
            configuration's metric.

    Raises:
        ToolError: there will be no such value.
    """

    def __init__(self, trainer, evaluation: EvaluationReport, patience: int, metric: str | None) -> None:
        super().__init__(trainer)
        main = _MAIN.get(trainer.cfg.metric)
        if metric == "val_loss" and evaluation.validation is None:
            raise ToolError(
                "--early-stop-metric val_loss needs FocalRetinaHead with is_inference_output: true; "
                "other heads have no losses of validation images"
            )
        if main is None or metric not in (None, main, "val_loss"):
            raise ToolError(
                f"--early-stop cannot watch {metric or 'anything'} with metric: {trainer.cfg.metric}; accepted are "
                + (f"{main} and val_loss" if main else f"the metrics {' and '.join(_MAIN)}")
            )
        metric = metric or main
        self._evaluation, self._patience, self._metric = evaluation, patience, metric
        self._best, self._best_epoch, self._waited = -math.inf, 0, 0

    def state_dict(self) -> dict[str, float]:
        return {"metric": self._metric, "best": self._best, "best_epoch": self._best_epoch, "waited": self._waited}

    def load_state_dict(self, state: dict[str, float] | None) -> None:
        """Continue counting, or start anew if the state is that of another metric."""
        if state and state["metric"] == self._metric:
            self._best, self._best_epoch, self._waited = state["best"], state["best_epoch"], state["waited"]

    def on_epoch_end(self, status: dict) -> None:
        if status["mode"] != "eval":
            return
        epoch, value = status["epoch_id"] + 1, self._evaluation.metrics[self._metric]
        score = -math.inf if value is None else METRICS[self._metric] * value
        if score > self._best:
            self._best, self._best_epoch, self._waited = score, epoch, 0
            return
        self._waited += 1
        if self._waited < self._patience:
            return
        best = f"{METRICS[self._metric] * self._best:.4f}" if self._best > -math.inf else "none"
        logger.info(
            "Stopped after epoch %d: no better %s for %d evaluations; the best was %s, after epoch %d",
            epoch,
            self._metric,
            self._waited,
            best,
            self._best_epoch,
        )
        raise StopTraining


def keep_as_final(folder: Path, epoch_id: int) -> None:
    """Makes the checkpoint of an epoch the final one as well."""
    for path in sorted(folder.glob(f"{epoch_id}.*")):  # the state file last
        final = folder / path.name.replace(str(epoch_id), "model_final", 1)
        write_whole(final, lambda partial, path=path: shutil.copy(path, partial))
