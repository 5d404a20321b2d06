"""Compose a detection data set in COCO format from scikit-learn's handwritten digits.

The 1,797 scans of real handwriting that ship with scikit-learn (UCI "Optical Recognition of Handwritten Digits") are
scaled, tinted and scattered over noisy canvases. Training and validation images use different scans. The same arguments
give the same bytes.

    paddle-focal make-digits --output dataset/digits
"""

from __future__ import annotations

import argparse

from paddle_focal.cli.arguments import Parser, ending_in_words


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_argument("--output", default="dataset/digits", help="folder to write (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder if it exists")
    parser.add_argument("--train-images", type=int, default=800, metavar="N", help="default: %(default)s")
    parser.add_argument("--val-images", type=int, default=200, metavar="N", help="default: %(default)s")
    parser.add_argument("--image-size", type=int, default=96, metavar="PIXELS", help="default: %(default)s")
    parser.add_argument(
        "--digit-size", type=int, nargs=2, default=[20, 44], metavar="PIXELS", help="smallest and largest side"
    )
    parser.add_argument(
        "--digits-per-image", type=int, nargs=2, default=[2, 6], metavar="N", help="fewest and most digits drawn"
    )
    parser.add_argument(
        "--imbalance", type=float, default=1.0, help="how many times more frequent digit 0 is than digit 9"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.train_images < 1 or options.val_images < 1:
        parser.error("--train-images and --val-images must be at least 1")
    if not 8 <= options.digit_size[0] <= options.digit_size[1] <= options.image_size:
        parser.error("--digit-size must be two numbers with 8 <= smallest <= largest <= --image-size")
    if not 0 <= options.digits_per_image[0] <= options.digits_per_image[1]:
        parser.error("--digits-per-image must be two numbers with 0 <= fewest <= most")
    if not options.imbalance >= 1:
        parser.error("--imbalance must be at least 1")
    return options


@ending_in_words()
def main(arguments: list[str] | None = None) -> None:
    """Run ``tools/make_digits.py``."""
    options = parse_arguments(arguments)
    from paddle_focal.data.digits import make_digits

    make_digits(options)
