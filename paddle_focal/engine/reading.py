"""Reading data in such a way that no exception leaves a tool waiting, and that signals are heard meanwhile.

Paddle reads in a thread, or in processes whose results a thread collects. An exception ends that thread, and the main
thread waits for its next batch for ever, in C++, where Python handles no signal.

A worker that dies ends nothing, but Paddle's handler of SIGCHLD raises wherever the main thread is: in the midst of a
checkpoint, or where every exception is taken for a damaged file.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import re
import threading
import time
import traceback
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable
from unittest.mock import patch

from paddle.io import DataLoader, Dataset, multiprocess_utils
from paddle.io.dataloader.dataloader_iter import _DataLoaderIterBase, _DataLoaderIterMultiProcess
from ppdet.data import reader
from ppdet.data.transform.operators import BaseOperator

from paddle_focal.data.annotations import image_files
from paddle_focal.engine.mistakes import traceback_of
from paddle_focal.errors import ToolError

POLL = 0.002  # seconds between two looks for a batch
_PATIENCE = 1.0  # seconds for a thread or a worker to end by itself
#: What a data set or a transform may raise. SystemExit would end the thread, or the process, without a word.
_CAUGHT = (Exception, SystemExit)
#: In the text of a traceback.
_TRACEBACK = "Traceback (most recent call last):"
_IS_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
#: What Paddle's handler of SIGCHLD calls: raises SystemError if a worker has died, once for each.
_CHECK_WORKERS = "_throw_error_if_process_failed"
_throw_if_a_worker_died = getattr(multiprocess_utils.core, _CHECK_WORKERS)


class ReadingError(ToolError):
    """Data could not be read.

    A worker's exception comes to the main process as its class called with the text of its traceback, whose last lines
    are the message. Before them stands the traceback of its cause, if it has one.
    """

    def __init__(self, message: str, details: str | None = None) -> None:
        before, _, words = message.rpartition(f"{ReadingError.__module__}.{ReadingError.__name__}: ")
        cause = before.rpartition(_IS_CAUSE)[0]
        of_worker = cause[cause.find(_TRACEBACK) :] if _TRACEBACK in cause else None
        super().__init__(words.strip(), details or of_worker)


class Guard:
    """Makes data loaders whose exceptions are raised where their batches are waited for.

    Args:
        while_waiting: called again and again while there is no batch; what it raises ends the waiting.
    """

    def __init__(self, while_waiting: Callable[[], None]) -> None:
        self._while_waiting = while_waiting
        self._errors: dict[threading.Thread, BaseException] = {}
        self._death: SystemError | None = None  # of the first worker that died
        self._begun: weakref.WeakSet[_DataLoaderIterBase] = weakref.WeakSet()

    def loader(self, dataset, collate_fn: Callable[[Sequence[dict]], Any], **options) -> DataLoader:
        """Paddle's ``DataLoader`` of a data set of ppdet's.

        It raises ReadingError, with the names of the images and of the transform, if the data set, one of its
        transforms or ``collate_fn`` raises, or if a worker dies.
        """
        return _GuardedLoader(self, dataset=_Samples(dataset), collate_fn=_Batches(dataset, collate_fn), **options)

    def watch(self, batches: _DataLoaderIterBase) -> _DataLoaderIterBase:
        """Have :meth:`close` end an iterator of Paddle's."""
        self._begun.add(batches)
        return batches

    def close(self) -> None:
        """End the threads and workers that read.

        Paddle does so when an iterator is deleted. If that is while Python exits, it starts a thread that cannot run,
        and waits for it for ever.
        """
        for batches in self._begun:
            _close(batches)

    def next(self, batches: _DataLoaderIterBase) -> Any:
        """The next batch of an iterator of Paddle's."""
        thread = batches._thread
        while self._death is None and not _has_batch_or_end(batches) and thread.is_alive():
            self._while_waiting()
            time.sleep(POLL)
        error = self._errors.get(thread, self._death)
        if error is None:
            try:
                return next(batches)
            except StopIteration:
                raise
            except _CAUGHT as raised:  # its queue is closed; the thread knows why, once it has ended
                thread.join(_PATIENCE)
                error = self._errors.get(thread, self._death or raised)
        raise _as_reading_error(error) from error

    def note_death(self) -> None:
        """Have :meth:`next` raise if a worker has died; called on SIGCHLD, at any point of the main thread."""
        try:
            _throw_if_a_worker_died()
        except SystemError as error:
            self._death = self._death or error

    def note(self, args: threading.ExceptHookArgs) -> bool:
        """Whether an exception has ended the thread of a data loader."""
        frames = [frame for frame, _ in traceback.walk_tb(args.exc_traceback)]
        if not any(frame.f_globals.get("__name__") == _DataLoaderIterBase.__module__ for frame in frames):
            return False
        self._errors[args.thread] = args.exc_value
        return True


