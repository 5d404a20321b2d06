"""What is wrong with a configuration, all at once, before ppdet's own code stumbles over it."""

from __future__ import annotations

import inspect
import os
import re
from collections import ChainMap
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Callable

import ppdet
import yaml
from ppdet.core.config.schema import SchemaDict
from ppdet.data import source, transform
from ppdet.optimizer import optimizer

from paddle_focal.detection.sections import checks_of, references_to, sections_in_use
from paddle_focal.engine import config_names
from paddle_focal.engine.config_names import COUNTS, DATASETS, READERS
from paddle_focal.engine.logs import logger
from paddle_focal.errors import ConfigurationError
from paddle_focal.losses import GammaSchedule

_CREATED = re.compile(r"create\(cfg\['(\w+)'\]")
_TRANSFORMS = ("sample_transforms", "batch_transforms", "weak_aug", "strong_aug")
_SUPERVISED = ("sup_batch_transforms", "unsup_batch_transforms")
_CLOSE_SECTION = 0.9  # PaddleDetection's own have a PPDETRTransformer beside the RTDETRTransformer
_CLOSE = 0.85  # of names that ppdet ignores, and users may have for purposes of their own


class Doubt(str):
    """What need not be a mistake: nothing seems to read it, and nothing that is read has a name like it."""

    __slots__ = ()


def findings(
    config: Mapping[str, Any], components: Collection[str], given: Collection[str] = (), options: Collection[str] = ()
) -> list[str]:
    """Mistakes in a configuration, a sentence each, and doubts.

    Args:
        config: the configuration.
        components: the names of all sections that ppdet knows.
        given: the top-level names in its files, but for variables that the files use themselves.
        options: the top-level names on the command line.
    """
    names = [*dict.fromkeys([*given, *options])]
    checks = (
        *(_sections, _architecture, _components, _transforms, _datasets, _counts, _schedule, _optimizer, _export),
        _exported_size,
    )
    found = [
        *_names(config, components, names, options),
        *_without_effect(config, components),
        *(one for check in checks for one in check(config, components)),
    ]
    return [*found, *_gamma_schedule(config.get("gamma_schedule"))]


def slim_findings(path: str, config: Mapping[str, Any], components: Collection[str]) -> list[str]:
    """Mistakes in the names of a configuration of PaddleSlim, and doubts.

    Args:
        path: its file.
        config: the configuration that it is added to.
        components: the names of all sections that ppdet knows.
    """
    with open(path, encoding="utf-8") as file:
        content = yaml.load(file, Loader=yaml.Loader)
    missing = [] if "slim" in content else [f"{path} has no setting slim, which names the method of compression"]
    return [*missing, *_names(ChainMap(content, config), components, content.keys() - {"_BASE_"}, ())]


def report(found: Collection[str], in_files: Collection[str]) -> None:
    """Warn of doubts, and end with the mistakes.

    Args:
        found: the findings of the configuration, merged with the command line's settings.
        in_files: those of its files alone.

    Raises:
        ConfigurationError: there is a mistake; the message has a line for each, and says which come with ``-o``.
    """
    said = {one: one if one in in_files else f"in -o, {one}" for one in found}
    mistakes = [one for one in said if not isinstance(one, Doubt)]
    for doubt in said.keys() - mistakes:
        logger.warning("The configuration: %s", said[doubt])
    if mistakes:
        lines = "".join(f"\n- {said[mistake]}" for mistake in mistakes)
        count = f"{len(mistakes)} mistake{'s'[: len(mistakes) > 1]}"
        release = getattr(ppdet, "__version__", "of " + os.path.dirname(ppdet.__file__))  # others have other names
        raise ConfigurationError(f"{count} in the configuration, for ppdet {release}:{lines}")


def allow_schedule_alone(config: Mapping[str, Any]) -> None:
    """Make a schedule without a warm-up work, for which ppdet wants ``use_warmup: false`` besides."""
    schedulers = _schedulers(config)
    if isinstance(schedulers, list) and len(schedulers) == 1:
        if isinstance(schedulers[0], dict):
            schedulers[0].setdefault("use_warmup", False)
        elif hasattr(schedulers[0], "use_warmup"):  # made by a tag, such as !CosineDecay
            schedulers[0].use_warmup = False


