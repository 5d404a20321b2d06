"""What a check has found: errors, warnings and notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class DataReport:
    """What a check has found, in lines of text.

    Attributes:
        subject: the text with which the next lines begin.
        errors: training or evaluation would fail, or use wrong labels.
        warnings: PaddleDetection leaves something out, or something looks wrong.
        notes: what the data set holds.
    """

    subject: str = ""
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def about(self, subject: str) -> DataReport:
        """The same report, whose next lines begin with a subject."""
        return replace(self, subject=f"{subject}: ")

    def error(self, text: str) -> None:
        self.errors.append(self.subject + text)

    def warn(self, text: str) -> None:
        self.warnings.append(self.subject + text)

    def note(self, text: str) -> None:
        self.notes.append(self.subject + text)


def some(examples: Sequence, count: int = 3) -> str:
    """The first few, separated by commas."""
    return ", ".join(map(str, examples[:count])) + (", ..." if len(examples) > count else "")
