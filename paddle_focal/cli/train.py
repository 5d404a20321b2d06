"""``paddle-focal train`` and ``tools/train.py``: train a detector, with PaddleDetection's flags."""

from __future__ import annotations

import argparse
import os
import time

from paddle_focal.cli.arguments import ArgumentParser, at_least, boolean, configured, ending_in_words
from paddle_focal.cli.summary import summary

METRICS = ("bbox_AP", "bbox_mAP", "val_loss")


def make_parser() -> ArgumentParser:
    """The command line of PaddleDetection's ``tools/train.py``, with more."""
    parser = ArgumentParser("Train a detector of PaddleDetection with the losses of paddle_focal.")
    parser.add_argument(
        "-r",
        "--resume",
        help="checkpoint to resume from, without its ending; auto: the newest complete one, or from the start",
    )
    parser.add_argument("--eval", action="store_true", help="evaluate at every snapshot, and keep the best model")
    parser.add_argument("--skip-final-eval", action="store_true", help="do not evaluate the final weights")
    parser.add_argument("--seed", type=at_least(0), metavar="N", help="seed of every random generator")
    parser.add_argument("--slim_config", help="configuration of PaddleSlim")
    parser.add_argument("--enable_ce", type=boolean, default=False, help="true: --seed 0")
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision")
    parser.add_argument("--fleet", action="store_true", help="train with paddle.distributed.fleet")
    parser.add_argument(
        "--use_vdl", type=boolean, nargs="?", const=True, default=False, help="record scalars for VisualDL"
    )
    parser.add_argument("--vdl_log_dir", default="vdl_log_dir/scalar", help="folder of VisualDL (default: %(default)s)")
    parser.add_argument("--use_wandb", type=boolean, nargs="?", const=True, default=False, help="record to wandb")
    parser.add_argument("--save_prediction_only", action="store_true", help="write bbox.json, compute no AP")
    parser.add_argument("--profiler_options", help='options of the profiler: "key1=value1;key2=value2"')
    parser.add_argument("--save_proposals", action="store_true", help="write the training proposals")
    parser.add_argument("--proposals_path", default="sniper/proposals.json", help="file of the training proposals")
    parser.add_argument(
        "--early-stop", type=int, metavar="PATIENCE", help="stop after so many evaluations without a better value"
    )
    parser.add_argument(
        "--early-stop-metric", choices=METRICS, help="the value (default: bbox_AP, or bbox_mAP of VOC's metric)"
    )
    return parser


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser()
    flags = parser.parse_args(arguments)
    if flags.seed is None and flags.enable_ce:
        flags.seed = 0
    if flags.early_stop is not None and flags.early_stop < 1:
        parser.error(f"--early-stop must be at least 1, but got {flags.early_stop}")
    if flags.early_stop and not flags.eval:
        parser.error("--early-stop needs --eval: without it there is nothing to compare")
    if flags.early_stop and int(os.getenv("PADDLE_TRAINERS_NUM", "1")) > 1:
        parser.error("--early-stop works on one process only: the others would wait for the one that stops")
    return flags


@ending_in_words()
def main(arguments: list[str] | None = None) -> None:
    """Run ``tools/train.py``."""
    flags = parse_arguments(arguments)
    from paddle_focal.data.checks import preflight
    from paddle_focal.engine import logs, pretrained, runtime
    from paddle_focal.engine.training import sections_in_use, train

    # isort: split
    from paddle import distributed

    start = time.time()
    with configured(flags) as config:
        config = runtime.compress(config, flags, "train")
        if distributed.get_rank() == 0:
            logs.log_to_file(runtime.output_folder(config) / "train.log")
        if flags.resume is None:
            pretrained.check(config, downloaded=False)
        preflight.stop_on_errors(preflight.check_data(config, sections_in_use(flags)))
        if flags.resume is None:
            pretrained.check(config, downloaded=True)
        train(config, flags)
        if distributed.get_rank() == 0:
            print(summary(flags, runtime.output_folder(config), start))
