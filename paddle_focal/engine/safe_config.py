"""Checks configurations for Python code that reading them would run.

PaddleDetection reads YAML with a loader that calls any Python function named by a tag. The tools of this package
check a configuration, and all that it is based on, before they pass it to PaddleDetection.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import yaml

from paddle_focal.errors import ToolError

_PYTHON = "tag:yaml.org,2002:python/"
#: The one call that needs no trust: the plugin's own line.
_ALLOWED = f"{_PYTHON}object/apply:paddle_focal.detection.register"


def check_config(path: str) -> None:
    """Look for Python tags in a configuration file and its ``_BASE_`` files.

    Raises:
        ToolError: there is one besides the plugin's own line, or a file is missing or is not YAML.
    """
    waiting, seen = [path], set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        try:
            with open(path, encoding="utf-8") as file:
                root = yaml.compose(file, Loader=yaml.SafeLoader)
        except OSError as error:
            raise ToolError(f"The configuration {path} cannot be read: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise ToolError(f"The configuration {path} is no YAML: {error}") from error
        _check_tags(root, path)
        waiting += _bases(root, path)


def check_option(option: str, value: str) -> None:
    """Look for Python tags in a value of the command line; raises ToolError for any."""
    _check_tags(yaml.compose(value, Loader=yaml.SafeLoader), f"-o {option}")


def _check_tags(root: yaml.Node | None, where: str) -> None:
    for node in _nodes(root):
        is_plugin = node.tag == _ALLOWED and isinstance(node, yaml.SequenceNode) and not node.value
        if node.tag.startswith(_PYTHON) and not is_plugin:
            raise ToolError(
                f"{where}, line {node.start_mark.line + 1}: the tag !!python/{node.tag[len(_PYTHON) :]} would run "
                "Python code. If you know where this configuration comes from, repeat the command with --trust-config."
            )


def _nodes(root: yaml.Node | None) -> Iterator[yaml.Node]:
    waiting, seen = [root] if root else [], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _bases(root: yaml.Node | None, path: str) -> list[str]:
    """The paths under ``_BASE_``, as PaddleDetection understands them."""
    values = root.value if isinstance(root, yaml.MappingNode) else []
    bases = [value.value for key, value in values if key.value == "_BASE_" and isinstance(value, yaml.SequenceNode)]
    names = [os.path.expanduser(node.value) for nodes in bases for node in nodes]
    return [os.path.join(os.path.dirname(path), name) for name in names]
