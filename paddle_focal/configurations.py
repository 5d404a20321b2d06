"""The configurations that come with the package."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from paddle_focal.errors import ToolError

PACKAGE = Path(__file__).resolve().parent
#: The folder inside an installed package, or that of a checkout.
FOLDER = next(filter(Path.is_dir, (PACKAGE / "configs", PACKAGE.parent / "configs")), PACKAGE)


def shipped() -> dict[str, Path]:
    """The file of each, by its name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yml"))}


def find(config: str) -> str:
    """The file of a configuration: ``config`` if that is a file, else the one in the package of this name, or NAME.yml.

    Raises:
        ToolError: there is neither.
    """
    if Path(config).is_file():
        return config
    return str(find_shipped(config, "no such configuration file"))


def find_shipped(name: str, otherwise: str = "no configuration of this name comes with the package") -> Path:
    """The file of NAME or NAME.yml in the package; raises ToolError if there is none."""
    files = shipped()
    stem = name.removesuffix(".yml")
    if stem not in files:
        close = difflib.get_close_matches(stem, files, n=1)
        hint = f"Did you mean {close[0]}? " if close else ""
        raise ToolError(f"{otherwise}: {name}. {hint}paddle-focal configs lists those that there are by name")
    return files[stem]


def base(path: str, name: str) -> str:
    """The file that a configuration names as its ``_BASE_``: as PaddleDetection finds it, or else in the package."""
    beside = os.path.join(os.path.dirname(path), os.path.expanduser(name))
    return str(FOLDER / name) if not os.path.exists(beside) and (FOLDER / name).is_file() else beside
