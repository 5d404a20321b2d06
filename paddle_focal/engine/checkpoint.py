"""Checkpoints: written whole or not at all, found again, and loaded if they fit.

A checkpoint is ``NAME.pdparams`` and ``NAME.pdopt``, plus ``NAME.pdema`` if weights are averaged, all as ppdet reads
them, and ``NAME.state.json``: how far training had come, what ppdet's files leave out, and a digest of each file. For
averaged weights, ppdet's files hold what evaluation uses; ``NAME.pdavg`` holds the average that training continues
from.

All files are first written under temporary names. ``NAME.commit.json``, which will become the state file, is written
last. From then on the checkpoint counts, and any run that finds this file moves the others to their final names.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

import paddle
from paddle import distributed
from ppdet.engine import callbacks
from ppdet.engine.callbacks import Callback

from paddle_focal.engine import weights
from paddle_focal.engine.logs import logger
from paddle_focal.engine.run_state import average_state, restore_average
from paddle_focal.errors import ToolError
from paddle_focal.files import flush, write_whole

STATE, COMMIT, AVERAGE = ".state.json", ".commit.json", ".pdavg"


class Part(Protocol):
    """A part of a run that a resumed run continues; ``state_dict`` is its state as JSON."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any) -> None: ...


class Checkpoints:
    """Writes the checkpoints of a run, and resumes it from one.

    Args:
        trainer: ppdet's.
        folder: where the checkpoints are.
        parts: what the checkpoints hold besides weights and optimizer, by name.
    """

    def __init__(self, trainer, folder: Path, parts: Mapping[str, Part]) -> None:
        self._trainer, self._folder, self._parts = trainer, folder, parts
        self._latest: dict[Path, dict[str, Any]] = {}

    @contextlib.contextmanager
    def in_place_of_ppdets(self) -> Iterator[None]:
        """Make ppdet write its checkpoints with :meth:`write`."""
        with patch.object(callbacks, "save_model", self.write):
            yield

    def write(self, model, optimizer, save_dir, save_name, last_epoch, ema_model=None, iteration: int = 0) -> None:
        """Write a checkpoint; the arguments of ppdet's ``save_model`` come first.

        Args:
            model: state dict of the weights.
            optimizer: the optimizer.
            save_dir: folder.
            save_name: file name without its ending.
            last_epoch: complete epochs.
            ema_model: state dict of the averaged weights, or None.
            iteration: complete iterations of the next epoch.

        Raises:
            ToolError: the files cannot be written; what was there before is still there.
        """
        if distributed.get_rank() != 0:
            return
        base = Path(save_dir, save_name)
        contents = {".pdparams": model, ".pdopt": {**optimizer.state_dict(), "last_epoch": last_epoch}}
        if ema_model is not None:
            contents.update({".pdparams": ema_model, ".pdema": model})
        if hasattr(self._trainer, "ema"):
            contents[AVERAGE] = average_state(self._trainer.ema)
        state: dict[str, Any] = {"epoch": last_epoch, "iteration": iteration, "digests": {}}
        state.update(self._states())
        try:
            base.parent.mkdir(parents=True, exist_ok=True)
            for ending, content in contents.items():
                partial = _file(base, f".partial{ending}")
                paddle.save(content, str(partial))
                flush(partial)
                state["digests"][ending] = _digest(partial)
            text = json.dumps(state) + "\n"
            write_whole(_file(base, COMMIT), lambda partial: partial.write_text(text))
            _commit(base)
        except OSError as error:
            for ending in contents:
                _file(base, f".partial{ending}").unlink(missing_ok=True)
            raise ToolError(
                f"The checkpoint {base} could not be written: {error}. {in_words(newest(base.parent))} "
                "Make room, then go on from there with --resume auto."
            ) from error
        is_later = any((old["epoch"], old["iteration"]) != (last_epoch, iteration) for old in self._latest.values())
        self._latest = {**({} if is_later else self._latest), base: state}
        logger.info("Checkpoint: %s", base)

    def add_evaluation(self) -> None:
        """Save the parts of the latest checkpoints again, because ppdet writes a checkpoint before it evaluates it.

        Raises:
            ToolError: a file cannot be written.
        """
        for base, state in self._latest.items():
            state.update(self._states())
            text = json.dumps(state) + "\n"
            try:
                write_whole(_file(base, STATE), lambda partial, text=text: partial.write_text(text))
            except OSError as error:
                raise ToolError(f"The evaluation could not be added to {_file(base, STATE)}: {error}") from error

    def _states(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts.items()}

    def resume(self, name: str) -> tuple[int, int]:
        """Load a checkpoint, or with 'auto' the newest complete one of the folder.

        Args:
            name: 'auto', or a path with or without ending.

        Returns:
            tuple[int, int]: complete epochs, and complete iterations of the next one; (0, 0) if there is none for
            'auto'.

        Raises:
            ToolError: the checkpoint is not there, damaged, or of another model.
        """
        if name == "auto":
            base = newest(self._folder)
            if base is None:
                logger.info("%s", in_words(None))
                return 0, 0
            logger.info("Resuming from %s: %d epochs and %d iterations are done", base, *_progress(base)[:2])
        else:
            base = _base_of(name)
            _check_is_there(base)
            reason = find_corruption(base) if _file(base, STATE).exists() else None
            if reason:
                raise ToolError(f"The checkpoint {base} is damaged: {reason}. {in_words(newest(base.parent))}")
        _check_fits(self._trainer.model, base)
        self._trainer.resume_weights(str(base))
        if hasattr(self._trainer, "ema") and _file(base, AVERAGE).exists():
            restore_average(self._trainer.ema, weights.read(_file(base, AVERAGE)))
        state = _read(_file(base, STATE)) or {}
        for key, part in self._parts.items():
            part.load_state_dict(state.get(key))
        return self._trainer.start_epoch, state.get("iteration", 0)


