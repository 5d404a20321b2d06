"""The error that the tools raise."""

from __future__ import annotations


class ToolError(RuntimeError):
    """Ends a tool with a message instead of a traceback.

    Attributes:
        details: a traceback for the log, where the code that raised may be the user's own; None otherwise.
        status: the exit status of the process.
    """

    status = 1

    def __init__(self, message: str, details: str | None = None) -> None:
        super().__init__(message)
        self.details = details


class ConfigurationError(ToolError):
    """A configuration has a mistake, of which nothing has been run yet: as wrong as a wrong command line."""

    status = 2
