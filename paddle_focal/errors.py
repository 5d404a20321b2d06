"""The error that the tools raise."""


class ToolError(RuntimeError):
    """Ends a tool with a message instead of a traceback."""
