"""``paddle-focal doctor``: check the installation, for a bug report."""

from __future__ import annotations

from paddle_focal.cli.arguments import Parser, ending_in_words

DESCRIPTION = """Say what is installed, which backend is used, and whether it computes the right numbers.

Exit status 1 if anything is wrong."""


def make_parser() -> Parser:
    return Parser(description=DESCRIPTION)


@ending_in_words()
def main(arguments: list[str] | None = None) -> int:
    """Print the report. Returns 0 if nothing is wrong, and 1 if something is."""
    make_parser().parse_args(arguments)
    from paddle_focal.cli import diagnosis

    return diagnosis.report()
