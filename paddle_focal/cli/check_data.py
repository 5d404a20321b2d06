"""``paddle-focal check-data`` and ``tools/check_data.py``: say everything that is wrong with a data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from paddle_focal.cli import convert
from paddle_focal.cli.arguments import ArgumentParser, configured, ending_in_words

DESCRIPTION = """Check the training and the validation set of a configuration, as training does before it begins.

Or those of a folder, in COCO's, VOC's, YOLO's or LabelMe's format, or one annotation file of COCO's format. Says
everything that is wrong at once. Errors, which make training fail or use wrong labels, end it with exit status 1;
warnings are what PaddleDetection leaves out, or what looks wrong."""


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(DESCRIPTION, has_other_sources=True)
    parser.source.add_argument("path", nargs="?", type=Path, metavar="DIR|FILE.json", help="a data set on its own")
    parser.add_argument("--image_dir", metavar="DIR", help="folder of a file's images (default: where they are)")
    return parser


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser()
    flags = parser.parse_args(arguments)
    if flags.path and not flags.path.exists():
        parser.error(f"no such file or folder: {flags.path}")
    if flags.path and flags.path.suffix in (".yml", ".yaml") and flags.path.stem != "data":  # which YOLO's is
        parser.error(f"a configuration is named with -c: -c {flags.path}")
    if flags.image_dir and not (flags.path and flags.path.suffix == ".json"):
        parser.error("--image_dir goes with an annotation file")
    if flags.image_dir and not Path(flags.image_dir).is_dir():
        parser.error(f"no such folder: {flags.image_dir}")
    return flags


@ending_in_words()
def main(arguments: list[str] | None = None) -> None:
    """Run ``tools/check_data.py``."""
    flags = parse_arguments(arguments)
    from paddle_focal.data.checks.data_report import DataReport
    from paddle_focal.data.checks.preflight import check_data, stop_on_errors
    from paddle_focal.engine import logs

    if flags.config:
        with configured(flags) as config:
            report = check_data(config)
    else:
        if flags.quiet:
            logs.be_quiet()
        report = DataReport()
        _check(flags.path, flags.image_dir, report)
    stop_on_errors(report)
    logs.logger.info("No errors, %d warnings", len(report.warnings))


def _check(path: Path, image_dir: str | None, report) -> None:
    from paddle_focal.data.checks import single
    from paddle_focal.data.formats import conversion

    files = [path] if path.suffix == ".json" else single.annotation_files(path)
    if files:
        single.check_files(files, image_dir, report)
    else:
        conversion.check(convert.parse_arguments([str(path)]), report)