def _sections(config: Mapping[str, Any], components: Collection[str]) -> Iterator[str]:
    for name in components:
        if not isinstance(config[name], SchemaDict) and not hasattr(config[name], "__dict__"):
            yield f"{name} must be a section with keys, but is {config[name]!r}"


def _names(
    config: Mapping[str, Any], components: Collection[str], names: Collection[str], options: Collection[str]
) -> Iterator[str]:
    """Top-level names that nothing reads: mistakes, if they are like one that is read."""
    in_use = {section.name for section in sections_in_use()}
    in_use.update(name for name in components if isinstance(config[name], SchemaDict) and len(config[name]))
    read = {*config_names.SETTINGS, *config_names.SECTIONS, *config_names.shared_by(config, components), *in_use}
    for name in names:
        if name in read or name in components:
            continue
        what = f"there is no section {name}" if isinstance(config[name], dict) else f"nothing reads the setting {name}"
        cutoff = _CLOSE_SECTION if isinstance(config[name], dict) else _CLOSE
        if hint := _hint(name, read, cutoff) or _swapped(name, read):
            yield f"{what}{hint}"
        elif name in options or (isinstance(config[name], dict) and _hint(name, components, _CLOSE)):
            yield Doubt(f"{what}{_hint(name, components, _CLOSE)}")


def _without_effect(config: Mapping[str, Any], components: Collection[str]) -> Iterator[str]:
    """Sections of the plugin's own components that the model does not have, and keys said elsewhere, too."""
    for name in components:
        section = _section(config, name)
        if not section or not section.pymodule.__name__.startswith("paddle_focal."):
            continue
        if name not in {section.name for section in sections_in_use()}:
            yield Doubt(f"nothing uses the section {name}")
        for user, where, value in references_to(name):
            for key in section.keys() & value.keys() if isinstance(value, dict) else ():
                yield Doubt(f"{name}.{key} has no effect, because {user.name}.{where} says {key} itself")


def _architecture(config: Mapping[str, Any], components: Collection[str]) -> Iterator[str]:
    name = config.get("architecture")
    if name not in components:
        yield f"architecture {name!r} is not known{_hint(name, components)}" if name else "architecture names no model"


def _components(config: Mapping[str, Any], components: Collection[str]) -> Iterator[str]:
    """Mistakes in the sections that the configuration has, one by one."""
    for section in filter(None, (_section(config, name) for name in components)):
        if section.name not in DATASETS:  # whose keys are those of the class that they name
            yield from _keys(section, section.name, section)
        for key, value in section.items():
            if key in _references(section):
                yield from _reference(f"{section.name}.{key}", value, config, components)


def _references(section: SchemaDict) -> set[str]:
    """The keys whose values are components: declared ones, and those that an architecture creates on its own."""
    return {*section.inject, *_created_by(getattr(section.pymodule, section.name))}


@cache  # reading the text takes a while
def _created_by(kind: Callable) -> tuple[str, ...]:
    try:
        return tuple(_CREATED.findall(inspect.getsource(kind.from_config)))
    except (AttributeError, OSError):
        return ()


def _keys(section: SchemaDict, where: str, values: Mapping[str, Any]) -> Iterator[str]:
    """Unknown keys, wrong values of the plugin's own, and text where there should be a number, for a section."""
    checks = checks_of(section)
    for key, value in values.items():
        if key not in section.schema:
            keys = config_names.keys_of(section)
            if key not in keys:
                hint = _hint(key, keys, 0.6 if section.strict else _CLOSE)
                said = f"{where} has no key {key!r}{hint or '.'} Its keys are {', '.join(keys)}"
                yield said if section.strict or hint else Doubt(said)
        elif key in checks:
            yield from _checked(where, key, value, section, checks[key])
        elif (
            isinstance(value, str)
            and key != "batch_size"
            and section.has_default(key)
            and _is_number(section.schema[key].default)
        ):
            yield f"{where}.{key} must be a number, but is {value!r}{_number_in(value)}"


