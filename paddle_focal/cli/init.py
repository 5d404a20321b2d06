"""``paddle-focal init``: a configuration of one's own to begin with."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from paddle_focal import configurations
from paddle_focal.cli.arguments import Parser
from paddle_focal.errors import ToolError

DESCRIPTION = """Write a configuration for your own data, based on one that comes with the package.

It has the lines that need your data's paths and classes; all else is taken from NAME. No file is overwritten."""

TEXT = """\
# What is not said here is as in {name}, which comes with paddle_focal.
_BASE_: [{name}.yml]

num_classes: 3  # without background
weights: output/{stem}/model_final

# Annotations as COCO has them; those of VOC, YOLO or LabelMe become so by: paddle-focal convert FOLDER
TrainDataset:
  dataset_dir: dataset/my_data  # what follows is relative to it
  image_dir: images
  anno_path: annotations/instances_train.json

EvalDataset:
  dataset_dir: dataset/my_data
  image_dir: images
  anno_path: annotations/instances_val.json

TestDataset:  # names the classes in predictions
  dataset_dir: dataset/my_data
  anno_path: annotations/instances_val.json

# The recipe's own learning rate, for its number of GPUs: change it in proportion to the images of an iteration.
# LearningRate:
#   base_lr: {rate}
"""


def make_parser() -> Parser:
    parser = Parser(description=DESCRIPTION)
    parser.add_argument("name", metavar="NAME", help="of those that paddle-focal configs lists")
    parser.add_argument("file", metavar="FILE", nargs="?", type=Path, help="to write (default: my_NAME.yml)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Write the file; returns 1 if it cannot be written."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        shipped = configurations.find_shipped(options.name)
    except ToolError as error:
        parser.error(str(error))
    name, rate = shipped.stem, _learning_rate(shipped)
    path = options.file or Path(f"my_{name}.yml")
    if path.suffix not in (".yml", ".yaml"):
        parser.error(f"the name of a configuration must end in .yml or .yaml, which {path} does not")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEXT.format(name=name, stem=path.stem, rate=rate))
    except FileExistsError:
        print(f"{parser.prog}: error: {path} is there already: name another file", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{parser.prog}: error: {path}: {error.strerror}", file=sys.stderr)
        return 1
    print(
        f"{path}: fill in your data, then\n\n  paddle-focal check-data -c {path}\n  paddle-focal train -c {path} --eval"
    )
    return 0


def _learning_rate(path: Path) -> str:
    """That of a configuration, or of the one that it is based on."""
    text = path.read_text(encoding="utf-8")
    if rate := re.search(r"^  base_lr: (\S+)", text, re.MULTILINE):
        return rate.group(1)
    bases = re.search(r"^_BASE_:\n((?:  - .*\n)+)", text, re.MULTILINE)
    rates = (_learning_rate(path.parent / base) for base in re.findall(r"- (\S+)", bases.group(1))) if bases else ()
    return next(filter(None, rates), "")
