"""``paddle-focal eval`` and ``tools/eval.py``: evaluate a checkpoint, with PaddleDetection's flags."""

from __future__ import annotations

from paddle_focal.cli.arguments import ArgumentParser, configured, ending_in_words


def make_parser() -> ArgumentParser:
    """The command line of PaddleDetection's ``tools/eval.py``."""
    parser = ArgumentParser("Evaluate a detector of PaddleDetection with the losses of paddle_focal.")
    parser.add_argument("--output_eval", help="folder of bbox.json (default: the output folder of the configuration)")
    parser.add_argument("--json_eval", action="store_true", help="evaluate the bbox.json of --output_eval")
    parser.add_argument("--slim_config", help="configuration of PaddleSlim")
    parser.add_argument("--bias", action="store_true", help="add 1 to widths and heights")
    parser.add_argument("--classwise", action="store_true", help="AP of each class, and its curves in bbox_pr_curve/")
    parser.add_argument("--save_prediction_only", action="store_true", help="write bbox.json, compute no AP")
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision")
    return parser


@ending_in_words()
def main(arguments: list[str] | None = None) -> None:
    """Run ``tools/eval.py``."""
    flags = make_parser().parse_args(arguments)
    from paddle_focal.engine import logs, runtime
    from paddle_focal.engine.evaluation import evaluate, evaluate_detections

    with configured(flags) as config:
        logs.log_to_file(runtime.output_folder(config) / "eval.log")
        if flags.json_eval:
            evaluate_detections(config)
            return
        runtime.init_ranks(config)
        config = runtime.compress(config, flags, "eval")
        evaluate(config, config.weights)
