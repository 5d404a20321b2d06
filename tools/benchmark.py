"""Measure paddle_focal against other ways to the same numbers, on this machine's CPU.

    python tools/benchmark.py loss

computes a focal loss and its gradient with each contender, in turns, and writes loss.json, loss.md and loss.png. A
contender that cannot serve is skipped with the reason; one whose numbers are wrong is reported, not timed.
"""

from __future__ import annotations

import argparse
import os
import warnings

# What Paddle and ppdet's dependencies say about their own deprecations helps nobody who measures.
warnings.filterwarnings("ignore")
os.environ.setdefault("GLOG_minloglevel", "2")

from benchmarks.cases import CASES, DEFAULT_CASES, ITEM_SIZE
from benchmarks.contenders import CONTENDERS
from benchmarks.loss import LossBenchmark
from benchmarks.measuring import loss_memory


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, but got {value}")
    return value


def run_loss(options: argparse.Namespace) -> None:
    LossBenchmark(options).run()


def run_memory(options: argparse.Namespace) -> None:
    print(loss_memory(CONTENDERS[options.contender], CASES[options.case], options.dtype, options.threads))


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="{loss}")

    loss = commands.add_parser(
        "loss",
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
    cases.add_argument("--all", dest="cases", action="store_const", const=tuple(CASES), help="every case")
    loss.add_argument(
        "--contenders",
        nargs="+",
        choices=CONTENDERS,
        default=tuple(CONTENDERS),
        metavar="NAME",
        help=f"of {', '.join(CONTENDERS)} (default: all)",
    )
    loss.add_argument(
        "--dtypes",
        nargs="+",
        choices=ITEM_SIZE,
        default=("float32",),
        metavar="DTYPE",
        help=f"of {', '.join(ITEM_SIZE)} (default: float32)",
    )
    loss.add_argument(
        "--threads", nargs="+", type=positive, default=(1, 2), metavar="N", help="of every contender (default: 1 2)"
    )
    loss.add_argument(
        "--rounds", type=positive, default=10, metavar="N", help="timed calls of each contender (default: %(default)s)"
    )
    loss.add_argument(
        "--output", default="output/benchmark", metavar="DIR", help="folder to write (default: %(default)s)"
    )
    loss.set_defaults(run=run_loss)

    memory = commands.add_parser("memory")  # for `loss` itself, which measures each peak in a fresh process
    memory.add_argument("contender", choices=CONTENDERS)
    memory.add_argument("case", choices=CASES)
    memory.add_argument("dtype", choices=ITEM_SIZE)
    memory.add_argument("threads", type=positive)
    memory.set_defaults(run=run_memory)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    options.run(options)


if __name__ == "__main__":
    main()
