"""Whatever raises while data is read ends the waiting, with the name of the file."""

from __future__ import annotations

import gc
import multiprocessing.util
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ppdet")

from paddle.io import Dataset
from ppdet.data import reader, transform
from ppdet.data.source.dataset import DetDataset, ImageFolder
from ppdet.data.transform.operators import BaseOperator, register_op

from paddle_focal.engine.reading import Guard, ReadingError, guarded
from paddle_focal.errors import ToolError

IMAGES, BATCH = 24, 4


@pytest.fixture(autouse=True)
def nothing_hangs():
    """Whoever waits for ever is a failure, not a test that never ends."""

    def end(*_):
        raise TimeoutError("nothing came within 30 seconds")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


class Images(DetDataset):
    """Images of 4 x 4, one of which may be at fault."""

    def __init__(self, bad: int | None = None, fault=None) -> None:
        super().__init__()
        self._bad, self._fault = bad, fault
        self.roidbs = [{"im_id": np.array([100 + i]), "im_file": f"/data/{i}.png"} for i in range(IMAGES)]

        self.transform = lambda sample: sample

    def check_or_download_dataset(self) -> None:
        pass

    def parse_dataset(self) -> None:
        pass

    def __getitem__(self, index: int) -> dict:
        sample = {"im_id": self.roidbs[index]["im_id"], "image": np.full((4, 4, 3), index, np.float32)}
        if index == self._bad:
            self._fault(sample)
        return self.transform(sample)


@register_op
class FailsOnThirteen(BaseOperator):
    def apply(self, sample: dict, context=None) -> dict:
        if (sample["image"] == 13).all():
            raise ValueError("unlucky\nnumber")
        return sample


@register_op
class FailsOnBatches(BaseOperator):
    def __call__(self, samples: list[dict], context=None) -> list[dict]:
        raise ValueError("of a batch")


@register_op
class DoesNothing(BaseOperator):
    def apply(self, sample: dict, context=None) -> dict:
        return sample


for one in (FailsOnThirteen, FailsOnBatches, DoesNothing):
    setattr(transform, one.__name__, one)


def read(dataset, workers: int, epochs: int = 1, batch_size: int = BATCH, **transforms) -> list[int]:
    """The ids of the images of some epochs."""
    loader = reader.TrainReader(batch_size=batch_size, shuffle=False, drop_last=False, **transforms)(dataset, workers)
    batches = [batch for _ in range(epochs) for batch in loader]
    return [number for batch in batches for number in batch["im_id"].flatten().tolist()]


workers = pytest.mark.parametrize("workers", [0, 1, 2])


@workers
def test_without_a_fault(workers):
    with guarded():
        assert read(Images(), workers, epochs=3) == 3 * [100 + i for i in range(IMAGES)]


def raise_error(sample):
    raise KeyError("nowhere")


def raise_stop_iteration(sample):
    raise StopIteration  # which Paddle would take for the end of the epoch


def exit_(sample):
    raise SystemExit(3)


@workers
@pytest.mark.parametrize(
    ("fault", "said"),
    [(raise_error, "KeyError: 'nowhere'"), (raise_stop_iteration, "StopIteration: "), (exit_, "SystemExit: 3")],
)
def test_the_data_set_raises(workers, fault, said):
    with guarded(), pytest.raises(ReadingError) as error:
        read(Images(9, fault), workers)
    assert str(error.value).startswith(f"Reading failed on /data/9.png: {said} ({__file__}:")
    assert isinstance(error.value, ToolError)


@workers
@pytest.mark.parametrize("bad", [0, IMAGES - 1])
def test_the_first_and_the_last_image(workers, bad):
    with guarded(), pytest.raises(ReadingError, match=rf"Reading failed on /data/{bad}\.png: KeyError"):
        read(Images(bad, raise_error), workers)


@workers
def test_a_transform_raises(workers, capfd):
    with guarded(), pytest.raises(ReadingError) as error:
        read(Images(), workers, sample_transforms=[{"Permute": {}}, {"FailsOnThirteen": {}}])
    assert str(error.value).startswith(
        "The transform FailsOnThirteen failed on /data/13.png: ValueError: unlucky number ("
    )
    details = error.value.details
    assert details.startswith("Traceback (most recent call last):\n")
    assert details.endswith(', in apply\n    raise ValueError("unlucky\\nnumber")\nValueError: unlucky\nnumber\n')
    assert details.count("Traceback") == 1
    assert "Traceback" not in "".join(capfd.readouterr())


