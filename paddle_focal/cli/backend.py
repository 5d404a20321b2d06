"""``paddle-focal backend``: which backend serves, and why."""

from __future__ import annotations

from paddle_focal.cli.arguments import Parser, ending_in_words


def make_parser() -> Parser:
    return Parser(description="Say which backend computes the losses on each device, and why.")


@ending_in_words()
def main(arguments: list[str] | None = None) -> None:
    """Print the report."""
    make_parser().parse_args(arguments)
    from paddle_focal.ops import backend_report

    print(backend_report())
