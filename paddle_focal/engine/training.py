"""A training run: what PaddleDetection's trainer does, with the hooks of this package."""

from __future__ import annotations

import os
from pathlib import Path

from paddle import distributed
from ppdet.core.workspace import create
from ppdet.engine import Trainer, set_random_seed

from paddle_focal.detection.compatibility import save_in
from paddle_focal.engine import checkpoint, pretrained, runtime
from paddle_focal.engine.checkpoint import Checkpoints, EvaluatedCheckpoints
from paddle_focal.engine.evaluation import evaluate
from paddle_focal.engine.hooks.early_stop import EarlyStop, StopTraining, keep_as_final
from paddle_focal.engine.hooks.evaluation_report import EvaluationReport
from paddle_focal.engine.hooks.interruption import Interrupted, SaveOnSignal, SignalWatch, StopOnNonFiniteLoss
from paddle_focal.engine.hooks.progress import progress_callbacks
from paddle_focal.engine.hooks.resumed_position import ResumedPosition
from paddle_focal.engine.hooks.scheduled_gamma import ScheduledGamma
from paddle_focal.engine.logs import logger
from paddle_focal.engine.reading import ReadingError, guarded
from paddle_focal.engine.run_state import BestModel, MovingAverages, RandomGenerators
from paddle_focal.engine.settings import Settings, take_configured_rate
from paddle_focal.errors import ToolError


def train(config, flags) -> None:
    """Train, then evaluate the final weights unless the last epoch's evaluation already has.

    Raises:
        ToolError: a checkpoint cannot be read or written, the weights to start from do not fit, data cannot be read,
            or the loss is NaN or infinite.
        Interrupted: a signal came; a checkpoint has been written.
    """
    runtime.init_ranks(config)
    if flags.seed is not None:
        set_random_seed(flags.seed)

    folder = runtime.output_folder(config)
    try:
        with SignalWatch() as watch, guarded(watch.while_waiting):
            evaluation = _train(config, flags, folder, watch)
            if watch.received is not None:  # after the last iteration
                raise Interrupted(128 + watch.received)
    except ReadingError as error:
        newest = checkpoint.newest(folder)
        how = " Go on from there with --resume auto." if newest else ""
        raise ToolError(f"{error}\n{checkpoint.in_words(newest)}{how}", error.details) from error
    if distributed.get_rank() != 0:
        return
    if not evaluation.evaluated and not flags.skip_final_eval:
        _evaluate_final_weights(config, folder)
    logger.info("Trained weights: %s", folder / "model_final.pdparams")


def _train(config, flags, folder: Path, watch: SignalWatch) -> EvaluationReport:
    settings = Settings(config, vars(flags).keys() - {"amp"})
    trainer = Trainer(config, mode="train")
    save_in(trainer, folder)
    evaluation = EvaluationReport(trainer, folder)
    section = config.get("gamma_schedule")
    gamma = None if section is None else ScheduledGamma(trainer, section)
    parts = {
        "normalizer": MovingAverages(trainer.model),
        "random": RandomGenerators(),
        "best_ap": BestModel(trainer),
        "settings": settings,
    }
    if flags.early_stop:
        parts["early_stop"] = EarlyStop(trainer, evaluation, flags.early_stop, flags.early_stop_metric)
    checkpoints = Checkpoints(trainer, folder, parts)

    epochs = iterations = 0
    if flags.resume is not None:
        epochs, iterations = checkpoints.resume(flags.resume)
    if epochs and epochs >= config.get("epoch", 0):
        logger.info("All %d epochs are done: nothing is left to train", epochs)
    if epochs or iterations:
        take_configured_rate(trainer.lr)
    elif config.get("pretrain_weights"):
        pretrained.load_into(trainer, config.pretrain_weights)

    callbacks = [ResumedPosition(trainer, epochs, iterations)] if epochs or iterations else []
    callbacks += [gamma] if gamma else []
    callbacks += [*evaluation.callbacks_before(), evaluation]
    callbacks += progress_callbacks(trainer, folder, epochs * len(trainer.loader) + iterations, gamma, evaluation)
    callbacks += [parts["early_stop"]] if flags.early_stop else []
    callbacks += [EvaluatedCheckpoints(trainer, checkpoints)]
    save_on_signal = SaveOnSignal(trainer, watch, checkpoints, folder)
    watch.leave = save_on_signal.leave
    trainer.register_callbacks([*callbacks, StopOnNonFiniteLoss(trainer, folder), save_on_signal])
    try:
        with checkpoints.in_place_of_ppdets():
            trainer.train(flags.eval)
    except StopTraining:  # raised before the callbacks that follow have run
        checkpoints.add_evaluation()
        trainer._compose_callback.on_train_end(trainer.status)
        keep_as_final(folder, trainer.status["epoch_id"])
    return evaluation


def sections_in_use(flags) -> list[str]:
    """The data sets of this run; without --eval, a validation set that does not exist is left out, with a warning."""
    if flags.eval:
        return ["TrainDataset", "EvalDataset"]
    if flags.skip_final_eval:
        return ["TrainDataset"]
    annotations = _validation_annotations()
    if os.path.exists(annotations):
        return ["TrainDataset", "EvalDataset"]
    logger.warning("The final weights will not be evaluated: there is no %s", annotations)
    return ["TrainDataset"]


def _validation_annotations() -> str:
    return create("EvalDataset")().get_anno() or ""


def _evaluate_final_weights(config, folder: Path) -> None:
    annotations = _validation_annotations()
    if os.path.exists(annotations):
        evaluate(config, str(folder / "model_final"))
    else:
        logger.warning("The final weights are not evaluated: there is no %s", annotations)
