"""Writing files so that each is either complete or absent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a path next to ``path``, then move the file to ``path``.

    An interrupted run therefore leaves no partial file at ``path``.
    """
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        write(partial)
        flush(partial)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    os.replace(partial, path)


def flush(path: Path) -> None:
    """Wait until a file, or a folder's list of entries, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
