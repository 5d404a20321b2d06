"""Measure paddle_focal against other ways to the same numbers, on this machine.

    paddle-focal benchmark loss

computes a focal loss and its gradient with each contender, in turns, and writes loss.json, loss.md and loss.png. A
contender that cannot serve is skipped with the reason; one whose numbers are wrong is reported, not timed.

    paddle-focal benchmark head
    paddle-focal benchmark step

compare RetinaNet's loss stage, and a whole training step, with PaddleDetection's own head, with only the loss replaced
(drop-in), with FocalRetinaHead and with a loss stage that costs nothing (floor); they write head.* and step.*.

    paddle-focal benchmark step --architecture ppyoloe

and picodet and rtdetr compare a training step of these detectors with PaddleDetection's components, with those that
paddle_focal.detection.replace() puts in their places (plugin), and with the floor.

    paddle-focal benchmark family

compares the varifocal, quality and Gaussian focal losses with PaddleDetection's own, at the sizes of its
configurations; it writes family.*.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Callable

from paddle_focal.benchmarks.architectures import ARCHITECTURES, Architecture

#: Names of what is imported only when it is measured, so that the help comes at once.
SWEEP = tuple(f"sweep1e{power}" for power in range(3, 9))
DEFAULT_CASES = ("tiny", "batch2", "axis2", "gamma1.5", "softmax", *SWEEP)
CASES = (
    *("tiny", "batch1", "batch2", "batch8", "classes10", "classes1203", "axis2"),
    *("gamma0", "gamma1", "gamma1.5", "softmax", *SWEEP),
)
CONTENDERS = ("ppdet", "textbook", "composite", "native", "memcpy", "torch-eager", "torch-compile")
DTYPES = ("float32", "bfloat16", "float16", "float64")

FAMILY_CASES = ("ppyoloe", "picodet", "rtdetr", "gfl", "tood", "centernet")
FAMILY_CONTENDERS = ("stock", "native", "composite", "floor")


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but got {value}")
    return value


def run_loss(options: argparse.Namespace) -> None:
    from paddle_focal.benchmarks.loss import LossBenchmark

    LossBenchmark(options).run()


def run_memory(options: argparse.Namespace) -> None:
    from paddle_focal.benchmarks import cases, contenders
    from paddle_focal.benchmarks.measuring import loss_memory

    contender, case = contenders.CONTENDERS[options.contender], cases.CASES[options.case]
    print(loss_memory(contender, case, options.dtype, options.threads))


def run_head(options: argparse.Namespace) -> None:
    from paddle_focal.benchmarks import head

    head.print_memory(options) if options.only_memory else head.run(options)


def run_step(options: argparse.Namespace) -> None:
    from paddle_focal.benchmarks import step

    step.print_steps(options) if options.worker else step.run(options)


def run_family(options: argparse.Namespace) -> None:
    from paddle_focal.benchmarks import family

    family.print_memory(options) if options.only_memory else family.run(options)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="{loss,head,step,family}")
    output = argparse.ArgumentParser(add_help=False)
    output.add_argument(
        "--output", default="output/benchmark", metavar="DIR", help="folder to write (default: %(default)s)"
    )
    add_loss(commands, [output])
    memory = commands.add_parser("memory")  # for `loss` itself, which measures each peak in a fresh process
    memory.add_argument("contender", choices=CONTENDERS)
    memory.add_argument("case", choices=CASES)
    memory.add_argument("dtype", choices=DTYPES)
    memory.add_argument("threads", type=positive)
    memory.set_defaults(run=run_memory)

    add_head(commands, [output])
    add_step(commands, [output])
    add_family(commands, [output])
    return parser


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser()
    options = parser.parse_args(arguments)
    if "architecture" in options:
        complete_batch(options, parser)
    return options


def add_loss(commands, parents: list[argparse.ArgumentParser]) -> None:
    loss = commands.add_parser(
        "loss",
        parents=parents,
        help="one call of the loss, forward and backward",
        description="Time and peak memory of one call of the loss, forward and backward.",
    )
    cases = loss.add_mutually_exclusive_group()
    cases.add_argument(
        "--cases",
        nargs="+",
        choices=CASES,
        default=DEFAULT_CASES,
        metavar="CASE",
        help=f"of {', '.join(CASES)} (default: {', '.join(DEFAULT_CASES)})",
    )
    cases.add_argument("--all", dest="cases", action="store_const", const=CASES, help="every case")
    loss.add_argument(
        "--contenders",
        nargs="+",
        choices=CONTENDERS,
        default=CONTENDERS,
        metavar="NAME",
        help=f"of {', '.join(CONTENDERS)} (default: all)",
    )
    loss.add_argument(
        "--dtypes",
        nargs="+",
        choices=DTYPES,
        default=("float32",),
        metavar="DTYPE",
        help=f"of {', '.join(DTYPES)} (default: float32)",
    )
    loss.add_argument(
        "--threads", nargs="+", type=positive, default=(1, 2), metavar="N", help="of every contender (default: 1 2)"
    )
    loss.add_argument(
        "--rounds", type=positive, default=10, metavar="N", help="timed calls of each contender (default: %(default)s)"
    )
    loss.set_defaults(run=run_loss)


def add_batch(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Adds the options of a batch and its contenders, which by default are those of the architecture."""

    def by_default(show: Callable[[Architecture], str]) -> str:
        return "default: " + "; ".join(f"{name} {show(ARCHITECTURES[name])}" for name in names)

    contenders = list(dict.fromkeys(one for name in names for one in ARCHITECTURES[name].contenders))
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=contenders,
        metavar="NAME",
        help=f"of {', '.join(contenders)} (default: all that the detector has)",
    )
    images = by_default(lambda one: f"{one.images}")
    parser.add_argument("--images", type=positive, metavar="N", help=f"of a batch ({images})")
    pixels = by_default(lambda one: "{} {}".format(*one.size))
    parser.add_argument("--size", nargs=2, type=positive, metavar=("H", "W"), help=f"pixels ({pixels})")
    parser.add_argument("--classes", type=positive, default=80, metavar="C", help="default: %(default)s")
    parser.add_argument("--boxes", type=positive, default=10, metavar="N", help="of an image (default: %(default)s)")


