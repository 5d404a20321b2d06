"""The error of the tools."""


class ToolError(RuntimeError):
    """What ends a tool with a message instead of a traceback."""