@contextlib.contextmanager
def guarded(while_waiting: Callable[[], None] = lambda: None) -> Iterator[Guard]:
    """A context in which the data loaders of ppdet's readers come from a Guard."""
    guard, excepthook = Guard(while_waiting), threading.excepthook
    reader.logger.addFilter(_says_more_than_the_error)
    try:
        errors = patch.object(threading, "excepthook", lambda args: guard.note(args) or excepthook(args))
        deaths = patch.object(multiprocess_utils.core, _CHECK_WORKERS, guard.note_death)
        with errors, deaths, patch.object(reader, "DataLoader", guard.loader), contextlib.closing(guard):
            yield guard
    finally:
        reader.logger.removeFilter(_says_more_than_the_error)


class _GuardedLoader(DataLoader):
    def __init__(self, guard: Guard, **options) -> None:
        super().__init__(**options)
        self._guard = guard

    def __iter__(self) -> Iterator:
        # Workers leave alone what the garbage collector would find at their fork: a queue of Paddle's, on which a
        # thread of the main process waits, cannot be deleted in a worker, which would hang.
        gc.freeze()
        try:
            batches = super().__iter__()
        finally:
            gc.unfreeze()
        return _GuardedIterator(self._guard, self._guard.watch(batches))


class _GuardedIterator:
    """An iterator of Paddle's, which has begun to read."""

    def __init__(self, guard: Guard, batches: _DataLoaderIterBase) -> None:
        self._guard, self._batches = guard, batches

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        return self._guard.next(self._batches)


class _Samples(Dataset):
    """A data set whose errors name the image."""

    def __init__(self, dataset) -> None:
        super().__init__()
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            return self._dataset[index]
        except _CAUGHT as error:
            records = getattr(self._dataset, "roidbs", None) or {index: {}}  # not every data set of ppdet's has them
            file = records[index].get("im_file", f"sample {index}")
            if _failing_transform(error) == "Decode" and Path(file).is_file():
                size = f"{Path(file).stat().st_size:,} bytes"
                raise ReadingError(f"{file} cannot be decoded: it is no image, or a damaged one ({size})") from None
            raise ReadingError(f"{_what_failed(error)} on {file}: {_in_words(error)}", traceback_of(error)) from error


class _Batches:
    """A function that makes a batch of samples, whose errors name the images."""

    def __init__(self, dataset, collate_fn: Callable[[Sequence[dict]], Any]) -> None:
        self._dataset, self._collate_fn = dataset, collate_fn

    def __call__(self, samples: Sequence[dict]) -> Any:
        # Not asked for later: a transform of batches may change the samples.
        numbers = [sample["im_id"] for sample in samples if isinstance(sample, dict) and "im_id" in sample]
        try:
            return self._collate_fn(samples)
        except _CAUGHT as error:
            files = image_files(self._dataset)
            images = "".join(f"\n  {files[number]}" for number in (int(one[0]) for one in numbers) if number in files)
            listed = f". The images of the batch:{images}" if images else ""
            raise ReadingError(f"{_what_failed(error)}: {_in_words(error)}{listed}", traceback_of(error)) from error


def _has_batch_or_end(batches: _DataLoaderIterBase) -> bool:
    """Whether there is a batch, or all have been given out, which the thread of workers does not notice by itself."""
    places = len(batches._places)
    return bool(batches._structure_infos) or getattr(batches, "_batches_outstanding", places) < places


def _close(batches: _DataLoaderIterBase) -> None:
    """End what reads for an iterator, which may be busy with a batch for longer than anybody wants to wait."""
    if batches._shutdown:
        return
    if isinstance(batches, _DataLoaderIterMultiProcess):
        batches._try_shutdown_all(timeout=_PATIENCE)
        for worker in batches._workers:
            if worker.is_alive():
                worker.kill()
    else:
        batches._exit_thread_expectedly()
        batches._thread.join(_PATIENCE)
        batches._shutdown = True


def _as_reading_error(error: BaseException) -> ReadingError:
    if isinstance(error, ReadingError):
        return error
    if _is_death_of_a_worker(error):
        how = re.search(r"DataLoader process \(pid +\d+\) exited (?:is )?([^.]+)\.", str(error))
        return ReadingError(
            f"A worker of the data loader has ended{f', {how.group(1)}' if how else ''}. Where nobody killed it, "
            "memory was most often too small: lower worker_num or the batch."
        )
    return ReadingError(f"The data could not be read: {_in_words(error)}", traceback_of(error))


def _is_death_of_a_worker(error: BaseException) -> bool:
    return isinstance(error, SystemError) and ("DataLoader" in str(error) or "Blocking queue is killed" in str(error))


def _says_more_than_the_error(record: logging.LogRecord) -> bool:
    """Leaves out ppdet's report of an exception, which has a traceback but no file."""
    return not str(record.msg).startswith(("fail to map sample transform", "fail to map batch transform"))


def _what_failed(error: BaseException) -> str:
    transform = _failing_transform(error)
    return f"The transform {transform} failed" if transform else "Reading failed"


def _failing_transform(error: BaseException) -> str | None:
    """The transform that raised."""
    called = (frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__))
    return next((type(one).__name__ for one in called if isinstance(one, BaseOperator)), None)


def _in_words(error: BaseException) -> str:
    """An exception with the place in the code from which it comes."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({place.filename}:{place.lineno})"
