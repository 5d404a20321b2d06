"""A data set of another format: read and checked as a whole, and written as COCO's annotation files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from paddle_focal.data.checks.data_report import DataReport
from paddle_focal.data.checks.preflight import stop_on_errors
from paddle_focal.data.formats import coco
from paddle_focal.data.formats.findings import Findings, FormatError
from paddle_focal.data.formats.layout import SPLITS, Sample, Source
from paddle_focal.data.formats.reading import class_order, find_splits, open_data_set, read_images
from paddle_focal.errors import ToolError


@dataclass(frozen=True)
class Part:
    """One annotation file: its split, the section of a configuration that names it, and what it is made of."""

    split: str
    section: str | None
    samples: list[Sample]
    image_folder: Path
    target: Path


def convert(options: argparse.Namespace) -> str:
    """Write the annotation files, and return the lines for a configuration.

    Args:
        options: of the command ``convert``.

    Raises:
        ToolError: something is wrong with the data set; then nothing is written.
    """
    report = DataReport()
    parts, contents = _read(options, report, is_written=True)
    stop_on_errors(report)
    for part, content in zip(parts, contents):
        try:
            coco.write(part.target, content)
        except OSError as error:
            reason = f"{part.target} cannot be written: {error.strerror}"
            raise ToolError(f"{reason}; --output_dir names another place") from None
    print(*(part.target for part in parts), sep="\n")
    return _configuration(options.folder, len(contents[0]["categories"]), parts)


def check(options: argparse.Namespace, report: DataReport) -> None:
    """Report what is wrong with the data set, as :func:`convert` would, and write nothing."""
    _read(options, report, is_written=False)


def _read(options: argparse.Namespace, report: DataReport, is_written: bool) -> tuple[list[Part], list[dict]]:
    """The annotation files to write, and their contents."""
    findings = Findings(report, options.skip_bad_boxes)
    ignored = [_target(split, options) for split in SPLITS]  # LabelMe's files are JSON, too
    source = Source(options.folder, options.image_dir, options.anno_dir, options.label_list, options.encoding, ignored)
    try:
        data = open_data_set(source, options.dataset_type, findings)
        classes = data.class_names()
        splits = find_splits(data)
    except FormatError as error:
        raise ToolError(str(error)) from None
    if not all(splits.values()):
        stop_on_errors(report)  # which say why there are no images
    if is_written:
        parts = _parts(_split(splits, options, report), splits, options)
        _refuse_existing(parts, options.overwrite)
    else:
        parts = _parts({split or "train": samples for split, samples in splits.items()}, splits, options)
    images = [read_images(data, part.samples, classes) for part in parts]
    findings.summarize()
    if report.errors:
        stop_on_errors(report)
    categories = classes or class_order(image for part in images for image in part)
    contents = [
        coco.document(read, part.image_folder, categories, is_evaluated=part.split != "train")
        for part, read in zip(parts, images)
    ]
    _note(data.name, parts, contents, report)
    documents = {
        part.section or part.target.name: (part.image_folder, content) for part, content in zip(parts, contents)
    }
    coco.check(options.folder, documents, report)
    return parts, contents


def _target(split: str, options: argparse.Namespace) -> Path:
    return (options.output_dir or options.folder) / "annotations" / f"instances_{split}.json"


def _split(found: dict[str, list[Sample]], options: argparse.Namespace, report: DataReport) -> dict[str, list[Sample]]:
    """The splits that were found, or else those by --val and --seed."""
    if "" in found:
        share, seed = 0.2 if options.val is None else options.val, options.seed or 0
        try:
            splits = coco.split_by_seed(found[""], share, seed)
        except ValueError as error:
            report.error(str(error))
            stop_on_errors(report)
        counts = ", ".join(f"{split} {len(samples):,}" for split, samples in splits.items())
        report.note(f"split at random, as --val {share:g} --seed {seed} does: {counts} images")
        return splits
    if options.val is not None or options.seed is not None:
        counts = ", ".join(f"{split} {len(samples):,}" for split, samples in found.items())
        raise ToolError(f"{options.folder} is already split ({counts} images): leave out --val and --seed")
    return found


def _parts(splits: dict[str, list[Sample]], found: dict[str, list[Sample]], options: argparse.Namespace) -> list[Part]:
    sections = {"train": "TrainDataset", "val" if "val" in splits else "test": "EvalDataset"}
    return [
        Part(split, sections.get(split), part, coco.image_folder(found.get("", part)), _target(split, options))
        for split, part in splits.items()
    ]


def _refuse_existing(parts: Sequence[Part], overwrite: bool) -> None:
    existing = [str(part.target) for part in parts if part.target.exists()]
    if existing and not overwrite:
        raise ToolError(
            f"there already: {', '.join(existing)}; remove them, choose another --output_dir, or pass --overwrite"
        )


def _note(name: str, parts: Sequence[Part], contents: Sequence[dict], report: DataReport) -> None:
    samples = [sample for part in parts for sample in part.samples]
    background = sum(sample.annotation is None for sample in samples)
    report.note(f"{name}: {len(samples):,} images, {background:,} of them without an annotation file, as background")
    difficult = sum("difficult" in entry for content in contents for entry in content["annotations"])
    if difficult:
        report.note(f"{difficult:,} difficult objects: trained on like others, left out of evaluation as crowds")
    categories = ", ".join(f"{category['id']} {category['name']}" for category in contents[0]["categories"])
    report.note(f"categories: {categories}")


def _configuration(folder: Path, num_classes: int, parts: Sequence[Part]) -> str:
    """The lines for a configuration of PaddleDetection."""
    blocks: list[dict] = [{"num_classes": num_classes}]
    for part in parts:
        if part.section:
            values = {
                "dataset_dir": folder.as_posix(),
                "image_dir": coco.relative(part.image_folder, folder),
                "anno_path": coco.relative(part.target, folder),
            }
            blocks.append({part.section: values})
    blocks.append({"TestDataset": {name: values[name] for name in ("dataset_dir", "anno_path")}})
    return "\n".join(yaml.safe_dump(block, sort_keys=False, allow_unicode=True, width=1000) for block in blocks)
