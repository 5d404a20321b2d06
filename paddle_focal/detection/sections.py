"""The sections of a configuration, as PaddleDetection's workspace holds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable

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
            values = {key: value for _, key, value in said_of(section)}
            if isinstance(reference, dict):  # what stands beside the name takes the place of the section's own
                values.update(reference)
            waiting += values.values()


def said_of(section: SchemaDict) -> Iterator[tuple[SchemaDict, str, Any]]:
    """The keys of a section with their values, given ones and defaults, and the section that says so."""
    parent = getattr(getattr(section.pymodule, section.name), "inherits", None)
    inherited = workspace.global_config[parent] if parent else {}
    for key in dict.fromkeys([*section, *inherited, *section.schema]):
        said_by = inherited if key in inherited and key not in section else section
        yield said_by, key, said_by[key]


def references_to(name: str) -> Iterator[tuple[SchemaDict, str, Any]]:
    """Where the sections in use name a component: the section that says so, its key, and the value."""
    for section in sections_in_use():
        yield from (said for said in said_of(section) if name_of(said[2]) == name)


def checks_of(section: SchemaDict) -> dict[str, Callable[[Any], Any]]:
    """The checks of the plugin's own keys in a section, by their names; none if its component is PaddleDetection's."""
    return getattr(getattr(section.pymodule, section.name), "checks", dict)()


def places_of(key: str) -> list[tuple[str, ...]]:
    """Where a configuration gives a key to those of the plugin's components in use that have it.

    That is their section, or the key of another section that says the component's keys itself, as
    ``('RetinaHead', 'loss_class')``.
    """
    places = []
    for section in sections_in_use():
        if key in checks_of(section):
            inside = (
                (other.name, where) for other, where, value in references_to(section.name) if isinstance(value, dict)
            )
            places.append(next(inside, (section.name,)))
    return places
