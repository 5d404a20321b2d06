"""What is wrong with a configuration, all at once, before ppdet's own code stumbles over it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from ppdet.core.config.schema import SchemaDict
from ppdet.data import source, transform
from ppdet.optimizer import optimizer

from paddle_focal.engine.logs import logger
from paddle_focal.errors import ToolError

#: Whole numbers from 1 on, or from 0 on.
_COUNTS = {"epoch": 1, "num_classes": 1, "snapshot_epoch": 1, "log_iter": 1, "worker_num": 0}
#: What ppdet reads beside sections and the keys that they share, and a misspelling of which it would not notice.
_NAMES = {
    *("architecture", "pretrain_weights", "weights", "metric", "map_type", "save_dir", "find_unused_parameters"),
    *("use_gpu", "use_npu", "use_xpu", "use_mlu", "use_ema", "ema_decay", "ema_decay_type", "cycle_epoch"),
    *("ema_black_list", "amp_level", "init_loss_scaling"),
    *_COUNTS,
}
_OWN_SECTIONS = ("gamma_schedule",)
_READERS = ("TrainReader", "EvalReader", "TestReader")
_DATASETS = ("TrainDataset", "EvalDataset", "TestDataset")
_CREATED = re.compile(r"create\(cfg\['(\w+)'\]")
_CLOSE = 0.85  # of names that ppdet ignores, and users may have for purposes of their own


def check_config(config: Mapping[str, Any], components: Collection[str]) -> None:
    """Look for misspelt names and values of a wrong type; a misspelt name that ppdet ignores is a warning.

    Args:
        config: the configuration, merged with the command line's settings.
        components: the names of all sections that ppdet knows.

    Raises:
        ToolError: a mistake that would end ppdet with a traceback; the message has a line for each.
    """
    checks = (_sections, _architecture, _components, _transforms, _datasets, _counts, _schedule)
    mistakes = [mistake for check in checks for mistake in check(config, components)]
    if mistakes:
        lines = "".join(f"\n- {mistake}" for mistake in mistakes)
        raise ToolError(f"{len(mistakes)} mistake{'s'[: len(mistakes) > 1]} in the configuration:{lines}")


def warn_of_ignored(config: Mapping[str, Any], given: Collection[str], components: Collection[str]) -> None:
    """Warn of the settings among ``given`` that nothing reads and whose names look misspelt."""
    shared = {key for name in components if isinstance(config[name], SchemaDict) for key in config[name].shared}
    known = {*_NAMES, *shared}
    for name in given:
        if name not in known and not isinstance(config[name], (dict, list)) and (hint := _hint(name, known, _CLOSE)):
            logger.warning("Nothing reads the setting %s%s", name, hint)


def allow_schedule_alone(config: Mapping[str, Any]) -> None:
    """Make a schedule without a warm-up work, for which ppdet wants ``use_warmup: false`` besides."""
    schedulers = _schedulers(config)
    if isinstance(schedulers, list) and len(schedulers) == 1:
        if isinstance(schedulers[0], dict):
            schedulers[0].setdefault("use_warmup", False)
        elif hasattr(schedulers[0], "use_warmup"):  # made by a tag, such as !CosineDecay
            schedulers[0].use_warmup = False


def _sections(config: Mapping[str, Any], components: Collection[str]) -> Iterator[str]:
    for name, value in config.items():
        if name in components:
            if not isinstance(value, SchemaDict) and not hasattr(value, "__dict__"):
                yield f"{name} must be a section with keys, but is {value!r}"
        elif isinstance(value, dict) and name not in _OWN_SECTIONS:
            hint = _hint(name, [*components, *_OWN_SECTIONS], _CLOSE)
            yield from [f"there is no section {name}{hint}"] if hint else []


def _architecture(config: Mapping[str, Any], components: Collection[str]) -> Iterator[str]:
    name = config.get("architecture")
    if name not in components:
        yield f"architecture {name!r} is not known{_hint(name, components)}" if name else "architecture names no model"


def _components(config: Mapping[str, Any], components: Collection[str]) -> Iterator[str]:
    """Mistakes in the sections that the configuration has, one by one."""
    for section in filter(None, (_section(config, name) for name in components)):
        yield from _keys(section, section.name, section)
        for key, value in section.items():
            if key in _references(section):
                yield from _reference(f"{section.name}.{key}", value, config, components)


def _references(section: SchemaDict) -> set[str]:
    """The keys whose values are components: declared ones, and those that an architecture creates on its own."""
    try:
        text = inspect.getsource(getattr(section.pymodule, section.name).from_config)
    except (AttributeError, OSError):
        text = ""
    return {*section.inject, *_CREATED.findall(text)}


def _keys(section: SchemaDict, where: str, values: Mapping[str, Any]) -> Iterator[str]:
    """Unknown keys, and text where there should be a number, in values for a section."""
    for key, value in values.items():
        if key not in section.schema:
            known = ", ".join(section.schema)
            yield from [
                f"{where} has no key {key!r}{_hint(key, section.schema)}; its keys are {known}"
            ] * section.strict
        elif (
            isinstance(value, str)
            and key != "batch_size"
            and section.has_default(key)
            and _is_number(section.schema[key].default)
        ):
            yield f"{where}.{key} must be a number, but is {value!r}{_number_in(value)}"


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
    for where in (f"{reader}.{kind}" for reader in _READERS for kind in ("sample_transforms", "batch_transforms")):
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
    for section in _DATASETS:
        options = dict(_section(config, section))
        if not options:
            continue
        name = options.pop("name", None)
        if not isinstance(getattr(source, str(name), None), type):
            yield f"{section}.name is {name!r}, which is no data set{_hint(name, known)}"
        else:
            yield from _arguments(section, getattr(source, name), options)


def _counts(config: Mapping[str, Any], _) -> Iterator[str]:
    counts = [(name, config.get(name, least), least) for name, least in _COUNTS.items()]
    counts += [(f"{reader}.batch_size", _section(config, reader).get("batch_size", 1), 1) for reader in _READERS]
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


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A section's keys; none if a tag, such as !COCODataSet, has made an object of it, or if it is none."""
    return config[name] if isinstance(config[name], SchemaDict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number_in(text: str) -> str:
    try:
        number = float(text)
    except ValueError:
        return ""
    return f", which is text to YAML: write {number:.10f}".rstrip("0") if "e" in text.lower() else ""