@workers
def test_a_transform_of_batches_raises(workers, capfd):
    with guarded(), pytest.raises(ReadingError) as error:
        read(Images(), workers, batch_transforms=[{"FailsOnBatches": {}}])
    first, *images = str(error.value).splitlines()
    assert first.startswith("The transform FailsOnBatches failed: ValueError: of a batch (")
    assert first.endswith(". The images of the batch:")
    firsts = range(0, IMAGES, BATCH)  # any worker's may be known first
    assert images in [[f"  /data/{i}.png" for i in range(first, first + BATCH)] for first in firsts]
    assert error.value.details.endswith('raise ValueError("of a batch")\nValueError: of a batch\n')
    assert "Traceback" not in "".join(capfd.readouterr())


@workers
def test_images_of_different_sizes_make_no_batch(workers):
    def enlarge(sample):
        sample["image"] = np.zeros((5, 5, 3), np.float32)

    with guarded(), pytest.raises(ReadingError) as error:
        read(Images(6, enlarge), workers, batch_transforms=[{"DoesNothing": {}}], batch_size=2)
    assert str(error.value).startswith("Reading failed: ValueError: all input arrays")
    assert "must have the same shape" in str(error.value)
    assert str(error.value).endswith(". The images of the batch:\n  /data/6.png\n  /data/7.png")


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
@workers
def test_an_image_that_cannot_be_decoded(workers, content, tmp_path):
    (tmp_path / "bad.png").write_bytes(content)
    dataset = ImageFolder()
    dataset.set_images([str(tmp_path / "bad.png")])
    with guarded(), pytest.raises(ReadingError) as error:
        read(dataset, workers, sample_transforms=[{"Decode": {}}])
    size = f"({len(content)} bytes)"
    assert str(error.value) == f"{tmp_path}/bad.png cannot be decoded: it is no image, or a damaged one {size}"
    assert error.value.details is None


@workers
def test_an_image_that_is_gone(workers, tmp_path):
    (tmp_path / "gone.png").touch()
    dataset = ImageFolder()
    dataset.set_images([str(tmp_path / "gone.png")])
    dataset.roidbs = dataset.parse_dataset() or dataset.roidbs
    (tmp_path / "gone.png").unlink()
    with guarded(), pytest.raises(ReadingError, match=rf"Decode failed on {tmp_path}/gone\.png: FileNotFoundError: "):
        read(dataset, workers, sample_transforms=[{"Decode": {}}])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("fault", "how"),
    [
        (lambda sample: os.kill(os.getpid(), signal.SIGKILL), ", killed by signal: Killed"),
        (lambda sample: os._exit(7), ", unexpectedly with code 7"),
        (lambda sample: os._exit(0), ""),
    ],
)
def test_a_worker_dies(workers, fault, how):
    with pytest.raises(ReadingError) as error, guarded():
        read(Images(9, fault), workers)
    expected = f"A worker of the data loader has ended{how}. Where nobody killed it, memory was most often too small: "
    assert str(error.value) == expected + "lower worker_num or the batch."


def test_workers_leave_the_garbage_of_the_main_process_alone(tmp_path):
    """Also before they come to their own code: what waits for a thread when it is deleted would wait there for ever."""

    class Garbage:
        def __init__(self):
            self.itself = self

        def __del__(self):
            (tmp_path / str(os.getpid())).touch()

    collects = Images()
    multiprocessing.util.register_after_fork(collects, lambda _: gc.collect())  # while ``collects`` is there
    with guarded():
        Garbage()
        read(Images(), 2)
    gc.collect()
    assert [path.name for path in tmp_path.iterdir()] == [str(os.getpid())]


def kill_workers():
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, signal.SIGKILL)
        time.sleep(0.1)  # the signal comes here


def batches_of(guard: Guard):
    options = {"batch_sampler": [[i] for i in range(IMAGES)], "num_workers": 2, "return_list": True}
    return iter(guard.loader(Images(), list, **options))


def test_workers_that_die_disturb_the_main_thread_only_where_it_waits_for_them():
    with guarded() as guard:
        batches = batches_of(guard)
        next(batches)
        kill_workers()
        with pytest.raises(ReadingError, match="worker of the data loader has ended, killed by signal: Killed"):
            next(batches)


