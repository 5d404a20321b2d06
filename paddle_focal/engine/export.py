"""Exporting a checkpoint as a model for ``paddle.inference``."""

from __future__ import annotations

from pathlib import Path

from ppdet.engine import Trainer

from paddle_focal.detection.compatibility import exportable
from paddle_focal.engine import weights


def export(config, output_dir: str) -> Path:
    """Write the model with its weights, and ``infer_cfg.yml``, which says how images are prepared.

    Args:
        config: the configuration, whose ``weights`` are loaded.
        output_dir: where a folder with the configuration's name is written.

    Returns:
        Path: that folder.
    """
    trainer = Trainer(config, mode="test")
    weights.load_into(trainer, config.weights)
    with exportable():
        trainer.export(output_dir)
    return Path(output_dir, config.filename)