def _checked(where: str, key: str, value: Any, section: SchemaDict, check: Callable[[Any], Any]) -> Iterator[str]:
    if value is None and section.has_default(key) and section.schema[key].default is None:
        return
    try:
        check(value)
    except (TypeError, ValueError) as error:
        yield f"{where}.{error}{_number_in(value) if isinstance(value, str) else ''}"


def _reference(where: str, value: Any, config: Mapping[str, Any], components: Collection[str]) -> Iterator[str]:
    """Mistakes in a value that stands for a component: its name, or ``{name: ..., ...}``."""
    name = value.get("name") if isinstance(value, dict) else value
    if not isinstance(name, str) or name == "None":  # which some of ppdet's configurations say for null
        return
    if name not in config:
        yield f"{where} is {name!r}, which is no component{_hint(name, components)}"
    elif isinstance(value, dict) and isinstance(config[name], SchemaDict):
        values = {key: item for key, item in value.items() if key != "name"}
        yield from _keys(config[name], where, values)


def _transforms(config: Mapping[str, Any], _) -> Iterator[str]:
    known = [name for name, kind in vars(transform).items() if inspect.isclass(kind)]
    for where in (f"{reader}.{kind}" for reader in READERS for kind in (*_TRANSFORMS, *_SUPERVISED)):
        reader, _, kind = where.partition(".")
        steps = _section(config, reader).get(kind, [])
        if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
            yield f"{where} must be a list of transforms, such as [Decode: {{}}, Permute: {{}}], but is {steps!r}"
            continue
        for name, options in (item for step in steps for item in step.items()):
            if not hasattr(transform, str(name)):
                yield f"{where}: there is no transform {name}{_hint(name, known)}"
            elif not isinstance(options, dict):
                yield f"{where}: {name} takes a section of options, {{}} if there are none, but got {options!r}"
            else:
                yield from _arguments(f"{where}: {name}", getattr(transform, name), options)


def _datasets(config: Mapping[str, Any], _) -> Iterator[str]:
    known = [name for name, kind in vars(source).items() if inspect.isclass(kind)]
    for section in DATASETS:
        options = dict(_section(config, section))
        if not options:
            continue
        name = options.pop("name", None)
        if not isinstance(getattr(source, str(name), None), type):
            yield f"{section}.name is {name!r}, which is no data set{_hint(name, known)}"
        else:
            yield from _arguments(section, getattr(source, name), options)


def _counts(config: Mapping[str, Any], _) -> Iterator[str]:
    counts = [(name, config.get(name, least), least) for name, least in COUNTS.items()]
    counts += [(f"{reader}.batch_size", _section(config, reader).get("batch_size", 1), 1) for reader in READERS]
    for name, value, least in counts:
        if type(value) is not int or value < least:
            yield f"{name} must be a whole number >= {least}, but is {value!r}"


def _schedule(config: Mapping[str, Any], _) -> Iterator[str]:
    where, schedulers = "LearningRate.schedulers", _schedulers(config)
    if schedulers is None:
        return
    if not isinstance(schedulers, list) or not schedulers:
        yield f"{where} must be a list of a decay and, if wanted, a warm-up, but is {schedulers!r}"
        return
    known = [name for name, kind in vars(optimizer).items() if name.endswith(("Decay", "Warmup")) and callable(kind)]
    names = []
    for entry in schedulers:
        name = entry.get("name") if isinstance(entry, dict) else type(entry).__name__
        names.append(name)
        if name not in known:
            yield f"{where}: there is no schedule {name}{_hint(name, known)}"
        elif isinstance(entry, dict):
            options = {key: value for key, value in entry.items() if key != "name"}
            yield from _arguments(f"{where}: {name}", getattr(optimizer, name), options)
    if "Warmup" in str(names[0]):
        yield f"{where} must begin with a decay, which a warm-up may follow, but is {', '.join(map(str, names))}"


