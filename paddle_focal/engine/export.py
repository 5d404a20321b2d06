"""Exporting a checkpoint as a model for ``paddle.inference`` or ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

from ppdet.engine import Trainer

from paddle_focal.detection.compatibility import exportable
from paddle_focal.engine import class_names, onnx, weights

FORMATS = ("paddle", "onnx")


def export(config, output_dir: str, format: str = "paddle") -> Path:
    """Write the model with its weights, and ``infer_cfg.yml``, which says how images are prepared.

    Args:
        config: the configuration, whose ``weights`` are loaded.
        output_dir: where a folder with the configuration's name is written.
        format: 'paddle' for ``paddle.inference``, 'onnx' for ONNX Runtime.

    Returns:
        Path: that folder.

    Raises:
        ToolError: the model cannot be written in this format, or its classes have no names.
    """
    if format == "onnx":
        onnx.check_requirements()
    trainer = Trainer(config, mode="test")
    class_names.settle(config, trainer.dataset)
    weights.load_into(trainer, config.weights)
    folder = Path(output_dir, config.filename)
    if format == "onnx":
        onnx.export(trainer, folder)
    else:
        with exportable():
            trainer.export(output_dir)
    return folder