def test_workers_that_die_at_the_end_disturb_nothing(monkeypatch):
    """Nor what has ended it: the other workers may die with the first one."""

    def close(guard, close=Guard.close):
        kill_workers()
        close(guard)
        closed.append(guard)

    closed = []
    monkeypatch.setattr(Guard, "close", close)
    with guarded() as guard:
        next(batches_of(guard))
    with pytest.raises(ValueError, match="'nothing' is not in list"), guarded() as other:
        next(batches_of(other)).index("nothing")
    assert closed == [guard, other]


def test_another_system_error_is_none_of_ours():
    with pytest.raises(SystemError, match=r"^of Python itself$"), guarded():
        raise SystemError("of Python itself")


@workers
def test_what_is_called_while_waiting_ends_it(workers):
    class LeaveError(Exception):
        pass

    begun = time.monotonic()

    def leave():
        if time.monotonic() - begun > 0.3:
            raise LeaveError

    with pytest.raises(LeaveError), guarded(leave):
        read(Images(2, lambda sample: time.sleep(3)), workers)
    assert time.monotonic() - begun < 2.9


@workers
def test_ctrl_c_is_heard_while_waiting(workers):
    main = os.getpid()
    threading.Timer(0.5, lambda: os.kill(main, signal.SIGINT)).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), guarded():
        read(Images(2, lambda sample: time.sleep(3)), workers)
    assert time.monotonic() - begun < 2.9


class TestDataSetsWithoutRecords:
    """Those of key points and of videos have other lists of their samples, or other keys in them."""

    class Numbers(Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            if index == 5:
                raise KeyError("nowhere")
            return {"image": np.full(3, index)}

    def read(self, dataset, collate, workers, batches=((0, 1), (4, 5))):
        options = {"batch_sampler": batches, "num_workers": workers, "return_list": True}
        with guarded() as guard:
            return [batch.tolist() for batch in guard.loader(dataset, collate, **options)]

    @workers
    def test_what_works_still_works(self, workers, monkeypatch):
        monkeypatch.setattr(self.Numbers, "__getitem__", lambda _, index: [{"image": np.full(3, index)}])
        found = self.read(self.Numbers(), lambda samples: np.stack([one[0]["image"] for one in samples]), workers)
        assert [[row[0] for row in batch] for batch in found] == [[0, 1], [4, 5]]

    @workers
    @pytest.mark.parametrize("records", [None, [{}] * 8])
    def test_the_sample_is_named(self, workers, records):
        dataset = self.Numbers()
        dataset.roidbs = records
        with pytest.raises(ReadingError, match=r"^Reading failed on sample 5: KeyError: 'nowhere' \("):
            self.read(dataset, lambda samples: np.zeros(1), workers)

    @workers
    def test_a_batch_without_names(self, workers):
        def fail(samples):
            raise ValueError("at last")

        with pytest.raises(ReadingError, match=r"^Reading failed: ValueError: at last \([^)]*\)$"):
            self.read(self.Numbers(), fail, workers, batches=[[0, 1], [2, 3]])


def test_exceptions_of_other_threads_are_reported_as_ever(monkeypatch):
    reported = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(str(args.exc_value)))
    before = threading.excepthook, reader.DataLoader
    with guarded():
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
    assert reported == ["division by zero"]
    assert (threading.excepthook, reader.DataLoader) == before


def test_other_warnings_of_the_reader_are_still_shown(caplog):
    with guarded():
        reader.logger.warning("Shared memory size is less than 1G, disable shared_memory in DataLoader")
        reader.logger.warning("fail to map batch transform [...]")
    reader.logger.warning("fail to map sample transform [...]")
    assert list(dict.fromkeys(message[:20] for message in caplog.messages)) == [
        "Shared memory size i",
        "fail to map sample t",
    ]


def test_a_batch_knows_its_files(tmp_path: Path):
    """The ids that a batch was made of, though a transform has changed the samples."""

    def lose_the_ids(samples):
        for sample in samples:
            sample.clear()
        raise ValueError("at last")

    with guarded() as guard, pytest.raises(ReadingError, match=r"images of the batch:\n  /data/3.png\n  /data/5.png"):
        next(iter(guard.loader(Images(), lose_the_ids, batch_sampler=[[3, 5]], return_list=True)))
