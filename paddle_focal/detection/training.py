"""``tools/train.py``: train a detector, with PaddleDetection's flags."""

from __future__ import annotations

import os
from pathlib import Path

from paddle import distributed
from ppdet.core.workspace import create
from ppdet.engine import Trainer, init_fleet_env, init_parallel_env, set_random_seed
from ppdet.slim import build_slim_model

from paddle_focal.detection import preflight, runtime
from paddle_focal.detection.checkpoint import Checkpoints, EvaluatedCheckpoints
from paddle_focal.detection.compatibility import save_in
from paddle_focal.detection.early_stop import METRICS, EarlyStop, StopTraining, keep_as_final
from paddle_focal.detection.errors import ToolError
from paddle_focal.detection.evaluation import EvaluationReport, evaluate
from paddle_focal.detection.gamma import ScheduledGamma
from paddle_focal.detection.interruption import Interrupted, SaveOnSignal, SignalWatch, StopOnNonFiniteLoss
from paddle_focal.detection.position import ResumedPosition
from paddle_focal.detection.progress import progress_callbacks
from paddle_focal.detection.run_state import BestModel, MovingAverages, RandomGenerators
from paddle_focal.detection.runtime import logger


def train(config, flags) -> None:
    """Train, then evaluate the final weights unless the last epoch's evaluation already has.

    Raises:
        ToolError: a checkpoint cannot be read or written, or the loss is no number any more.
        Interrupted: by a signal, after a checkpoint was written.
    """
    if config.get("fleet", False):
        init_fleet_env(config.get("find_unused_parameters", False))
    else:
        init_parallel_env()
    if flags.enable_ce:
        set_random_seed(0)

    folder = runtime.output_folder(config)
    with SignalWatch() as watch:
        evaluation = _train(config, flags, folder, watch)
        if watch.received is not None:  # after the last iteration
            raise Interrupted(128 + watch.received)
    if distributed.get_rank() != 0:
        return
    if not evaluation.evaluated and not flags.skip_final_eval:
        _evaluate_final_weights(config, folder)
    logger.info("Trained weights: %s", folder / "model_final.pdparams")


def _train(config, flags, folder: Path, watch: SignalWatch) -> EvaluationReport:
    trainer = Trainer(config, mode="train")
    save_in(trainer, folder)
    evaluation = EvaluationReport(trainer, folder)
    section = config.get("gamma_schedule")
    gamma = None if section is None else ScheduledGamma(trainer, section)
    parts = {
        "normalizer": MovingAverages(trainer.model),
        "random": RandomGenerators(),
        "best_ap": BestModel(trainer),
    }
    if flags.early_stop:
        parts["early_stop"] = EarlyStop(trainer, evaluation, flags.early_stop, flags.early_stop_metric)
    checkpoints = Checkpoints(trainer, folder, parts)

    epochs = iterations = 0
    if flags.resume is not None:
        epochs, iterations = checkpoints.resume(flags.resume)
    if not epochs and not iterations and config.get("pretrain_weights"):
        trainer.load_weights(config.pretrain_weights)

    callbacks = [ResumedPosition(trainer, epochs, iterations)] if epochs or iterations else []
    callbacks += [gamma] if gamma else []
    callbacks += [*evaluation.callbacks_before(), evaluation]
    callbacks += progress_callbacks(trainer, folder, epochs * len(trainer.loader) + iterations, gamma, evaluation)
    callbacks += [parts["early_stop"]] if flags.early_stop else []
    callbacks += [EvaluatedCheckpoints(trainer, checkpoints)]
    callbacks += [StopOnNonFiniteLoss(trainer, folder), SaveOnSignal(trainer, watch, checkpoints, folder)]
    trainer.register_callbacks(callbacks)
    try:
        trainer.train(flags.eval)
    except StopTraining:  # before the callbacks that come after
        checkpoints.add_evaluation()
        trainer._compose_callback.on_train_end(trainer.status)
        keep_as_final(folder, trainer.status["epoch_id"])
    except SystemError as error:  # raised in the midst of whatever runs, by Paddle's handler of SIGCHLD
        if "DataLoader" not in str(error):
            raise
        raise ToolError(
            f"A worker of the data loader died: {' '.join(str(error).split())} Where nobody killed it, memory was most "
            "often too small: lower worker_num or the batch. Go on with --resume auto."
        ) from error
    return evaluation


