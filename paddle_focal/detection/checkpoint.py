"""What a checkpoint of ppdet leaves out, in a file beside it."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import paddle
from paddle import distributed, nn
from ppdet.engine import callbacks

from paddle_focal.detection.runtime import logger
from paddle_focal.files import write_whole
from paddle_focal.normalizer import ForegroundNormalizer


def state_path(checkpoint: str | Path) -> Path:
    """``model_final.state.json`` of ``model_final`` or ``model_final.pdparams``."""
    checkpoint = Path(checkpoint)
    if checkpoint.suffix in (".pdparams", ".pdopt", ".pdema"):
        checkpoint = checkpoint.with_suffix("")
    return checkpoint.with_name(f"{checkpoint.name}.state.json")


def save_state_with_checkpoints(model: nn.Layer) -> None:
    """Give every checkpoint that ppdet writes from now on its state file; a model without a state gets none."""
    save_model = callbacks.save_model

    @functools.wraps(save_model)
    def save(weights, optimizer, save_dir, save_name, *arguments, **options):
        save_model(weights, optimizer, save_dir, save_name, *arguments, **options)
        averages = {name: float(layer.average) for name, layer in _moving_averages(model).items()}
        if averages and distributed.get_rank() == 0:
            text = json.dumps({"normalizer": averages}, indent=2) + "\n"
            write_whole(state_path(Path(save_dir, save_name)), lambda partial: partial.write_text(text))

    callbacks.save_model = save


def load_state(model: nn.Layer, checkpoint: str | Path) -> None:
    """Restore what the state file of a checkpoint holds; what it does not hold starts anew, with a line in the log."""
    path = state_path(checkpoint)
    averages = json.loads(path.read_text())["normalizer"] if path.exists() else {}
    for name, layer in _moving_averages(model).items():
        if name in averages:
            layer.average = paddle.to_tensor(averages[name], dtype="float32")
        else:
            logger.info("%s has no moving average of %s: it starts anew at %g", path, name, float(layer.average))


def _moving_averages(model: nn.Layer) -> dict[str, ForegroundNormalizer]:
    return {
        name: layer
        for name, layer in model.named_sublayers()
        if isinstance(layer, ForegroundNormalizer) and layer.mode == "ema"
    }
