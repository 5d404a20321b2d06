"""The names of a model's classes where there is no data set to evaluate on: in prediction and export."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ppdet.core.workspace import create
from ppdet.data.source.coco import COCODataSet
from ppdet.data.source.voc import VOCDataSet

from paddle_focal.engine.logs import logger
from paddle_focal.errors import ToolError

#: How many names ppdet has for a file that is not there, by the metric.
_DEFAULTS = {"COCO": 80, "VOC": 20}
_LIST = "a text file with a class a line, of"
_ACCEPTED = {"COCO": f"an annotation file, or {_LIST}", "VOC": _LIST}


def settle(config, dataset) -> None:
    """Have ``TestDataset`` name the model's classes, by the file of ``EvalDataset`` or ``TrainDataset`` if need be.

    Ppdet takes the names of COCO's or VOC's classes where its file is missing, whatever the model, and those of any
    file that is there. A configuration that builds on another one, and names no ``TestDataset``, has that of the other.

    Args:
        config: PaddleDetection's, loaded.
        dataset: the ``TestDataset``, which is changed.

    Raises:
        ToolError: no file names as many classes as the model has.
    """
    if config.metric not in _DEFAULTS:
        return
    path, count = dataset.get_anno(), config.num_classes
    names = _names_in(path, config.metric)
    if len(names or ()) == count:
        other = _file_of(config, "EvalDataset")
        named = names if _same(other, path) else _names_in(other, config.metric)
        if len(named or ()) == count and named != names:
            logger.warning("TestDataset names other classes (%s) than %s", path, other)
        return
    is_there = bool(path) and os.path.isfile(path)
    state = f"has {len(names)}" if names is not None else "has no list of classes" if is_there else "is not there"
    found = f"names {path}, which {state}" if path else "names no file"
    for section in ("EvalDataset", "TrainDataset"):
        other = _file_of(config, section)
        if len(_names_in(other, config.metric) or ()) == count:
            logger.info("The classes have the names in %s, as TestDataset %s", other, found)
            dataset.anno_path = os.path.abspath(other)
            return
    if not is_there and _DEFAULTS[config.metric] == count:
        return  # and ppdet warns
    accepted = f"{_ACCEPTED[config.metric]} the model's {count} classes"
    raise ToolError(f"TestDataset.anno_path, under TestDataset.dataset_dir, must be {accepted}, but it {found}")


def _file_of(config, section: str) -> str | None:
    """The file of a data set that names its classes."""
    dataset = create(section)() if config.get(section) else None
    if isinstance(dataset, VOCDataSet):
        return dataset.get_label_list() if dataset.label_list else None
    return dataset.get_anno() if isinstance(dataset, COCODataSet) else None


def _same(one: str | None, other: str) -> bool:
    return one is not None and os.path.abspath(one) == os.path.abspath(other)


def _names_in(path: str | None, metric: str) -> list[str] | None:
    """The names that ppdet finds in a file; None if it is not there, or not of a kind that ppdet reads."""
    ending = Path(path or "").suffix
    try:
        text = Path(path or "").read_text(encoding="utf-8")
        if ending == ".json" and metric == "COCO":
            return [str(category["name"]) for category in json.loads(text)["categories"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if ending == ".json" or (ending != ".txt" and metric == "COCO"):
        return None
    names = [line.strip() for line in text.splitlines()]
    return names[1:] if names[:1] == ["background"] else names
