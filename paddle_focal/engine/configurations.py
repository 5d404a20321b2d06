"""The configurations that come with the package."""

from __future__ import annotations

from pathlib import Path

from paddle_focal.errors import ToolError

PACKAGE = Path(__file__).resolve().parents[1]
#: The folder inside an installed package, or that of a checkout.
FOLDER = next(folder for folder in (PACKAGE / "configs", PACKAGE.parent / "configs") if folder.is_dir())


def find(config: str) -> str:
    """The file of a configuration: ``config`` if that is a file, else the configuration of this name in the package.

    Raises:
        ToolError: there is neither.
    """
    if Path(config).is_file():
        return config
    shipped = {path.stem: str(path) for path in sorted(FOLDER.glob("*.yml"))}
    if config not in shipped:
        raise ToolError(f"no such configuration file: {config}. By name there are: {', '.join(shipped)}")
    return shipped[config]
