"""How the reading of data is waited for and ended, step by step, with Paddle's iterators replaced."""

from __future__ import annotations

import logging
import re
from types import SimpleNamespace

import pytest

pytest.importorskip("ppdet")

from paddle.io.dataloader.dataloader_iter import _DataLoaderIterMultiProcess

from paddle_focal.engine import reading
from paddle_focal.engine.reading import Guard, ReadingError, guarded


class Calls(list):
    """Notes what is called, by name."""

    def noted(self, name: str, result=None):
        return lambda *given, **options: self.append((name, *given, *options.items())) or result


@pytest.fixture
def calls():
    return Calls()


def test_a_reading_thread_is_ended_and_waited_for(calls):
    thread = SimpleNamespace(join=calls.noted("join"))
    batches = SimpleNamespace(_shutdown=False, _exit_thread_expectedly=calls.noted("exit"), _thread=thread)
    reading._close(batches)
    assert calls == [("exit",), ("join", 1.0)]
    assert batches._shutdown is True
    reading._close(batches)
    assert len(calls) == 2


def test_workers_are_killed_where_they_do_not_end(calls):
    workers = [
        SimpleNamespace(is_alive=lambda alive=alive: alive, kill=calls.noted(f"kill {number}"))
        for number, alive in enumerate((True, False, True))
    ]
    batches = object.__new__(_DataLoaderIterMultiProcess)
    batches._shutdown, batches._workers, batches._try_shutdown_all = False, workers, calls.noted("shut down")
    reading._close(batches)
    assert calls == [("shut down", ("timeout", 1.0)), ("kill 0",), ("kill 2",)]
    batches._shutdown = True
    reading._close(batches)
    assert len(calls) == 3


class Thread:
    """One that reads for ever."""

    def is_alive(self) -> bool:
        return True

    def join(self, seconds: float) -> None:
        assert seconds == 1.0


class Iterator:
    """An iterator of Paddle's, with two of three batches still to come."""

    def __init__(self, thread, infos: list, **more) -> None:
        self._thread, self._structure_infos, self._places = thread, infos, ["cpu"]
        vars(self).update(more)

    def __next__(self):
        return self._structure_infos.pop()


def test_waiting_looks_every_two_milliseconds(calls, monkeypatch):
    infos: list = []
    monkeypatch.setattr(reading.time, "sleep", lambda seconds: calls.append(seconds) or infos.append("batch"))
    batches = Iterator(Thread(), infos)
    guard = Guard(calls.noted("waiting"))
    assert guard.next(batches) == "batch"
    assert calls == [("waiting",), 0.002]
    infos.append("next")
    assert guard.next(batches) == "next"
    assert len(calls) == 2


def test_the_end_of_workers_that_their_thread_does_not_notice():
    guard = Guard(lambda: pytest.fail("nothing more comes"))
    thread = Thread()

    assert reading._has_batch_or_end(Iterator(thread, [], _batches_outstanding=0))
    assert not reading._has_batch_or_end(Iterator(thread, [], _batches_outstanding=1))
    assert not reading._has_batch_or_end(Iterator(thread, []))
    assert reading._has_batch_or_end(Iterator(thread, ["info"], _batches_outstanding=1))
    with pytest.raises(ReadingError, match=r"^The data could not be read: IndexError: "):
        guard.next(Iterator(thread, [], _batches_outstanding=0))


def test_a_thread_that_ends_later_says_why():
    """The queue is closed first; the reason comes with the end of the thread."""
    guard = Guard(lambda: None)
    reason = ReadingError("a.png is damaged")
    thread = Thread()

    class Closed(Iterator):
        def __next__(self):
            raise RuntimeError("the queue is closed")

    batches = Closed(thread, ["info"])
    with pytest.raises(ReadingError, match=r"^The data could not be read: RuntimeError: the queue is closed \(.*\)$"):
        guard.next(batches)
    thread.join = lambda seconds: guard._errors.update({thread: reason})
    with pytest.raises(ReadingError) as error:
        guard.next(batches)
    assert error.value is reason


ENDED = "A worker of the data loader has ended{}. Where nobody killed it, memory was most often too small: lower "


@pytest.mark.parametrize(
    ("message", "how"),
    [
        (
            "(Fatal) DataLoader process (pid   7) exited unexpectedly with code 3. Error detailed",
            ", unexpectedly with code 3",
        ),
        ("DataLoader process (pid 12) exited is killed by signal: Killed. It may", ", killed by signal: Killed"),
        ("DataLoader 3 workers exit unexpectedly, pids: 1", ""),
        ("Blocking queue is killed because the data reader raises an exception", ""),
    ],
)
def test_the_end_of_a_worker(message, how):
    for error in (SystemError(message), RuntimeError(message)):
        said = str(reading._as_reading_error(_raised(error)))
        if type(error) is SystemError:
            assert said == f"{ENDED.format(how)}worker_num or the batch."
        else:
            text = re.escape(" ".join(message.split()))
            assert re.fullmatch(
                rf"The data could not be read: RuntimeError: {text} \({re.escape(__file__)}:\d+\)", said
            )


def _raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as raised:
        return raised


def test_the_message_of_a_worker_is_the_end_of_its_traceback():
    name = "paddle_focal.engine.reading.ReadingError"
    assert str(ReadingError(f"in a worker\n{name}: old\n{name}: a.png is damaged\nin line 3 \n")) == (
        "a.png is damaged\nin line 3"
    )
    error = ReadingError("a")
    assert reading._as_reading_error(error) is error


def test_the_end_of_a_guard(calls, monkeypatch):
    """Everything is as before, and all that reads has been ended, whatever happened."""
    monkeypatch.setattr(reading, "_close", calls.noted("close"))
    filters = list(reading.reader.logger.filters)
    hook, loader = reading.threading.excepthook, reading.reader.DataLoader

    class Batches:
        pass

    batches = Batches()

    def fail() -> None:
        with guarded() as guard:
            assert guard.watch(batches) is batches
            assert reading.reader.DataLoader == guard.loader
            assert len(reading.reader.logger.filters) == len(filters) + 1
            raise SystemError("of another")

    with pytest.raises(SystemError, match=r"^of another$"):
        fail()
    assert calls == [("close", batches)]
    assert reading.reader.logger.filters == filters
    assert (reading.threading.excepthook, reading.reader.DataLoader) == (hook, loader)


@pytest.mark.parametrize(
    ("message", "is_shown"),
    [
        ("fail to map sample transform [Decode] with error", False),
        ("fail to map batch transform [Decode] with error", False),
        ("fail to map", True),
        (ValueError("fail to map batch transform"), False),
    ],
)
def test_reports_of_ppdet_that_say_less(message, is_shown):
    record = logging.LogRecord("ppdet.data.reader", logging.WARNING, "reader.py", 1, message, (), None)
    assert reading._says_more_than_the_error(record) == is_shown
