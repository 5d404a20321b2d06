"""What a training run says at its end: its AP, its files, and how to go on."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

from paddle_focal import configurations

#: The endings of a checkpoint's files.
_OF_CHECKPOINTS = (".pdparams", ".pdopt", ".pdavg", ".state.json")


def summary(flags: argparse.Namespace, folder: Path, start: float) -> str:
    """The last words of a run.

    Args:
        flags: its command line.
        folder: its output folder.
        start: the time when it began; older files are not its own.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.stat().st_mtime >= start)
    lines = ["", f"Trained{_result(folder) if 'metrics.json' in names else ''}. In {folder}:"]
    lines += [f"  {line}" for line in _files(names)]
    best = "best_model" if "best_model.pdparams" in names else "model_final"
    lines += ["", "Next:", *(f"  paddle-focal {command}" for command in _commands(flags, folder / best))]
    return "\n".join(lines)


def _result(folder: Path) -> str:
    metrics = json.loads((folder / "metrics.json").read_text())
    value = next((metrics[name] for name in ("bbox_AP", "bbox_mAP") if metrics.get(name) is not None), None)
    return "" if value is None else f": {'mAP' if 'bbox_mAP' in metrics else 'AP'} {value:.3f}"


def _files(names: list[str]) -> list[str]:
    """The names, those of checkpoints with the same endings in one line."""
    endings: dict[str, list[str]] = {}
    for name in names:
        stem, dot, ending = name.partition(".")
        if dot + ending in _OF_CHECKPOINTS:
            endings.setdefault(stem, []).append(dot + ending)
    together: dict[tuple[str, ...], list[str]] = {}
    for stem in sorted(endings, key=lambda stem: (stem.isdecimal(), stem.isdecimal() and int(stem), stem)):
        together.setdefault(tuple(endings[stem]), []).append(stem)
    others = [name for name in names if not name.endswith(_OF_CHECKPOINTS)]
    return [*(f"{', '.join(stems)}: {' '.join(kinds)}" for kinds, stems in together.items()), ", ".join(others)]


def _commands(flags: argparse.Namespace, weights: Path) -> list[str]:
    """The commands that take the weights, with the configuration and the settings of the run."""
    path = Path(flags.config)
    config = path.stem if path.parent == configurations.FOLDER else flags.config
    trust = ["--trust-config"] if flags.trust_config else []
    settings = ["-o", *flags.settings, f"weights={weights}"]
    commands = (["eval"], ["infer", "--infer_dir", "FOLDER"], ["export"])
    return [shlex.join([name, "-c", config, *trust, *options, *settings]) for name, *options in commands]
