"""The sections of a configuration, as PaddleDetection's workspace holds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ppdet.core import workspace
from ppdet.core.config.schema import SchemaDict


def name_of(reference: Any) -> str | None:
    """The component that a value of a section names: ``FPN`` or ``{name: FPN, ...}``."""
    name = reference.get("name") if isinstance(reference, dict) else reference
    return name if isinstance(name, str) else None


def sections_in_use() -> Iterator[SchemaDict]:
    """The sections that make up the model, from its architecture down; without one, all that are not empty."""
    modules = workspace.get_registered_modules()
    architecture = workspace.global_config.get("architecture")
    waiting = [architecture] if architecture else [name for name, section in modules.items() if len(section)]
    seen = set()
    while waiting:
        reference = waiting.pop()
        name = name_of(reference)
        if name in seen or name not in modules:
            continue
        seen.add(name)
        section = modules[name]
        yield section
        if architecture:
            values = {key: section[key] for key in (*section, *section.schema)}
            if isinstance(reference, dict):  # what stands beside the name takes the place of the section's own
                values.update(reference)
            waiting += values.values()