def _optimizer(config: Mapping[str, Any], _) -> Iterator[str]:
    section = _section(config, "OptimizerBuilder")
    where, options = "OptimizerBuilder.optimizer", section.get("optimizer")
    if isinstance(options, dict):
        kinds = {name: kind for name, kind in vars(optimizer.optimizer).items() if inspect.isclass(kind)}
        if hasattr(optimizer, "build_adamwdl"):
            kinds["AdamWDL"] = optimizer.build_adamwdl
        kind = kinds.get(options.get("type"))
        if kind is None:
            yield f"{where}.type is {options.get('type')!r}, which is no optimizer{_hint(options.get('type'), kinds)}"
        else:
            keys = [*inspect.signature(kind).parameters]
            yield from _unknown(where, {*options} - {"type", "param_groups"}, [key for key in keys if key != "kwargs"])
    if isinstance(section.get("regularizer"), dict):
        yield from _unknown("OptimizerBuilder.regularizer", section["regularizer"], ["type", "factor"])


def _export(config: Mapping[str, Any], _) -> Iterator[str]:
    section = config.get("export")
    yield from _unknown("export", section, config_names.EXPORT) if isinstance(section, dict) else ()


def _exported_size(config: Mapping[str, Any], _) -> Iterator[str]:
    """An exported model of ppdet takes images of the size in ``inputs_def``, whatever size the Resize gives."""
    reader = _section(config, "TestReader")
    given, steps = reader.get("inputs_def"), reader.get("sample_transforms")
    shape = given.get("image_shape") if isinstance(given, dict) else None
    if not isinstance(shape, list) or not isinstance(steps, list) or -1 in (size := shape[-2:]):
        return
    for options in (step.get("Resize") for step in steps if isinstance(step, dict)):
        target = options.get("target_size") if isinstance(options, dict) else None
        wanted = [target, target] if isinstance(target, int) else target
        if isinstance(wanted, list) and len(wanted) == 2 and wanted != size:
            yield (
                f"TestReader.inputs_def.image_shape is {shape}, but TestReader's Resize has a target_size of {target}: "
                f"an exported model would resize images to {size}; set it to [3, {wanted[0]}, {wanted[1]}]"
            )


def _unknown(where: str, given: Collection[str], keys: Collection[str]) -> Iterator[str]:
    for key in given:
        if key not in keys:
            yield f"{where} has no key {key!r}{_hint(key, keys) or '.'} Its keys are {', '.join(keys)}"


def _gamma_schedule(section: Any) -> Iterator[str]:
    where = "gamma_schedule"
    if section is None:
        return
    if not isinstance(section, dict):
        yield f"{where} must be a section with kind, gammas and epochs, but is {section!r}"
    elif mistakes := [*_arguments(where, GammaSchedule, section)]:
        yield from mistakes
    else:
        try:
            GammaSchedule(**section)
        except (TypeError, ValueError) as error:
            yield f"{where}: {error}"


def _schedulers(config: Mapping[str, Any]) -> Any:
    return _section(config, "LearningRate").get("schedulers")


def _arguments(where: str, kind: type, options: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the names of options for a class."""
    signature = inspect.signature(kind)
    try:
        signature.bind(**options)
    except TypeError as error:
        unknown = [key for key in options if key not in signature.parameters]
        yield f"{where}: {error}{_hint(unknown[0], signature.parameters) if unknown else ''}"


def _hint(name: Any, known: Collection[str], cutoff: float = 0.6) -> str:
    spelt = {str(one).lower(): one for one in known}
    close = get_close_matches(str(name).lower(), spelt, n=1, cutoff=cutoff)
    return f"; did you mean {spelt[close[0]]}?" if close else ""


def _swapped(name: str, known: Collection[str]) -> str:
    """A hint at a name of the same letters in nearly the same order."""
    return next((_hint(name, [one], 0.75) for one in known if sorted(one) == sorted(name)), "")


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A section's keys; none if a tag, such as !COCODataSet, has made an object of it, or if it is none."""
    section = config.get(name)
    return section if isinstance(section, SchemaDict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number_in(text: str) -> str:
    try:
        number = float(text)
    except ValueError:
        return ""
    return f", which is text to YAML: write {number:.10f}".rstrip("0") if "e" in text.lower() else ""
