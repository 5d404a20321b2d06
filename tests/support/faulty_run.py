"""A tool in which something goes wrong while data is read: ``faulty_run.py FAULT COUNT NOTE COMMAND ...``.

It does so with the sample ``COUNT``, from 0, of all that this process and its workers read: the file is no image
(file), a transform raises (transform), the batch that it is in cannot be put together (collate), or the process that
reads it is killed (worker). With the fault ``signal`` nothing happens; whoever started the tool may then send one.
``NOTE`` is the file into which the time is written, of the first of several ranks.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

from ppdet.data import reader
from ppdet.data.source.dataset import DetDataset

from paddle_focal.cli.main import main

FAULT, COUNT, NOTE, *COMMAND = sys.argv[1:]
MAIN = os.getpid()
READ = multiprocessing.Value("i", 0)  # by all processes
SEEN = -1  # the last sample of this process


def note() -> None:
    new = Path(f"{NOTE}.{os.getpid()}")
    new.write_text(str(time.time()))
    with contextlib.suppress(FileExistsError):
        os.link(new, NOTE)


def reading(read):
    def read_or_fail(dataset, index: int):
        global SEEN
        with READ.get_lock():
            SEEN = READ.value
            READ.value += 1
        if int(COUNT) == SEEN and FAULT == "file":
            Path(f"{NOTE}.png").write_bytes(b"no image")
            dataset.roidbs[index] = {**dataset.roidbs[index], "im_file": f"{NOTE}.png"}
            note()
        if int(COUNT) == SEEN and FAULT == "worker":
            note()
            if os.getpid() == MAIN:
                sys.exit("there is no worker to kill")
            os.kill(os.getpid(), signal.SIGKILL)
        if int(COUNT) == SEEN and FAULT == "signal":
            note()
        return read(dataset, index)

    return read_or_fail


def transforming(transform):
    def transform_or_fail(compose, sample):
        if int(COUNT) == SEEN and FAULT == "transform":
            note()
            raise RuntimeError("of a test")
        return transform(compose, sample)

    return transform_or_fail


def collating(collate):
    def collate_or_fail(compose, samples):
        if int(COUNT) <= SEEN and FAULT == "collate":
            note()
            raise RuntimeError("of a test")
        return collate(compose, samples)

    return collate_or_fail


if __name__ == "__main__":
    DetDataset.__getitem__ = reading(DetDataset.__getitem__)
    reader.Compose.__call__ = transforming(reader.Compose.__call__)
    reader.BatchCompose.__call__ = collating(reader.BatchCompose.__call__)
    sys.exit(main(COMMAND))
