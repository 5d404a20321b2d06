"""``paddle-focal analyze`` and ``tools/analyze.py``: show what focal loss does to a trained model and its data."""

from __future__ import annotations

from paddle_focal.cli.arguments import ArgumentParser, at_least, configured, ending_in_words

DESCRIPTION = """Show what focal loss does to a trained RetinaNet on its data, as figure 4 of arXiv:1708.02002.

The images go through the transforms of evaluation, without augmentation. Writes analysis.json, loss_distribution.png
and hardest_images.png into the output folder of the configuration, and prints a summary."""


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(DESCRIPTION)
    parser.add_argument(
        "--dataset", choices=["train", "eval"], default="train", help="whose images (default: %(default)s)"
    )
    parser.add_argument(
        "--images", type=at_least(1), default=200, metavar="N", help="at most, evenly spaced (default: %(default)s)"
    )
    return parser


@ending_in_words()
def main(arguments: list[str] | None = None) -> None:
    """Run ``tools/analyze.py``."""
    flags = make_parser().parse_args(arguments)
    from paddle_focal.analysis.analyze import analyze

    with configured(flags) as config:
        print(f"\n{analyze(config, f'{flags.dataset.capitalize()}Dataset', flags.images)}")
