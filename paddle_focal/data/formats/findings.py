"""What is wrong with files that are converted, all of it together."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from paddle_focal.data.checks.data_report import DataReport, some


class FormatError(ValueError):
    """What is wrong with a file or a part of it, in words that follow its name."""


class Findings:
    """Collects faults, and what many files have in common.

    Args:
        report: receives every fault as an error of its own and, from :meth:`summarize`, one error for each common
            fault and one warning for each remark.
        skip_bad_boxes: leave boxes with faults out, with a remark, instead.
    """

    def __init__(self, report: DataReport, skip_bad_boxes: bool = False) -> None:
        self.report = report
        self._skip_bad_boxes = skip_bad_boxes
        self._common: defaultdict[str, list[str]] = defaultdict(list)
        self._remarks: defaultdict[str, list[str]] = defaultdict(list)

    def error(self, place: Path | str, fault: object) -> None:
        self.report.error(_printable(f"{place}: {fault}"))

    def common_error(self, fault: str, place: Path | str) -> None:
        """A fault that other files are likely to have, too. ``fault`` is in the singular."""
        self._common[fault].append(_printable(str(place)))

    def bad_box(self, place: str, fault: FormatError) -> None:
        if self._skip_bad_boxes:
            self.remark("faulty boxes are left out", f"{place}: {fault}")
        else:
            self.error(place, fault)

    def remark(self, text: str, place: Path | str) -> None:
        """Something that is converted, but has to be said. ``text`` is in the plural."""
        self._remarks[text].append(_printable(str(place)))

    def summarize(self) -> None:
        """Report the common faults and remarks so far, with a count and examples."""
        for fault, places in self._common.items():
            count = f" ({len(places):,} in all)" if len(places) > 3 else ""
            self.report.error(f"{_printable(fault)}: {some(places)}{count}")
        for text, places in self._remarks.items():
            self.report.warn(f"{len(places):,} {text}: {some(places)}")
        self._common.clear()
        self._remarks.clear()


def _printable(text: str) -> str:
    """Names of files that are not UTF-8 cannot be printed as they are."""
    return text.encode("utf-8", "backslashreplace").decode()
