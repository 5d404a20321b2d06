"""``paddle-focal infer`` and ``tools/infer.py``: detect objects in images, with PaddleDetection's flags."""

from __future__ import annotations

from paddle_focal.cli.arguments import ArgumentParser, boolean, configured, ending_in_words


def make_parser() -> ArgumentParser:
    """The command line of PaddleDetection's ``tools/infer.py``, without its options for slices."""
    parser = ArgumentParser("Detect objects in images.")
    parser.add_argument("--infer_img", help="an image; takes precedence over --infer_dir")
    parser.add_argument("--infer_dir", help="a folder of images")
    parser.add_argument("--output_dir", default="output", help="folder to write (default: %(default)s)")
    parser.add_argument(
        "--draw_threshold", type=float, default=0.5, help="score from which a box is drawn (default: %(default)s)"
    )
    parser.add_argument("--visualize", type=boolean, default=True, help="draw the boxes (default: true)")
    parser.add_argument("--slim_config", help="configuration of PaddleSlim")
    return parser


@ending_in_words()
def main(arguments: list[str] | None = None) -> None:
    """Run ``tools/infer.py``."""
    flags = make_parser().parse_args(arguments)
    from paddle_focal.engine import runtime
    from paddle_focal.engine.inference import find_images, infer

    with ending_in_words(status=2):
        images = find_images(flags.infer_img, flags.infer_dir)
    with configured(flags) as config:
        config = runtime.compress(config, flags, "test")
        infer(config, images, flags.output_dir, flags.draw_threshold, flags.visualize)
