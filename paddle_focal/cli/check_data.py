"""``paddle-focal check-data`` and ``tools/check_data.py``: say everything that is wrong with a data set."""

from __future__ import annotations

from paddle_focal.cli.arguments import ArgumentParser, configured, ending_in_words
from paddle_focal.data.checks.preflight import check_data, stop_on_errors
from paddle_focal.engine.logs import logger

DESCRIPTION = """Check the training and the validation set of a configuration, as tools/train.py does before it trains.

Says everything that is wrong at once. Errors, which make training fail or use wrong labels, end it with exit status 1;
warnings are what PaddleDetection leaves out, or what looks wrong."""


@ending_in_words()
def main(arguments: list[str] | None = None) -> None:
    """Run ``tools/check_data.py``."""
    flags = ArgumentParser(DESCRIPTION).parse_args(arguments)
    with configured(flags) as config:
        report = check_data(config)
    stop_on_errors(report)
    logger.info("No errors, %d warnings", len(report.warnings))
