"""``tools/export_model.py``: a checkpoint as a model for ``paddle.inference``, with PaddleDetection's flags."""

from __future__ import annotations

from pathlib import Path

from ppdet.engine import Trainer
from ppdet.slim import build_slim_model

from paddle_focal.detection.compatibility import exportable
from paddle_focal.engine import runtime, weights


def export(config, output_dir: str) -> Path:
    """Write the model with its weights, and ``infer_cfg.yml``, which says how images are prepared.

    Args:
        config: whose ``weights`` are loaded.
        output_dir: gets a folder of the configuration's name.

    Returns:
        Path: that folder.
    """
    trainer = Trainer(config, mode="test")
    weights.load_into(trainer, config.weights)
    with exportable():
        trainer.export(output_dir)
    return Path(output_dir, config.filename)


def parse_arguments(arguments: list[str] | None = None):
    """The command line of PaddleDetection's ``tools/export_model.py``."""
    parser = runtime.ArgumentParser("Export a detector of PaddleDetection for paddle.inference.")
    parser.add_argument("--output_dir", default="output_inference", help="folder to write (default: %(default)s)")
    parser.add_argument("--slim_config", help="configuration of PaddleSlim")
    return parser.parse_args(arguments)


@runtime.errors_in_words()
def main(arguments: list[str] | None = None) -> None:
    """Run ``tools/export_model.py``."""
    flags = parse_arguments(arguments)
    config = runtime.load_config(flags)
    if flags.slim_config:
        config = build_slim_model(config, flags.slim_config, mode="test")
    export(config, flags.output_dir)