class EvaluatedCheckpoints(Callback):
    """Adds an epoch's evaluation to its checkpoints; registered after all callbacks that contribute to a checkpoint.

    Args:
        trainer: ppdet's.
        checkpoints: the run's.
    """

    def __init__(self, trainer, checkpoints: Checkpoints) -> None:
        super().__init__(trainer)
        self._checkpoints = checkpoints

    def on_epoch_end(self, status: dict) -> None:
        if status["mode"] == "eval" and distributed.get_rank() == 0:
            self._checkpoints.add_evaluation()


def newest(folder: Path) -> Path | None:
    """The path, without ending, of the whole checkpoint in a folder at which training had come furthest, or None."""
    if distributed.get_rank() == 0:
        for path in folder.glob(f"*{COMMIT}"):
            _commit(_base_of(path))
    for base in sorted(
        _checkpoints(folder), key=lambda base: (_progress(base), base.name != "best_model"), reverse=True
    ):
        reason = find_corruption(base)
        if reason is None:
            return base
        logger.warning("The checkpoint %s is passed over: %s", base, reason)
    return None


def find_corruption(base: Path) -> str | None:
    """Why the files of a checkpoint are not those that were written; None if they are, or if that cannot be known."""
    state = _read(_file(base, STATE))
    if state is None:
        return f"{_file(base, STATE).name} is no JSON object"
    for ending, digest in state.get("digests", {}).items():
        path = _file(base, ending)
        if not path.exists():
            return f"{path.name} is missing"
        if _digest(path) != digest:
            return f"{path.name} has not the content that was written: {path.stat().st_size:,} bytes are there"
    return None


def remove(base: Path) -> None:
    """Remove a checkpoint, its state file first."""
    for ending in (STATE, ".pdopt", ".pdema", AVERAGE, ".pdparams"):
        _file(base, ending).unlink(missing_ok=True)


def _commit(base: Path) -> None:
    """Move the files of a completely written checkpoint to their final names."""
    for ending in _read(_file(base, COMMIT))["digests"]:
        partial = _file(base, f".partial{ending}")
        if partial.exists():
            os.replace(partial, _file(base, ending))
    os.replace(_file(base, COMMIT), _file(base, STATE))
    flush(base.parent)


def _checkpoints(folder: Path) -> Iterator[Path]:
    for path in folder.glob(f"*{STATE}"):
        state = _read(path)
        if state is None or "digests" in state:  # ppdet's own files have no digests: unknown if whole
            yield _base_of(path)


def _progress(base: Path) -> tuple[int, int]:
    state = _read(_file(base, STATE)) or {}
    return state.get("epoch", 0), state.get("iteration", 0)


def _check_is_there(base: Path) -> None:
    path = _file(base, ".pdparams")
    if not path.exists():
        raise ToolError(f"There is no checkpoint {path}. {in_words(newest(base.parent))}")


def _check_fits(model: paddle.nn.Layer, base: Path) -> None:
    """Raises ToolError unless the checkpoint has every tensor of the model, in its shape."""
    ending = ".pdema" if _file(base, ".pdema").exists() else ".pdparams"
    try:
        state = weights.read(_file(base, ending))
    except ToolError as error:
        raise ToolError(f"{error}. {in_words(newest(base.parent))}") from error
    if wrong := weights.misfits(getattr(model, "student_model", model), state):
        raise ToolError(
            f"The checkpoint {base} is of another model than the configuration's: {wrong}. "
            "To start a training from its weights, set pretrain_weights instead of --resume."
        )


def in_words(checkpoint: Path | None) -> str:
    """What there is to go on from; ``checkpoint`` comes from :func:`newest`."""
    return f"The newest complete checkpoint is {checkpoint}." if checkpoint else "There is no complete checkpoint yet."


def _base_of(path: str | Path) -> Path:
    path = Path(path)
    for ending in (STATE, COMMIT, ".pdparams", ".pdopt", ".pdema", AVERAGE):
        if path.name.endswith(ending):
            return path.with_name(path.name[: -len(ending)])
    return path


def _file(base: Path, ending: str) -> Path:
    return base.with_name(base.name + ending)


def _read(path: Path) -> dict | None:
    try:
        state = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
