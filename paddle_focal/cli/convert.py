"""``paddle-focal convert`` and ``tools/convert.py``: make COCO JSON of a data set in another format."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from paddle_focal.cli.arguments import Parser, ending_in_words

FORMATS = ("voc", "yolo", "labelme")

DESCRIPTION = """Make COCO JSON of a folder of images with VOC, YOLO or LabelMe annotations.

Images stay where they are. A data set that is split, by lists (ImageSets/Main, train.txt), by data.yaml or by folders
called train and val, stays so; another one is split by --val and --seed. Everything that is wrong is said at once, and
then nothing is written. At the end come the lines for a configuration."""


def make_parser() -> Parser:
    parser = Parser(description=DESCRIPTION)
    parser.add_argument("folder", type=Path, help="the data set's, or its data.yaml; dataset_dir of the configuration")
    parser.add_argument("--dataset_type", choices=FORMATS, help="default: what there is")
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
        "--skip-bad-boxes", action="store_true", help="leave boxes without area or outside their image out, and say so"
    )
    for other, name in (("image_input", "image_dir"), ("json_input", "anno_dir"), ("voc_anno", "anno_dir")):
        parser.add_argument(f"--{other}_dir", dest=name, help=argparse.SUPPRESS)  # those of x2coco.py
    parser.add_argument("--voc_label_list", dest="label_list", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--val_proportion", dest="val", type=float, help=argparse.SUPPRESS)
    return parser


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser()
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


@ending_in_words()
def main(arguments: list[str] | None = None) -> None:
    """Run ``tools/convert.py``."""
    options = parse_arguments(arguments)
    from paddle_focal.data.formats.conversion import convert
    from paddle_focal.engine import logs  # noqa: F401 - what the conversion says goes to the terminal

    print(f"\n{convert(options)}", end="")
