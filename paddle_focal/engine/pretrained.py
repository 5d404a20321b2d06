"""The weights that a training starts from: found, read and fitted, or an error in words.

Which tensors fit is ppdet's decision: a file may hold a whole detector or only its backbone, with or without the prefix
of the backbone's name. What ppdet leaves to a traceback, or to nobody's notice, is said here.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import paddle
from ppdet.utils import checkpoint

from paddle_focal.engine import weights
from paddle_focal.engine.logs import logger
from paddle_focal.errors import ToolError

_ENDINGS = (".pdparams", ".pdopt", ".pdmodel")  # ppdet takes any of these for .pdparams
#: How PyTorch's files before version 1.6 begin: its magic number as a pickle of protocol 2.
_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_REMEDY = (
    "Name another file with -o pretrain_weights=FILE, or train from scratch with pretrain_weights=null; a ResNet then "
    "wants ResNet.freeze_at=-1 ResNet.freeze_norm=false, too"
)


def check(config, downloaded: bool = False) -> None:
    """Look whether the weights that a configuration names are there and can be read, which is soon known.

    Args:
        config: the configuration.
        downloaded: whether to look at those of a URL, or else at those of a path.

    Raises:
        ToolError: they are missing, damaged, or PyTorch's, or cannot be downloaded.
    """
    source = config.get("pretrain_weights")
    if source and "model" not in config and checkpoint.is_url(source) is downloaded:  # PaddleSlim's model has weights
        _read(find(source))


def load_into(trainer, source: str) -> None:
    """Give ppdet's trainer the weights that fit its model, and log how many those are.

    Args:
        trainer: ppdet's.
        source: a path, with or without ending, or a URL that ppdet can download.

    Raises:
        ToolError: as :func:`check`, or not one of the tensors fits.
    """
    if trainer.is_loaded_weights:
        return
    path = find(source)
    state, own = _read(path), trainer.model.state_dict()
    matched = _match(own, state, path)
    if not matched:
        raise ToolError(
            f"Nothing in {path} fits the model: its {len(state)} tensors are {_some(state)}; "
            f"the model's {len(own)} are {_some(own)}. {_REMEDY}"
        )
    trainer.model.set_state_dict({key: value.astype(own[key].dtype) for key, value in matched.items()})
    logger.info("Weights to start from: %s", _account(path, matched, own, state))


def find(source: str) -> Path:
    """The file of weights that a path or a URL stands for; raises ToolError if there is none."""
    if checkpoint.is_url(source):
        try:
            source = checkpoint.get_weights_path(source)
        except Exception as error:  # of requests, of ppdet, of the file system
            raise ToolError(f"{source} could not be downloaded: {error}. {_REMEDY}") from error
    given = Path(source)
    path = given.with_suffix(".pdparams") if given.suffix in _ENDINGS else Path(f"{given}.pdparams")
    if path.is_file():
        return path
    if given.is_file() and _is_of_torch(given):
        raise ToolError(_about_torch(given))
    raise ToolError(f"There are no weights {path}. {_REMEDY}")


def _read(path: Path) -> dict[str, Any]:
    """The tensors of a file by name; what else it holds is left out."""
    if _is_of_torch(path):
        raise ToolError(_about_torch(path))
    state = weights.read(path)
    return {key: value for key, value in state.items() if isinstance(key, str) and paddle.is_tensor(value)}


def _is_of_torch(path: Path) -> bool:
    if path.suffix in (".pth", ".pt"):
        return True
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    with path.open("rb") as file:
        return file.read(len(_TORCH)) == _TORCH


def _about_torch(path: Path) -> str:
    return (
        f"{path} is a file of PyTorch's, whose tensors have other names, and some another order of dimensions. "
        "Paddle's weights end in .pdparams: PaddleDetection's model zoo has some, and backbones come with the shipped "
        f"configurations. {_REMEDY}"
    )


def _match(own: Mapping[str, Any], state: Mapping[str, Any], path: Path) -> dict[str, Any]:
    if not state:
        return {}
    with patch.object(checkpoint.logger, "disabled", True):  # a line for each tensor; see _account
        try:
            return checkpoint.match_state_dict(own, state)
        except ValueError as error:
            raise ToolError(f"{path} fits the model in more than one way: {error}") from error


def _account(path: Path, matched: Mapping[str, Any], own: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    taken = {id(value) for value in matched.values()}
    left = [
        f"{key} (of another shape)" if key in state else key  # as with another number of classes
        for key in own
        if key not in matched
    ]
    unused = [key for key, value in state.items() if id(value) not in taken]
    text = f"{path} has {len(matched)} of the model's {len(own)} tensors"
    text += f"; {len(left)} start anew: {_some(left)}" if left else ""
    return text + (f"; {len(unused)} of the file are not used: {_some(unused)}" if unused else "")


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "none"
