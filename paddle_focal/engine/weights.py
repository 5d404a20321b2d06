"""Reads weights without running the code that they name, and checks that they fit the model.

``paddle.load`` unpickles, and a pickle may call any Python function. Paddle's files of weights and optimizers call only
the few functions that build arrays. The tools of this package make ``paddle.load`` call stand-ins for these functions
and nothing else: NumPy's own functions would let a pickle write outside an array.
"""

from __future__ import annotations

import codecs
import contextlib
import pickle
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from unittest.mock import patch

import numpy as np
import paddle
from paddle import nn
from ppdet.utils.checkpoint import is_url
from ppdet.utils.download import get_weights_path

from paddle_focal.errors import ToolError


class _Dtype:
    """Stands in for ``numpy.dtype``, whose size a pickle may set."""

    def __init__(self, name: str, *_) -> None:
        self.own = np.dtype(name)
        if self.own.kind not in "biufc":
            raise ValueError(f"the dtype {name!r} is none of numbers")

    def __setstate__(self, state: tuple) -> None:
        self.own = self.own.newbyteorder(state[1])


class _Array(np.ndarray):
    """Stands in for ``numpy.ndarray``; it is filled once, and its memory cannot be shared."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        super().__setstate__((1, shape, dtype.own, is_fortran, data))


def _array(*_) -> _Array:
    return np.ndarray.__new__(_Array, 0, "uint8")


def _scalar(dtype: _Dtype, data: bytes) -> np.generic:
    return np.frombuffer(data, dtype.own)[0]


#: What a pickle of weights may name. Protocol 2 writes ``__builtin__``; NumPy before version 2 writes ``numpy.core``.
_STAND_INS = {
    ("_codecs", "encode"): codecs.encode,
    ("builtins", "tuple"): tuple,
    ("__builtin__", "tuple"): tuple,
    ("__builtin__", "bytes"): bytes,
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): None,  # only named, as the type to build
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}


@contextlib.contextmanager
def restricted(is_trusted: bool = False) -> Iterator[None]:
    """Make ``paddle.load`` raise a ToolError for a file that would call anything else, unless files are trusted."""
    with contextlib.nullcontext() if is_trusted else patch.object(paddle.framework.io, "pickle", _RestrictedPickle()):
        yield


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
        if (module, name) not in _STAND_INS:
            raise ToolError(
                f"{self._name} would call {module}.{name} when it is loaded, which weights do not need: if you know "
                "where this file comes from, repeat the command with --trust-weights"
            )
        return _STAND_INS[module, name]


def load_into(trainer, weights: str | None) -> None:
    """Load weights into ppdet's trainer, unless PaddleSlim has already done so."""
    if not trainer.is_loaded_weights:
        load(trainer.model, weights)


def load(model: nn.Layer, weights: str | None) -> None:
    """Load all weights of a model; ppdet's own ``load_weights`` keeps random ones where the file has none that fit.

    Args:
        model: receives the weights, in its own dtypes.
        weights: path, with or without ending, or URL.

    Raises:
        ToolError: no weights are named, or they are missing, cannot be read, or do not fit the model.
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
    model.set_state_dict({key: state[key].astype(own.dtype) for key, own in model.state_dict().items()})


def read(path: Path) -> dict[str, Any]:
    """The tensors of a file by name; raises ToolError if it cannot be read, or has something else."""
    try:
        state = paddle.load(str(path))
    except ToolError:
        raise
    except Exception as error:  # unpickling a damaged file raises errors of many types
        raise ToolError(f"{path} cannot be read: {error}") from error
    if not isinstance(state, dict):
        raise ToolError(f"{path} has no tensors by name: what is in it is of the type {type(state).__name__}")
    return state


def misfits(model: nn.Layer, state: dict[str, Any]) -> str | None:
    """Which tensors of a model are missing, are not tensors or have another shape; None if all fit."""
    own = model.state_dict()
    wrong = [f"{key} is missing" for key in own if key not in state]
    for key, tensor in own.items():
        if key in state and not paddle.is_tensor(state[key]):
            wrong.append(f"{key} is no tensor")
        elif key in state and list(state[key].shape) != list(tensor.shape):
            wrong.append(f"{key} has shape {list(state[key].shape)} instead of {list(tensor.shape)}")
    if not wrong:
        return None
    some = "; ".join(wrong[:3]) + ("; ..." if len(wrong) > 3 else "")
    return f"of {len(own)} tensors, {len(wrong)} do not fit: {some}"
