"""Checking a configuration's data sets, on its own or before a training run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import paddle_focal.detection  # noqa: F401 - imports ppdet without its chatter, or says how to install it

# isort: split
import numpy as np
from paddle import distributed
from ppdet.core import workspace
from ppdet.data import source
from ppdet.data.source.coco import COCODataSet
from ppdet.data.source.voc import VOCDataSet

from paddle_focal.data.checks.coco_check import Contents, check_coco
from paddle_focal.data.checks.data_report import DataReport, some
from paddle_focal.data.checks.reader_check import check_reader
from paddle_focal.data.checks.voc_check import check_voc
from paddle_focal.errors import ToolError

logger = logging.getLogger("paddle_focal")

SECTIONS = ("TrainDataset", "EvalDataset")


def check_data(config, sections: Sequence[str] = SECTIONS) -> DataReport:
    """Check the data sets of a configuration that has been loaded.

    Args:
        config: PaddleDetection's.
        sections: which of 'TrainDataset' and 'EvalDataset' to check. One that is neither a COCODataSet nor a
            VOCDataSet is warned of.
    """
    report = DataReport()
    datasets: dict[str, COCODataSet | VOCDataSet] = {}
    for section in sections:
        kind = _kind(config[section])
        if kind is None or not issubclass(kind, (COCODataSet, VOCDataSet)):
            name = kind.__name__ if kind else "none"
            report.warn(f"{section} is not checked: only a COCODataSet or a VOCDataSet is, but this is {name}")
            continue
        if section == "EvalDataset":
            _check_metric(config.metric, kind, report.about(section))
        datasets[section] = workspace.create(section)()
    contents = check_datasets(datasets, config.num_classes, report)
    if "TrainDataset" in contents:
        _check_batches(contents["TrainDataset"], config["TrainReader"], report.about("TrainDataset"))
    for section in contents if not report.errors else ():
        check_reader(config, section.replace("Dataset", "Reader"), contents[section].sizes, report.about(section))
    return report


def check_datasets(
    datasets: Mapping[str, COCODataSet | VOCDataSet], num_classes: int, report: DataReport
) -> dict[str, Contents]:
    """Check data sets, each on its own and one beside the other, and return what they hold.

    Args:
        datasets: by 'TrainDataset' and 'EvalDataset', as in a configuration, or another name; not parsed yet.
        num_classes: the configuration's.
        report: receives what is found.
    """
    contents: dict[str, Contents] = {}
    for section, dataset in datasets.items():
        check = check_voc if isinstance(dataset, VOCDataSet) else check_coco
        checked = check(dataset, num_classes, report.about(section), evaluated=section == "EvalDataset")
        if checked:
            contents[section] = checked
    if "TrainDataset" in contents:
        _check_classes(contents["TrainDataset"], report.about("TrainDataset"))
    if contents.keys() >= {*SECTIONS}:
        _compare(*(contents[section] for section in SECTIONS), report.about(" and ".join(SECTIONS)))
    return contents


def _kind(section) -> type | None:
    """The class of a data set, given as ``{name: COCODataSet, ...}`` or as the object that ``!COCODataSet`` creates."""
    if not isinstance(section, dict):
        return type(section)
    kind = getattr(source, str(section.get("name")), None)
    return kind if isinstance(kind, type) else None


def _check_metric(metric: str, kind: type, report: DataReport) -> None:
    """A metric of ppdet's reads the annotations of one kind of data set."""
    name = "VOC" if issubclass(kind, VOCDataSet) else "COCO"
    if metric in ("VOC", "COCO") and metric != name:
        report.error(f"metric is {metric}, but a {kind.__name__} needs another one: set metric: {name}")


def _check_batches(train: Contents, reader, report: DataReport) -> None:
    ranks, batch = distributed.get_world_size(), reader["batch_size"]
    share = -(-train.images // ranks)
    if 0 < share < batch and reader["drop_last"]:
        of = f" for each of {ranks} processes" if ranks > 1 else ""
        report.error(f"{share} images{of} make no batch: TrainReader.batch_size is {batch}, and drop_last is true")


def _check_classes(train: Contents, report: DataReport) -> None:
    without = [train.classes[i] for i in np.flatnonzero(train.boxes == 0)]
    if without and len(without) == len(train.classes):
        report.error("no boxes to train on")
    elif without:
        report.warn(f"{len(without)} classes have no boxes: {some(without, 10)}")


def _compare(train: Contents, evaluation: Contents, report: DataReport) -> None:
    for index, (one, other) in enumerate(zip(train.classes, evaluation.classes)):
        if one != other:
            report.error(
                f"their categories differ: class {index} is {one!r} in training and {other!r} in evaluation. Name the "
                "same categories in the same order in both files"
            )
            break
    shared = sorted(train.files & evaluation.files)
    if shared:
        report.warn(f"{len(shared):,} images are in both: {some(shared)}")


def stop_on_errors(report: DataReport) -> None:
    """Log what was found, on the first rank, and raise a ToolError with all the errors, on every rank.

    So even a rank that alone sees errors, because its machine has other files, stops the run.
    """
    if distributed.get_rank() == 0:
        for note in report.notes:
            logger.info(note)
        for warning in report.warnings:
            logger.warning(warning)
    if report.errors:
        count = len(report.errors)
        lines = "".join(f"\n- {error}" for error in report.errors)
        raise ToolError(f"{count} error{'s'[: count > 1]} in the data:{lines}")
