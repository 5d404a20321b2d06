"""A training run that is killed, and resumed, again and again.

    python tests/support/killed_run.py KILLS COMMAND-LINE-OF-TRAIN...

Every attempt is a process of its own, forked from this one so that Paddle is imported only once, and gets SIGKILL after
one and a half to three seconds. After the last one the run is resumed until it ends. Prints one JSON object for each
attempt.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from paddle_focal.cli import train
from paddle_focal.engine import checkpoint, training  # noqa: F401 - the latter for all attempts at once


def attempt(arguments: list[str], log: Path) -> int:
    """The process id of a process that trains."""
    process = os.fork()
    if process == 0:
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        train.main([*arguments[:2], "--resume", "auto", *arguments[2:]])
        os._exit(0)
    return process


def main(kills: int, arguments: list[str]) -> None:
    chance = random.Random(0)
    save_dir = next(Path(a.partition("=")[2]) for a in arguments if a.startswith("save_dir="))
    folder, log = save_dir / Path(arguments[1]).stem, save_dir / "attempts.log"
    save_dir.mkdir(parents=True)
    for _ in range(kills):
        process = attempt(arguments, log)
        time.sleep(chance.uniform(1.5, 3))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        announced = log.read_text().count("Checkpoint: ")
        newest = checkpoint.newest(folder)
        print(json.dumps({"killed": os.WIFSIGNALED(status), "announced": announced, "newest": newest and newest.name}))
    _, status = os.waitpid(attempt(arguments, log), 0)
    print(json.dumps({"killed": os.WIFSIGNALED(status), "exit": os.waitstatus_to_exitcode(status)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
