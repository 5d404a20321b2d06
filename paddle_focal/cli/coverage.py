"""``paddle-focal coverage``: which of PaddleDetection's configurations the plugin serves."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from paddle_focal.cli.arguments import Parser, ending_in_words
from paddle_focal.files import write_whole

DESCRIPTION = """Say which configurations of PaddleDetection have a loss of the focal family, and which are served.

Every configuration of a source tree is loaded by PaddleDetection's own code; no model is built and no data is read.
`paddle_focal.detection.replace` serves a configuration if it replaces all its components of the focal family. Parts of
other configurations are left out, and so is what --slim_config adds."""


def make_parser() -> Parser:
    parser = Parser(description=DESCRIPTION)
    parser.add_argument(
        "--paddledetection", type=Path, metavar="DIR", help="source tree (default: that of the ppdet that is installed)"
    )
    parser.add_argument("--verbose", action="store_true", help="list each configuration")
    parser.add_argument("--json", metavar="FILE", help="write the results; -: to standard output, instead of tables")
    return parser


def parse_arguments(arguments: list[str] | None = None):
    parser = make_parser()
    options = parser.parse_args(arguments)
    tree = options.paddledetection
    if tree and not all((tree / name).is_dir() for name in ("ppdet", "configs")):
        parser.error(f"--paddledetection must be a folder that has ppdet and configs in it, but got {tree}")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    options = parse_arguments(arguments)
    if options.paddledetection:
        sys.path.insert(0, str(options.paddledetection.resolve()))  # for its own ppdet, as in its tools/train.py
    with ending_in_words():
        from paddle_focal.analysis import coverage

        configurations = coverage.survey(options.paddledetection or coverage.tree_of_ppdet())
        if options.json:
            text = json.dumps(coverage.in_numbers(configurations), indent=2)
            if options.json == "-":
                print(text)
                return
            write_whole(Path(options.json), lambda partial: partial.write_text(f"{text}\n"))
        print(coverage.in_words(configurations, options.verbose))
