"""What makes a class a component of PaddleDetection: its section of the configuration is checked and completed."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Callable

from ppdet.core import workspace
from ppdet.core.config.schema import SchemaDict


def component(inherits: str | None = None, check: Callable[[SchemaDict], None] | None = None):
    """A decorator for a class that a configuration names; :func:`paddle_focal.detection.register` makes it known.

    It gives the class ``from_config``, which ppdet calls with the section before it creates the component. An unknown
    key in the section raises a ValueError that lists the known ones; ppdet's own error lists none.

    Args:
        inherits: the section that supplies the keys that the component's own section lacks.
        check: checks the section for anything else that may be wrong.
    """

    def decorate(cls: type) -> type:
        def from_config(config: SchemaDict, **_) -> dict:
            check_keys(config)
            if check:
                check(config)
            if inherits is None:
                return {}
            inherited = {key: value for key, value in workspace.global_config[inherits].items() if key not in config}
            config.update(inherited)
            return inherited

        cls.from_config = staticmethod(from_config)
        cls.inherits = inherits
        return cls

    return decorate


def check_keys(section: SchemaDict) -> None:
    """Raises ValueError for a key that the component does not have."""
    for key in section.find_extra_keys():
        close = get_close_matches(key, section.schema, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ValueError(f"{section.name} has no key {key!r}{hint} Its keys are {', '.join(section.schema)}.")
