"""What is wrong with the categories of a COCO file."""

from __future__ import annotations

from paddle_focal.data.checks.coco_file import repeated
from paddle_focal.data.checks.data_report import DataReport, some


def check_categories(categories: list[dict], num_classes: int, report: DataReport) -> None:
    """Check categories for training and evaluation alike.

    Args:
        categories: in the order of the classes.
        num_classes: the configuration's.
        report: receives what is found.
    """
    names = [str(category["name"]) for category in categories]
    if len(categories) != num_classes:
        report.error(
            f"num_classes is {num_classes}, but there are {len(names)} categories ({some(names)}): set "
            f"num_classes: {len(names)}; the background is not counted"
        )
    twice = repeated(names)
    if twice:
        report.warn(f"{len(twice)} names belong to several categories, which are several classes: {some(twice)}")
    background = [name for name in names if name.strip(" _").lower() == "background"]
    if background:
        report.warn(
            f"category {some(background)} is a class like any other, as the background needs none: take it out, with "
            "its annotations, unless it has objects of its own"
        )


def check_classwise(categories: list[dict], report: DataReport) -> None:
    """Check what ``--classwise`` makes of the categories of an evaluation.

    Args:
        categories: in the order of the classes.
        report: receives what is found.
    """
    ids = [category["id"] for category in categories]
    if ids != sorted(ids):
        report.warn(
            f"the categories are not in the order of their ids ({some(ids)}), so that the table of --classwise has the "
            "AP of one under the name of another: list them in that order, in training, too"
        )
    names = [str(category["name"]) for category in categories if "/" in str(category["name"])]
    if names:
        report.warn(f"{len(names)} names have a slash, with which --classwise cannot write a file: {some(names)}")
