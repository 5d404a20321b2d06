"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a path beside ``path`` and move the file there: an interrupted run leaves no half file."""
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    write(partial)
    os.replace(partial, path)
