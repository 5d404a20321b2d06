"""``paddle-focal configs``: the configurations that come with the package."""

from __future__ import annotations

from paddle_focal import configurations
from paddle_focal.cli.arguments import Parser

DESCRIPTION = """List the configurations that come with the package.

Every command takes them by name, and so does the _BASE_ of a configuration; paddle-focal init NAME begins one."""


def make_parser() -> Parser:
    return Parser(description=DESCRIPTION)


def main(arguments: list[str] | None = None) -> None:
    """Print a line for each."""
    make_parser().parse_args(arguments)
    files = configurations.shipped()
    width = max(map(len, files))
    for name, path in files.items():
        comment, _, _ = path.read_text(encoding="utf-8").partition("\n")
        print(f"{name:{width}}  {comment.removeprefix('# ')}")
