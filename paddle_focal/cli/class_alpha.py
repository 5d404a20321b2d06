"""Alpha of each class from the class frequencies of a data set.

Prints a table and the lines for a configuration, and draws both as bars.

    paddle-focal class-alpha -c retinanet_r18_fpn_digits
    paddle-focal class-alpha --annotations dataset/digits/annotations/instances_train.json
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path

from paddle_focal.cli.arguments import ArgumentParser, configured, ending_in_words
from paddle_focal.errors import ToolError

METHODS = ("inverse_frequency", "effective_number", "frequency")


def table(counts: dict[str, int], alphas: dict[str, float]) -> str:
    """One line for each class: its objects, their share, its alpha."""
    total = sum(counts.values())
    width = max(map(len, ("class", *counts)))
    lines = [f"{'class':{width}} {'objects':>9} {'share':>7} {'alpha':>7}"]
    lines += [
        f"{name:{width}} {count:9,} {count / total:7.2%} {alphas[name]:7.4f}{'' if count else '  no objects'}"
        for name, count in counts.items()
    ]
    return "\n".join(lines)


def snippet(alphas: dict[str, float], places: Sequence[Sequence[str]] = ((),)) -> str:
    """The lines for a configuration of PaddleDetection, for each place that takes alpha; alpha alone for none."""
    values = ", ".join(f"{alpha:.4g}" for alpha in alphas.values())
    lines = []
    for place in places:
        path = [*(f"{name}:" for name in place), f"alpha: [{values}]"]
        lines += ["  " * depth + text for depth, text in enumerate(path)]
    return "\n".join(lines)


def draw(counts: dict[str, int], alphas: dict[str, float], title: str, path: Path) -> None:
    """Two bar charts side by side: objects, on a logarithmic scale, and alpha."""
    from matplotlib.figure import Figure

    from paddle_focal import fonts
    from paddle_focal.files import write_whole

    with fonts.in_figures(dict(enumerate(counts)), [title]) as shown:
        names = list(shown.values())
        figure = Figure(figsize=(10, 1.4 + 0.26 * len(names)), layout="constrained")
        figure.suptitle(fonts.printable(title))
        left, right = figure.subplots(1, 2, sharey=True)
        left.barh(range(len(names)), counts.values(), tick_label=names, color="tab:blue")
        left.set(xscale="log", xlabel="objects (logarithmic)", xlim=(0.5, 5 * max(counts.values())))
        left.bar_label(left.containers[0], [f"{count:,}" for count in counts.values()], padding=3)
        right.barh(range(len(names)), alphas.values(), tick_label=names, color="tab:orange")
        right.set(xlabel="alpha")
        right.bar_label(right.containers[0], [f"{alpha:.3f}" for alpha in alphas.values()], padding=3)
        left.invert_yaxis()
        for axes in (left, right):
            axes.margins(x=0.15)
            axes.grid(axis="x", alpha=0.3)
            axes.set_axisbelow(True)
        write_whole(path, lambda partial: figure.savefig(partial, dpi=110))


def make_parser() -> ArgumentParser:
    parser = ArgumentParser(__doc__, has_other_sources=True)
    parser.source.add_argument("--annotations", type=Path, metavar="FILE", help="COCO annotation file")
    parser.add_argument("--method", choices=METHODS, default="inverse_frequency", help="default: %(default)s")
    parser.add_argument(
        "--alpha", type=_share, default=0.25, help="of a class of average weight, in (0, 1) (default: %(default)s)"
    )
    parser.add_argument(
        "--beta", type=_share, default=0.999, help="of effective_number, in (0, 1) (default: %(default)s)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("class_alpha.png"), metavar="PNG", help="default: %(default)s"
    )
    return parser


def _share(text: str) -> float:
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"must be a number between 0 and 1, both excluded, but got {text}")
    return number


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.annotations and not options.annotations.is_file():
        parser.error(f"no such annotation file: {options.annotations}")
    return options


def count(options: argparse.Namespace) -> tuple[dict[str, int], str, list[tuple[str, ...]]]:
    """The objects of each class, the name of what was counted, and where its detector takes alpha."""
    if options.annotations:
        from paddle_focal.data.class_balance import count_objects

        return count_objects(options.annotations), options.annotations.name, [()]
    with configured(options) as config:
        # Not above: a file of annotations is counted without ppdet, whose import is to be as quiet as the rest.
        from paddle_focal.data.annotations import training_counts
        from paddle_focal.detection.sections import places_of

        return training_counts(), Path(config.filename).name, places_of("alpha")


@ending_in_words()
def main(arguments: list[str] | None = None) -> None:
    """Run ``tools/class_alpha.py``."""
    options = parse_arguments(arguments)
    from paddle_focal.data.class_balance import class_alpha

    try:
        counts, name, places = count(options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the table says which classes have no objects
            alphas = class_alpha(counts, options.method, options.alpha, options.beta)
    except ValueError as error:
        raise ToolError(str(error)) from error
    print(table(counts, alphas), snippet(alphas, places), sep="\n\n")
    draw(counts, alphas, f"{name}: {options.method}", options.output)
    print(f"\n{options.output}")
