"""Checks configurations for Python code that reading them would run.

PaddleDetection reads YAML with a loader that calls any Python function named by a tag. The tools of this package
check a configuration, and all that it is based on, before they pass it to PaddleDetection.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from paddle_focal import configurations
from paddle_focal.errors import ToolError

_PYTHON = "tag:yaml.org,2002:python/"
#: The calls that need no trust, the plugin's own lines, with the number of arguments each may have.
_ALLOWED = {
    f"{_PYTHON}object/apply:paddle_focal.detection.register": 0,
    f"{_PYTHON}object/apply:paddle_focal.detection.replace": 1,
}


def check_config(path: str, is_trusted: bool = False, based_on_it: tuple[str, ...] = ()) -> None:
    """Look for Python tags in a configuration file and its ``_BASE_`` files.

    Args:
        path: the file.
        is_trusted: whether Python tags are allowed; the files are still looked at.
        based_on_it: the files that led to this one.

    Raises:
        ToolError: there is one besides the plugin's own lines, or a file is missing, is not YAML or has no sections.
    """
    if os.path.realpath(path) in based_on_it:
        raise ToolError(f"The configuration {path} is based on itself: look at the _BASE_ of the files it names")
    try:
        with open(path, encoding="utf-8") as file:
            root = yaml.compose(file, Loader=yaml.SafeLoader)
    except OSError as error:
        by = f", which is a _BASE_ of {based_on_it[-1]}," if based_on_it else ""
        raise ToolError(f"The configuration {path}{by} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ToolError(f"The configuration {path} is no text in UTF-8: {error}") from error
    except yaml.YAMLError as error:
        raise ToolError(f"The configuration {path} is not valid YAML: {error}") from error
    if not isinstance(root, yaml.MappingNode):
        raise ToolError(f"The configuration {path} has no sections: it must be lines of KEY: VALUE")
    if not path.endswith((".yml", ".yaml")):
        raise ToolError(f"The name of a configuration must end in .yml or .yaml, which {path} does not")
    if not is_trusted:
        _check_tags(root, path)
    for base in _bases(root, path):
        check_config(base, is_trusted, (*based_on_it, os.path.realpath(path)))


def check_option(option: str, value: str) -> None:
    """Look for Python tags in a value of the command line; raises ToolError for any."""
    _check_tags(yaml.compose(value, Loader=yaml.SafeLoader), f"-o {option}")


def variables(path: str) -> set[str]:
    """The top-level names of a file and its ``_BASE_`` files whose values have an anchor, for use further below."""
    text = Path(path).read_text(encoding="utf-8")
    names = re.findall(r"^(\w+) *: *&", text, re.MULTILINE)
    return {*names}.union(*(variables(base) for base in _bases(yaml.compose(text, Loader=yaml.SafeLoader), path)))


def _check_tags(root: yaml.Node | None, where: str) -> None:
    for node in _nodes(root):
        is_plugin = isinstance(node, yaml.SequenceNode) and len(node.value) <= _ALLOWED.get(node.tag, -1)
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


def _bases(root: yaml.MappingNode, path: str) -> list[str]:
    """The paths under ``_BASE_``."""
    values = [value for key, value in root.value if key.value == "_BASE_"]
    nodes = [node for value in values for node in value.value]
    is_list = all(isinstance(value, yaml.SequenceNode) for value in values)
    if not is_list or not all(isinstance(node, yaml.ScalarNode) for node in nodes):
        raise ToolError(f"The configuration {path} must have a list of files as its _BASE_: [FILE, ...]")
    return [configurations.base(path, node.value) for node in nodes]
