"""``paddle-focal analyze`` and ``tools/analyze.py``: show what focal loss does to a trained model and its data."""

from __future__ import annotations

from argparse import ArgumentTypeError

from paddle_focal.analysis.analyze import analyze
from paddle_focal.cli.arguments import ArgumentParser, configured, ending_in_words

DESCRIPTION = """Show what focal loss does to a trained RetinaNet on its data, as figure 4 of arXiv:1708.02002.

The images go through the transforms of evaluation, without augmentation. Writes analysis.json, loss_distribution.png
and hardest_images.png into the output folder of the configuration, and prints a summary."""


def parse_arguments(arguments: list[str] | None = None):
    parser = ArgumentParser(DESCRIPTION)
    parser.add_argument(
        "--dataset", choices=["train", "eval"], default="train", help="whose images (default: %(default)s)"
    )
    parser.add_argument(
        "--images", type=_positive, default=200, metavar="N", help="at most, evenly spaced (default: %(default)s)"
    )
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"must be an integer >= 1, but got {text!r}")
    return int(text)


@ending_in_words()
def main(arguments: list[str] | None = None) -> None:
    """Run ``tools/analyze.py``."""
    flags = parse_arguments(arguments)
    with configured(flags) as config:
        print(f"\n{analyze(config, f'{flags.dataset.capitalize()}Dataset', flags.images)}")
