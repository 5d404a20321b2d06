"""Which configurations of PaddleDetection train with a loss of the focal family, and in which it is replaced."""

from __future__ import annotations

import contextlib
import copy
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ppdet
from ppdet.core import workspace

from paddle_focal.detection.replacement import REPLACEMENTS, load_replacements
from paddle_focal.detection.sections import sections_in_use
from paddle_focal.engine.mistakes import in_one_line
from paddle_focal.errors import ToolError

#: The components of PaddleDetection that compute a loss of the focal family, or the costs of a match by its formula;
#: some do it under one setting only. A head that is here does it itself: CenterNetHead makes its CTFocalLoss.
FAMILY: dict[str, tuple[str, Any] | None] = {
    **dict.fromkeys(("PPYOLOEHead", "PPYOLOEContrastHead", "PPYOLOEInsHead", "PPYOLOERHead")),
    **dict.fromkeys(("TOODHead", "FCOSRHead", "S2ANetHead", "CenterNetHead")),
    **dict.fromkeys(("FocalLoss", "Weighted_FocalLoss", "QualityFocalLoss", "VarifocalLoss")),
    **dict.fromkeys(("CTFocalLoss", "CenterFocalLoss", "FCOSLoss", "FCOSLossMILC", "FCOSLossCR")),
    **dict.fromkeys(("SOLOv2Loss", "SparseRCNNLoss", "QueryInstLoss", "CLRNetLoss")),
    **dict.fromkeys(("DETRLoss", "DINOLoss", "MaskDINOLoss", "HungarianMatcher"), ("use_focal_loss", True)),
    **dict.fromkeys(("SSODFCOSLoss", "SSODPPYOLOELoss"), ("ssod_method", "DenseTeacher")),
}


@dataclass(frozen=True)
class Configuration:
    """What one configuration trains with.

    Attributes:
        path: the file, from the folder ``configs`` on.
        components: those of the focal family; none if it has no such loss.
        error: why PaddleDetection cannot load it, else empty.
    """

    path: str
    components: tuple[str, ...] = ()
    error: str = ""

    @property
    def missing(self) -> list[str]:
        """The components that are not replaced."""
        return [name for name in self.components if name not in REPLACEMENTS]


def tree_of_ppdet() -> Path:
    """The source tree that ppdet was imported from.

    Raises:
        ToolError: it has no configurations, as the pip package.
    """
    tree = Path(ppdet.__file__).parents[1]
    if not (tree / "configs").is_dir():
        raise ToolError(
            f"The ppdet in {tree} has no configurations beside it: name a source tree of PaddleDetection "
            "with --paddledetection DIR"
        )
    return tree


def survey(tree: Path) -> list[Configuration]:
    """All that can be trained with in a tree of PaddleDetection, and what cannot be loaded; nothing is built."""
    load_replacements()
    folder = tree / "configs"
    found = (_configuration(path, str(path.relative_to(folder))) for path in sorted(folder.rglob("*.yml")))
    return [configuration for configuration in found if configuration]


def _configuration(file: Path, path: str) -> Configuration | None:
    """None for a part of other configurations: it has no architecture, or does not say how long to train."""
    with _workspace_of_its_own():
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # what ppdet says of a class that a tag names
                config = workspace.load_config(str(file))
        except Exception as error:
            return Configuration(path, error=in_one_line(error))
        if "architecture" not in config or "epoch" not in config:
            return None
        used = {section.name for section in sections_in_use() if _is_focal(section)}
        return Configuration(path, tuple(sorted(used)))


@contextlib.contextmanager
def _workspace_of_its_own() -> Iterator[None]:
    """A context after which ppdet's workspace is as it was before."""
    config = workspace.global_config
    before = {**config}
    config.update(_copied(before))
    try:
        yield
    finally:
        config.clear()
        config.update(before)


def _copied(value: Any) -> Any:
    """A copy of dictionaries in dictionaries; ppdet's sections do not let themselves be copied deeply."""
    if not isinstance(value, dict):
        return value
    result = copy.copy(value)
    for key, item in value.items():
        dict.__setitem__(result, key, _copied(item))
    return result


def _is_focal(section: dict) -> bool:
    if section.name not in FAMILY or FAMILY[section.name] is None:
        return section.name in FAMILY
    key, value = FAMILY[section.name]
    return section.get(key, workspace.global_config.get(key)) == value


def in_numbers(configurations: Sequence[Configuration]) -> dict[str, Any]:
    """What :func:`in_words` says, for a program."""
    focal = [configuration for configuration in configurations if configuration.components]
    counts = Counter(name for configuration in focal for name in configuration.components)
    return {
        "focal": len(focal),
        "served": sum(not configuration.missing for configuration in focal),
        "components": {
            name: {"configurations": count, "served": name in REPLACEMENTS} for name, count in counts.most_common()
        },
        "configurations": {
            one.path: {"error": one.error}
            if one.error
            else {"components": [*one.components], "served": not one.missing if one.components else None}
            for one in configurations
        },
    }


def in_words(configurations: Sequence[Configuration], each: bool = False) -> str:
    """Tables in Markdown, and a summary.

    Args:
        configurations: of :func:`survey`.
        each: whether to list each configuration, too.
    """
    numbers = in_numbers(configurations)
    components = [
        (name, str(row["configurations"]), "yes" if row["served"] else "no: not replaced")
        for name, row in numbers["components"].items()
    ]
    parts = [_table(("component", "configurations", "served"), components)]
    loaded = [one for one in configurations if not one.error]
    if each:
        rows = [(one.path, ", ".join(one.components) or "no focal loss", _verdict(one)) for one in loaded]
        parts.append(_table(("configuration", "components", "served"), rows))
    failed = [f"- {one.path}: {one.error}" for one in configurations if one.error]
    if failed:
        parts += [f"PaddleDetection cannot load {len(failed)}:", "\n".join(failed)]
    parts.append(
        f"{numbers['served']} of {numbers['focal']} configurations that train with a loss of the focal family are "
        f"served; {len(loaded) - numbers['focal']} others have no such loss."
    )
    return "\n\n".join(parts)


def _verdict(configuration: Configuration) -> str:
    if configuration.missing:
        return f"no: {', '.join(configuration.missing)} not replaced"
    return "yes" if configuration.components else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rows = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows)