def _sections_in_use(flags) -> list[str]:
    """The data sets of this run; without --eval it does without a validation set that is not there."""
    has_validation = not flags.skip_final_eval and os.path.exists(_validation_annotations())
    return ["TrainDataset", "EvalDataset"] if flags.eval or has_validation else ["TrainDataset"]


def _validation_annotations() -> str:
    return create("EvalDataset")().get_anno() or ""


def _evaluate_final_weights(config, folder: Path) -> None:
    annotations = _validation_annotations()
    if os.path.exists(annotations):
        evaluate(config, str(folder / "model_final"))
    else:
        logger.warning("The final weights are not evaluated: there is no %s", annotations)


def parse_arguments(arguments: list[str] | None = None):
    """The command line of PaddleDetection's ``tools/train.py``, with ``--skip_final_eval`` and ``--early-stop``."""
    parser = runtime.ArgumentParser("Train a detector of PaddleDetection with the losses of paddle_focal.")
    parser.add_argument(
        "-r",
        "--resume",
        help="checkpoint to go on from, without its ending; auto: the newest whole one, or from the start",
    )
    parser.add_argument("--eval", action="store_true", help="evaluate at every snapshot, and keep the best model")
    parser.add_argument("--skip_final_eval", action="store_true", help="do not evaluate the final weights")
    parser.add_argument("--slim_config", help="configuration of PaddleSlim")
    parser.add_argument("--enable_ce", type=runtime.boolean, default=False, help="seed every random generator with 0")
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision")
    parser.add_argument("--fleet", action="store_true", help="train with paddle.distributed.fleet")
    parser.add_argument(
        "--use_vdl", type=runtime.boolean, nargs="?", const=True, default=False, help="record scalars for VisualDL"
    )
    parser.add_argument("--vdl_log_dir", default="vdl_log_dir/scalar", help="folder of VisualDL (default: %(default)s)")
    parser.add_argument(
        "--use_wandb", type=runtime.boolean, nargs="?", const=True, default=False, help="record to wandb"
    )
    parser.add_argument("--save_prediction_only", action="store_true", help="write bbox.json, compute no AP")
    parser.add_argument("--profiler_options", help='options of the profiler: "key1=value1;key2=value2"')
    parser.add_argument("--save_proposals", action="store_true", help="write the training proposals")
    parser.add_argument("--proposals_path", default="sniper/proposals.json", help="file of the training proposals")
    parser.add_argument(
        "--early-stop", type=int, metavar="PATIENCE", help="stop after so many evaluations without a better value"
    )
    parser.add_argument(
        "--early-stop-metric", choices=METRICS, default="bbox_AP", help="the value (default: %(default)s)"
    )
    flags = parser.parse_args(arguments)
    if flags.early_stop is not None and flags.early_stop < 1:
        parser.error(f"--early-stop must be at least 1, but got {flags.early_stop}")
    if flags.early_stop and not flags.eval:
        parser.error("--early-stop needs --eval: without it there is nothing to compare")
    if flags.early_stop and distributed.get_world_size() > 1:
        parser.error("--early-stop works on one process only: the others would wait for the one that stops")
    return flags


@runtime.errors_in_words()
def main(arguments: list[str] | None = None) -> None:
    """Run ``tools/train.py``."""
    flags = parse_arguments(arguments)
    config = runtime.load_config(flags)
    if flags.slim_config:
        config = build_slim_model(config, flags.slim_config)
        runtime.workspace.merge_config(flags.opt)
    if distributed.get_rank() == 0:
        runtime.log_to_file(runtime.output_folder(config) / "train.log")
    preflight.stop_on_errors(preflight.check_data(config, _sections_in_use(flags)))
    train(config, flags)
