"""Weights that are read without running what they name, and are those of the model.

``paddle.load`` unpickles, and a pickle may call any Python function. What Paddle saves of weights and optimizers calls
those few that put arrays together, so the tools of this package let ``paddle.load`` call these and no others.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import paddle
from paddle import nn
from ppdet.utils.checkpoint import is_url
from ppdet.utils.download import get_weights_path

from paddle_focal.detection.errors import ToolError

#: NumPy's functions are in ``numpy.core`` up to version 1 and in ``numpy._core`` from version 2 on.
_ALLOWED = {
    ("_codecs", "encode"),
    ("builtins", "tuple"),
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}


def restrict() -> None:
    """From now on, ``paddle.load`` raises a ToolError for a file that would call another function."""
    paddle.framework.io.pickle = _RestrictedPickle()


class _RestrictedPickle:
    """The module ``pickle`` with a ``load`` that is safe."""

    def __getattr__(self, name: str) -> Any:
        return getattr(pickle, name)

    def load(self, file: BinaryIO, **options) -> Any:
        return _Unpickler(file, **options).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, **options) -> None:
        super().__init__(file, **options)
        self._name = getattr(file, "name", "the file of the weights")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise ToolError(
                f"{self._name} would call {module}.{name} when it is loaded, which weights do not need. If you know "
                "where this file comes from, repeat the command with --trust-weights."
            )
        return super().find_class(module, name)


def load_into(trainer, weights: str | None) -> None:
    """Load the weights of a trainer of ppdet, unless PaddleSlim already has."""
    if not trainer.is_loaded_weights:
        load(trainer.model, weights)


def load(model: nn.Layer, weights: str | None) -> None:
    """Load all weights of a model; ppdet's own ``load_weights`` keeps random ones where the file has none that fit.

    Args:
        model: gets them.
        weights: path, with or without ending, or URL.

    Raises:
        ToolError: no weights are named, they are not there, cannot be read, or are not those of the model.
    """
    if not weights:
        raise ToolError("no weights: name a checkpoint with -o weights=FILE")
    path = Path(get_weights_path(weights) if is_url(weights) else weights)
    path = path if path.suffix == ".pdparams" else path.with_name(path.name + ".pdparams")
    if not path.is_file():
        raise ToolError(f"no such weights: {path}; name a checkpoint with -o weights=FILE")
    state = read(path)
    if wrong := misfits(model, state):
        raise ToolError(f"{path} is of another model than the configuration's: {wrong}")
    model.set_state_dict(state)


def read(path: Path) -> dict[str, Any]:
    """The tensors of a file by name; raises ToolError if it cannot be read."""
    try:
        return paddle.load(str(path))
    except ToolError:
        raise
    except Exception as error:  # of many types: whatever unpickling a damaged file comes to
        raise ToolError(f"{path} cannot be read: {error}") from error


def misfits(model: nn.Layer, state: dict[str, Any]) -> str | None:
    """What of a model is not in the tensors, or in another shape; None if nothing."""
    own = model.state_dict()
    wrong = [f"{key} is missing" for key in own if key not in state]
    wrong += [
        f"{key} has shape {list(state[key].shape)} instead of {list(tensor.shape)}"
        for key, tensor in own.items()
        if key in state and list(state[key].shape) != list(tensor.shape)
    ]
    if not wrong:
        return None
    some = "; ".join(wrong[:3]) + ("; ..." if len(wrong) > 3 else "")
    return f"of {len(own)} tensors, {len(wrong)} do not fit: {some}"
