"""``paddle-focal train`` and ``tools/train.py``: train a detector, with PaddleDetection's flags."""

from __future__ import annotations

from paddle import distributed

from paddle_focal.cli.arguments import ArgumentParser, boolean, configured, ending_in_words
from paddle_focal.data.checks import preflight
from paddle_focal.engine import logs, pretrained, runtime
from paddle_focal.engine.hooks.early_stop import METRICS
from paddle_focal.engine.training import sections_in_use, train


def parse_arguments(arguments: list[str] | None = None):
    """The command line of PaddleDetection's ``tools/train.py``, with ``--skip_final_eval`` and ``--early-stop``."""
    parser = ArgumentParser("Train a detector of PaddleDetection with the losses of paddle_focal.")
    parser.add_argument(
        "-r",
        "--resume",
        help="checkpoint to go on from, without its ending; auto: the newest whole one, or from the start",
    )
    parser.add_argument("--eval", action="store_true", help="evaluate at every snapshot, and keep the best model")
    parser.add_argument("--skip_final_eval", action="store_true", help="do not evaluate the final weights")
    parser.add_argument("--slim_config", help="configuration of PaddleSlim")
    parser.add_argument("--enable_ce", type=boolean, default=False, help="seed every random generator with 0")
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
    flags = parser.parse_args(arguments)
    if flags.early_stop is not None and flags.early_stop < 1:
        parser.error(f"--early-stop must be at least 1, but got {flags.early_stop}")
    if flags.early_stop and not flags.eval:
        parser.error("--early-stop needs --eval: without it there is nothing to compare")
    if flags.early_stop and distributed.get_world_size() > 1:
        parser.error("--early-stop works on one process only: the others would wait for the one that stops")
    return flags


@ending_in_words()
def main(arguments: list[str] | None = None) -> None:
    """Run ``tools/train.py``."""
    flags = parse_arguments(arguments)
    with configured(flags) as config:
        config = runtime.compress(config, flags, "train")
        if distributed.get_rank() == 0:
            logs.log_to_file(runtime.output_folder(config) / "train.log")
        if flags.resume is None:
            pretrained.check(config)
        preflight.stop_on_errors(preflight.check_data(config, sections_in_use(flags)))
        train(config, flags)
