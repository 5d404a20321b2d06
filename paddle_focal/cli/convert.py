"""``paddle-focal convert`` and ``tools/convert.py``: make COCO JSON of a data set in another format."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from paddle_focal.cli.arguments import ending_in_words
from paddle_focal.data.checks.data_report import DataReport
from paddle_focal.data.checks.preflight import stop_on_errors
from paddle_focal.data.formats import coco
from paddle_focal.data.formats.findings import Findings, FormatError
from paddle_focal.data.formats.layout import SPLITS, Sample, Source
from paddle_focal.data.formats.reading import FORMATS, class_order, find_splits, open_data_set, read_images
from paddle_focal.errors import ToolError

DESCRIPTION = """Make COCO JSON of a folder of images with VOC, YOLO or LabelMe annotations.

Images stay where they are. A data set that is split, by lists (ImageSets/Main, train.txt), by data.yaml or by folders
called train and val, stays so; another one is split by --val and --seed. Everything that is wrong is said at once, and
then nothing is written. At the end come the lines for a configuration."""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the data set's, or its data.yaml; dataset_dir of the configuration")
    parser.add_argument("--dataset_type", choices=list(FORMATS), help="default: what there is")
    parser.add_argument("--image_dir", metavar="DIR", help="folder of the images, in the data set's")
    parser.add_argument("--anno_dir", metavar="DIR", help="folder of the annotation files, in the data set's")
    parser.add_argument(
        "--label_list",
        type=Path,
        metavar="FILE",
        help="names of the classes in their order, one a line (default: label_list.txt, labels.txt, data.yaml, "
        "classes.txt or obj.names of the data set; without one, in alphabetical order)",
    )
    parser.add_argument("--val", type=float, metavar="SHARE", help="of the images for validation (default: 0.2)")
    parser.add_argument("--seed", type=int, metavar="N", help="of the split (default: 0)")
    parser.add_argument(
        "--output_dir", type=Path, metavar="DIR", help="for annotations/instances_*.json (default: folder)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the files if they exist")
    parser.add_argument("--encoding", help="of text files that are not UTF-8, such as gbk")
    parser.add_argument(
        "--skip_bad_boxes", action="store_true", help="leave boxes without area or outside their image out, and say so"
    )
    for other, name in (("image_input", "image_dir"), ("json_input", "anno_dir"), ("voc_anno", "anno_dir")):
        parser.add_argument(f"--{other}_dir", dest=name, help=argparse.SUPPRESS)  # those of x2coco.py
    parser.add_argument("--voc_label_list", dest="label_list", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--val_proportion", dest="val", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.val is not None and not 0 <= options.val < 1:
        parser.error(f"--val must be a number in [0, 1), but got {options.val:g}")
    if options.folder.suffix.lower() in (".yaml", ".yml") and options.folder.is_file():
        options.folder, options.dataset_type = options.folder.parent, options.dataset_type or "yolo"
    options.folder = Path(os.path.normpath(options.folder))
    for path in [options.folder, *(options.folder / name for name in (options.image_dir, options.anno_dir) if name)]:
        if not path.is_dir():
            parser.error(f"no such folder: {path}")
    if options.label_list and not options.label_list.is_file():
        parser.error(f"no such file: {options.label_list}")
    return options


@dataclass(frozen=True)
class Part:
    """One annotation file: its split, the section of a configuration that names it, and what it is made of."""

    split: str
    section: str | None
    samples: list[Sample]
    image_folder: Path
    target: Path


@ending_in_words()
def main(arguments: list[str] | None = None) -> None:
    """Run ``tools/convert.py``."""
    options = parse_arguments(arguments)
    report = DataReport()
    findings = Findings(report, options.skip_bad_boxes)
    ignored = [_target(split, options) for split in SPLITS]  # LabelMe's files are JSON, too
    source = Source(options.folder, options.image_dir, options.anno_dir, options.label_list, options.encoding, ignored)
    try:
        data = open_data_set(source, options.dataset_type, findings)
        classes = data.class_names()
        parts = _parts(find_splits(data), options, report)
    except FormatError as error:
        raise ToolError(str(error)) from None
    _refuse_existing(parts, options.overwrite)
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
    stop_on_errors(report)
    for part, content in zip(parts, contents):
        try:
            coco.write(part.target, content)
        except OSError as error:
            reason = f"{part.target} cannot be written: {error.strerror}"
            raise ToolError(f"{reason}; --output_dir names another place") from None
    print(*(part.target for part in parts), sep="\n")
    print(f"\n{_configuration(options.folder, len(categories), parts)}", end="")


def _target(split: str, options: argparse.Namespace) -> Path:
    return (options.output_dir or options.folder) / "annotations" / f"instances_{split}.json"


def _parts(found: dict[str, list[Sample]], options: argparse.Namespace, report: DataReport) -> list[Part]:
    """The splits that were found, or else those by --val and --seed."""
    if not all(found.values()):
        stop_on_errors(report)  # which say why there are no images
    splits = found
    if "" in found:
        try:
            splits = coco.split_by_seed(found[""], 0.2 if options.val is None else options.val, options.seed or 0)
        except ValueError as error:
            report.error(str(error))
            stop_on_errors(report)
    elif options.val is not None or options.seed is not None:
        counts = ", ".join(f"{split} {len(samples):,}" for split, samples in found.items())
        raise ToolError(f"{options.folder} is already split ({counts} images): leave out --val and --seed")
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
    report.note(f"{name}: {len(samples):,} images, {background:,} of them background without an annotation file")
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
