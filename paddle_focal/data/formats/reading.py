"""Reading data sets of other formats, whatever may be wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from paddle_focal.data.checks.coco_file import repeated
from paddle_focal.data.checks.data_report import DataReport, some
from paddle_focal.data.formats.boxes import Box
from paddle_focal.data.formats.findings import Findings, FormatError
from paddle_focal.data.formats.format import Format
from paddle_focal.data.formats.labelme import LabelMe
from paddle_focal.data.formats.layout import SPLITS, Layout, Sample, Source, by_folder
from paddle_focal.data.formats.pictures import SUFFIXES, Picture, Size, check_stated, look_at
from paddle_focal.data.formats.voc import VOC
from paddle_focal.data.formats.yolo import YOLO

FORMATS: dict[str, type[Format]] = {kind.name: kind for kind in (VOC, YOLO, LabelMe)}


class AnnotatedImage(NamedTuple):
    """An image with its size as PaddleDetection sees it, and its boxes."""

    path: Path
    size: Size
    boxes: list[Box]


def open_data_set(source: Source, name: str | None, findings: Findings) -> Format:
    """The reader of a data set.

    Args:
        source: where it lies.
        name: one of ``FORMATS``; None takes the one whose annotation files there are.
        findings: receives what is found.

    Raises:
        FormatError: there are no images, or not the annotation files of one format.
    """
    layout = Layout(source, findings)
    if not layout.images:
        place = source.folder / (source.image_dir or "")
        raise FormatError(f"no images in {place}; accepted are {', '.join(SUFFIXES)}")
    if name:
        return FORMATS[name](layout, findings)
    quiet = Findings(DataReport())  # another format's faults are not this data set's
    counts = {
        name: len(layout.annotations(kind.suffix, quiet).keys() & layout.images.keys())
        for name, kind in FORMATS.items()
    }
    found = [name for name, count in counts.items() if count]
    if len(found) == 1:
        return FORMATS[found[0]](layout, findings)
    kinds = ", ".join(f"{counts[name]:,} {kind.suffix} ({name})" for name, kind in FORMATS.items())
    raise FormatError(
        f"{source.folder} has {len(layout.images):,} images and, of the same names, {kinds}: --dataset_type says what "
        "to read, --image_dir and --anno_dir where"
    )


def find_splits(data: Format) -> dict[str, list[Sample]]:
    """The images of 'train', 'val' and 'test' where the data set is split, by lists or folders; else those of ''.

    Raises:
        FormatError: a list or a description cannot be read.
    """
    splits = data.splits() or {
        split: [data.samples[name] for name in names] for split, names in by_folder(data.samples).items()
    }
    if not splits:
        return {"": [*data.samples.values()]}
    used = {sample.image for samples in splits.values() for sample in samples}
    for path in data.layout.images.values():
        if path not in used:
            data.findings.remark("images are in no split of the data set and are left out", path)
    if len(splits) == 1:
        return {"": next(iter(splits.values()))}
    if "train" not in splits:
        raise FormatError(f"{data.source.folder} is split into {' and '.join(splits)}, without a split for training")
    return {split: splits[split] for split in SPLITS if split in splits}


def read_images(data: Format, samples: Iterable[Sample], classes: list[str] | None) -> list[AnnotatedImage]:
    """The images whose files are sound; the others are reported.

    Args:
        data: the data set.
        samples: which of its images.
        classes: the only ones that are accepted, or None.
    """
    images = []
    for sample in tqdm([*samples], unit="image", disable=None, leave=False):
        place = sample.image
        try:
            str(sample.image).encode()
            picture = look_at(sample.image)
            place = sample.annotation or place
            boxes = _boxes(data, sample, picture, classes) if sample.annotation else []
            images.append(AnnotatedImage(sample.image, picture.size, boxes))
        except UnicodeEncodeError:
            data.findings.error(place, "the file name is not UTF-8: rename it")
        except FormatError as error:
            data.findings.error(place, error)
    return images


def _boxes(data: Format, sample: Sample, picture: Picture, classes: list[str] | None) -> list[Box]:
    annotation = data.read(sample.annotation, picture, classes)
    if annotation.stated_size:
        check_stated(annotation.stated_size, picture)
    if picture.is_turned and (annotation.stated_size is None or picture.size == picture.stored):
        data.findings.remark(
            "images are turned according to their EXIF data before PaddleDetection trains on them; their boxes have to "
            "be those of the turned image",
            sample.image,
        )
    for name in dict.fromkeys(box.category for box in annotation.boxes):
        if classes and name not in classes:
            fault = f"class {name!r} is not among the classes ({some(classes, 10)})"
            data.findings.common_error(fault, sample.annotation)
    for box in repeated(annotation.boxes):
        data.findings.remark("boxes occur more than once in their image", f"{sample.annotation} {box.category}")
    return annotation.boxes


def class_order(images: Iterable[AnnotatedImage]) -> list[str]:
    """The classes that occur, in the order of their characters' code points."""
    return sorted({box.category for image in images for box in image.boxes})