def complete_batch(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Takes from the architecture what was not said."""
    architecture = ARCHITECTURES[options.architecture]
    names = tuple(architecture.contenders)
    options.images = options.images or architecture.images
    options.size = options.size or architecture.size
    options.contenders = options.contenders or names
    for name in set(options.contenders) - set(names):
        has = ", ".join(names)
        parser.error(f"argument --contenders: {options.architecture} has no {name!r} (choose from {has})")


def add_head(commands, parents: list[argparse.ArgumentParser]) -> None:
    head = commands.add_parser(
        "head",
        parents=parents,
        help="RetinaNet's loss stage, forward and backward",
        description="Time and peak memory of RetinaNet's loss stage, from the convolutions' outputs to their gradient.",
    )
    add_batch(head, ["retinanet"])
    head.add_argument("--threads", nargs="+", type=positive, default=(1, 2), metavar="N", help="default: 1 2")
    head.add_argument("--rounds", type=positive, default=5, metavar="N", help="timed calls (default: %(default)s)")
    head.add_argument("--only-memory", action="store_true", help=argparse.SUPPRESS)
    head.set_defaults(run=run_head, architecture="retinanet")


def add_step(commands, parents: list[argparse.ArgumentParser]) -> None:
    step = commands.add_parser(
        "step",
        parents=parents,
        help="a training step of a detector",
        description="Time of each stage, and peak memory, of a training step of a detector.",
    )
    step.add_argument(
        "--architecture",
        choices=ARCHITECTURES,
        default="retinanet",
        metavar="NAME",
        help=f"of {', '.join(ARCHITECTURES)} (default: %(default)s)",
    )
    add_batch(step, list(ARCHITECTURES))
    step.add_argument("--device", default="cpu", help="cpu or gpu (default: %(default)s)")
    step.add_argument("--threads", type=positive, default=2, metavar="N", help="on the CPU (default: %(default)s)")
    step.add_argument("--rounds", type=positive, default=3, metavar="N", help="turns of each (default: %(default)s)")
    step.add_argument("--steps", type=positive, default=2, metavar="N", help="timed in a turn (default: %(default)s)")
    step.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    step.set_defaults(run=run_step)


def add_family(commands, parents: list[argparse.ArgumentParser]) -> None:
    family = commands.add_parser(
        "family",
        parents=parents,
        help="the other losses of the family, forward and backward",
        description="Time and peak memory of the losses with scores and of heatmaps beside PaddleDetection's own.",
    )
    for name, values in (("cases", FAMILY_CASES), ("contenders", FAMILY_CONTENDERS)):
        family.add_argument(
            f"--{name}",
            nargs="+",
            choices=values,
            default=values,
            metavar=name[:-1].upper(),
            help=f"of {', '.join(values)} (default: all)",
        )
    family.add_argument("--threads", nargs="+", type=positive, default=(1, 2), metavar="N", help="default: 1 2")
    family.add_argument(
        "--rounds", type=positive, default=5, metavar="N", help="timed calls of each (default: %(default)s)"
    )
    family.add_argument("--only-memory", action="store_true", help=argparse.SUPPRESS)
    family.set_defaults(run=run_family)


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    options.run(options)


if __name__ == "__main__":
    main()
