"""``paddle-focal export`` and ``tools/export_model.py``: write a model for ``paddle.inference`` or ONNX Runtime."""

from __future__ import annotations

from paddle_focal.cli.arguments import ArgumentParser, configured, ending_in_words

FORMATS = ("paddle", "onnx")


def make_parser() -> ArgumentParser:
    """The command line of PaddleDetection's ``tools/export_model.py``, and the format."""
    parser = ArgumentParser("Export a detector of PaddleDetection for paddle.inference or ONNX Runtime.")
    parser.add_argument("--output_dir", default="output_inference", help="folder to write (default: %(default)s)")
    parser.add_argument(
        "--format", choices=FORMATS, default="paddle", help="format of the exported model (default: %(default)s)"
    )
    parser.add_argument("--slim_config", help="configuration of PaddleSlim")
    return parser


@ending_in_words()
def main(arguments: list[str] | None = None) -> None:
    """Run ``tools/export_model.py``."""
    flags = make_parser().parse_args(arguments)
    from paddle_focal.engine import runtime
    from paddle_focal.engine.export import export

    with configured(flags) as config:
        export(runtime.compress(config, flags, "test"), flags.output_dir, flags.format)
