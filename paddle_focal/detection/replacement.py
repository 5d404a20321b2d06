"""The components of PaddleDetection that the plugin takes over under their own names.

A replacement is a sub-class of PaddleDetection's class with the same name, so that configurations, checkpoints and
exports stay as they are. Which one ``create`` makes is decided by the module that the name's section refers to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Callable, ClassVar
from unittest.mock import patch

from paddle import nn
from ppdet.core import workspace
from ppdet.core.config.schema import SchemaDict, SchemaValue

from paddle_focal.detection.components import check_keys
from paddle_focal.losses.arguments import check_alpha, check_detach_weight, check_gamma

#: By the name of a component, the class whose methods take the place of PaddleDetection's.
REPLACEMENTS: dict[str, type[Replacement]] = {}


def replaces(*names: str) -> Callable[[type[Replacement]], type[Replacement]]:
    """A decorator for the replacement of the components of these names."""

    def decorate(cls: type[Replacement]) -> type[Replacement]:
        REPLACEMENTS.update(dict.fromkeys(names, cls))
        return cls

    return decorate


class Replacement:
    """What the replacements share: keys of their own, beside those of the component.

    A sub-class names them in ``OWN_KEYS``, with their defaults, and gets their values in ``configure``, when the
    component itself has been made. A key that the component has, too, is the replacement's alone.
    """

    OWN_KEYS: ClassVar[dict[str, Any]] = {}
    HIGHEST_ALPHA: ClassVar[float] = 1.0
    STOCK: ClassVar[type]  # PaddleDetection's class

    @classmethod
    def checks(cls) -> dict[str, Callable[[Any], Any]]:
        """The checks of own keys, by their names, which are made before anything else is."""
        alpha = partial(check_alpha, highest=cls.HIGHEST_ALPHA)
        known: dict[str, Callable[[Any], Any]] = {
            "alpha": alpha,
            "gamma": check_gamma,
            "detach_weight": check_detach_weight,
        }
        return {key: known[key] for key in known if key in cls.OWN_KEYS}

    def __init__(self, *args: Any, **config: Any) -> None:
        own = {key: config.pop(key, default) for key, default in self.OWN_KEYS.items()}
        super().__init__(*args, **config)
        self.configure(**own)

    def configure(self, **own: Any) -> None:
        """Take the keys in ``OWN_KEYS``."""

    def names(self, **meanings: Any) -> AbstractContextManager:
        """A context in which names mean something else in the module of PaddleDetection's class."""
        return patch.multiple(self.STOCK.__module__, **meanings)

    @classmethod
    def from_config(cls, config: SchemaDict, *args: Any, **kwargs: Any) -> dict:
        """Called by ppdet with the section before it creates the component."""
        check_keys(config)
        of_component = getattr(super(), "from_config", None)
        return of_component(config, *args, **kwargs) if of_component else {}


def take_over(names: Sequence[str] | None) -> list[str]:
    """Put replacements in the place of components; returns the names of those that were not replaced yet.

    Args:
        names: the components, or None for all that this PaddleDetection has.
    """
    replaced = load_replacements()
    known = [name for name in REPLACEMENTS if isinstance(workspace.global_config.get(name), SchemaDict)]
    for name in names or ():
        if name not in known:
            raise ValueError(f"names has {name!r}, which is none of the components that can be replaced: {known}")
    taken = []
    for name in known if names is None else names:
        section = workspace.global_config[name]
        if section.pymodule is not replaced:
            workspace.global_config[name] = _section(section, replaced)
            taken.append(name)
    return taken


def load_replacements() -> ModuleType:
    """The package of all replacements, with its modules loaded."""
    package = import_module("paddle_focal.detection.replaced")
    for module in iter_modules(package.__path__):
        import_module(f"{package.__name__}.{module.name}")
    return package


def _section(section: SchemaDict, replaced: ModuleType) -> SchemaDict:
    """A component's section with the replacement's class and keys."""
    replacement, component = REPLACEMENTS[section.name], getattr(section.pymodule, section.name)
    body = {"__module__": replaced.__name__, "__doc__": component.__doc__, "STOCK": component}
    setattr(replaced, section.name, type(section.name, (replacement, component), body))
    result = section.copy()
    result.pymodule, result.schema = replaced, dict(section.schema)
    for key, default in replacement.OWN_KEYS.items():
        value = SchemaValue(key, key)
        value.set_default(default)
        result.set_schema(key, value)
    return result


@contextmanager
def outputs_of(layers: Iterable[nn.Layer]):
    """A context that gives a list, to which the outputs of the layers are added as they are computed."""
    outputs: list[Any] = []

    def note(layer: Any, inputs: Any, output: Any) -> Any:
        outputs.append(output)

    with ExitStack() as stack:
        for layer in layers:
            hook = layer.register_forward_post_hook(note)
            stack.callback(hook.remove)
        yield outputs
