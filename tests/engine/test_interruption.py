"""Signals: noted, obeyed once, and given back."""

from __future__ import annotations

import os
import signal
import time
from types import SimpleNamespace

import paddle
import pytest

pytest.importorskip("ppdet")

from ppdet.data.source.coco import COCODataSet
from small_runs import BATCH, STEPS, SmallRuns, undisturbed_process

from paddle_focal.engine.hooks import interruption
from paddle_focal.engine.hooks.interruption import Interrupted, SaveOnSignal, SignalWatch, StopOnNonFiniteLoss
from paddle_focal.errors import ToolError


@pytest.fixture(autouse=True)
def handlers_as_they_were():
    with undisturbed_process():
        yield


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


class TestSignalWatch:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_the_first_one_is_noted(self, number):
        with SignalWatch() as watch:
            assert watch.received is None
            send(number)
            try:
                send(signal.SIGTERM)  # Paddle's launcher repeats it
            except KeyboardInterrupt:  # which would end pytest
                pytest.fail("SIGTERM ends the process at once")
            assert watch.received == number

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_ctrl_c_after_that_ends_at_once(self, number):
        with SignalWatch():
            send(number)
            with pytest.raises(KeyboardInterrupt):
                send(signal.SIGINT)

    def test_the_handlers_before_are_back(self):
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
        before = {number: signal.getsignal(number) for number in before}
        with SignalWatch():
            assert {number: signal.getsignal(number) for number in before} != before
        assert {number: signal.getsignal(number) for number in before} == before

    def test_a_process_that_ends_takes_no_more_notice_of_sigterm(self):
        with SignalWatch():
            before = signal.getsignal(signal.SIGINT)
            send(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) != before

    def test_a_worker_leaves_it_to_the_process_that_started_it(self, monkeypatch):
        with SignalWatch() as watch:
            monkeypatch.setattr(os, "getpid", lambda: -1)
            signal.raise_signal(signal.SIGINT)
            assert watch.received is None


def test_ctrl_c(small_runs: SmallRuns, caplog):
    saved = small_runs.interrupt(0, 1, number=signal.SIGINT)
    assert "SIGINT: stopping after this iteration" in caplog.text
    assert f"Interrupted in epoch [0]. Go on with the same command and --resume auto, from {saved}" in caplog.text
    assert small_runs.checkpoints() == {saved.name}


def test_in_the_midst_of_an_evaluation(small_runs: SmallRuns, caplog):
    """It is of the weights that the checkpoint of the epoch already has."""
    small_runs.interrupt(0, 0, flags=["--eval"], mode="eval")
    assert small_runs.checkpoints() == {"0"}
    assert caplog.messages[-1] == "Interrupted in epoch [0]. Go on with the same command and --resume auto"
    small_runs.resume()
    assert len(small_runs.images) == STEPS


def trainer_in(mode: str, model=None, epoch: int = 0, ema=None) -> SimpleNamespace:
    return SimpleNamespace(
        model=model or paddle.nn.Linear(2, 3),
        optimizer=None,
        use_ema=ema is not None,
        ema=ema,
        status={"mode": mode, "epoch_id": epoch},
    )


def test_another_rank_waits_for_the_first_one(monkeypatch, tmp_path):
    monkeypatch.setattr("paddle.distributed.get_rank", lambda: 1)
    watch = SimpleNamespace(received=signal.SIGTERM)
    callback = SaveOnSignal(trainer_in("train"), watch, SimpleNamespace(), tmp_path)
    callback.on_step_end({"mode": "train", "epoch_id": 0, "step_id": 0})
    callback.on_epoch_end({"mode": "train", "epoch_id": 0})
    callback.leave()


def test_of_a_distillation_the_student_is_saved(tmp_path):
    model = paddle.nn.Layer()
    model.student_model, model.teacher_model = paddle.nn.Linear(2, 3), paddle.nn.Linear(2, 3)
    written = []
    checkpoints = SimpleNamespace(write=lambda weights, *_: written.append(weights))
    callback = SaveOnSignal(trainer_in("train", model), SimpleNamespace(received=signal.SIGTERM), checkpoints, tmp_path)
    with pytest.raises(Interrupted):
        callback.on_step_end({"mode": "train", "epoch_id": 0, "step_id": 0})
    assert [set(weights) for weights in written] == [{"weight", "bias"}]


class TestWhileWaiting:
    """A signal that comes while there is no data."""

    @pytest.fixture
    def written(self):
        return []

    def callback(self, written, trainer, folder) -> SaveOnSignal:
        def write(weights, optimizer, folder, name, epochs, averaged, iterations):
            written.append((name, epochs, iterations, averaged))

        checkpoints = SimpleNamespace(write=write)
        return SaveOnSignal(trainer, SimpleNamespace(received=None), checkpoints, folder)

    def leave(self, callback) -> None:
        callback._watch.received = signal.SIGTERM
        with pytest.raises(Interrupted) as end:
            callback.leave()
        assert end.value.code == 128 + signal.SIGTERM

    def test_after_an_iteration(self, written, tmp_path, caplog):
        callback = self.callback(written, trainer_in("train", epoch=3), tmp_path)
        callback.on_step_end({"mode": "train", "epoch_id": 3, "step_id": 6})
        self.leave(callback)
        assert written == [("interrupted_3_7", 3, 7, None)]
        assert caplog.messages == [
            f"Interrupted in epoch [3]. Go on with the same command and --resume auto, from {tmp_path}/interrupted_3_7"
        ]

    def test_after_an_epoch(self, written, tmp_path):
        callback = self.callback(written, trainer_in("train", epoch=4), tmp_path)
        callback.on_step_end({"mode": "train", "epoch_id": 3, "step_id": 6})
        callback.on_epoch_end({"mode": "train", "epoch_id": 3})
        callback.on_step_end({"mode": "eval", "epoch_id": 3, "step_id": 1})
        callback.on_epoch_end({"mode": "eval", "epoch_id": 3})
        self.leave(callback)
        assert written == [("interrupted_4_0", 4, 0, None)]

    def test_in_an_evaluation(self, written, tmp_path):
        callback = self.callback(written, trainer_in("eval"), tmp_path)
        callback.on_step_end({"mode": "train", "epoch_id": 0, "step_id": 6})
        self.leave(callback)
        assert written == []

    def test_before_the_first_iteration(self, written, tmp_path, caplog):
        self.leave(self.callback(written, trainer_in("train"), tmp_path))
        assert written == []
        assert caplog.messages == ["Interrupted in epoch [0]. Go on with the same command and --resume auto"]

    def test_averages_are_updated_once_for_each_iteration(self, written, tmp_path):
        class Average:
            updates, state_dict = 0, {}

            def update(self):
                self.updates += 1

            def apply(self):
                return {"updates": self.updates}

        average = Average()
        callback = self.callback(written, trainer_in("train", ema=average), tmp_path)
        callback.on_step_end({"mode": "train", "epoch_id": 0, "step_id": 0})
        average.update()  # by ppdet
        self.leave(callback)
        with pytest.raises(Interrupted):  # before ppdet's
            callback.on_step_end({"mode": "train", "epoch_id": 0, "step_id": 1})
        assert [(name, averaged["updates"]) for name, *_, averaged in written] == [
            ("interrupted_0_1", 1),
            ("interrupted_0_2", 2),
        ]

    def test_only_after_a_signal(self):
        left = []
        with SignalWatch() as watch:
            watch.while_waiting()
            watch.leave = lambda: left.append(watch.received)
            watch.while_waiting()
            send(signal.SIGTERM)
            watch.while_waiting()
            assert left == [signal.SIGTERM]
            watch.leave = None
            watch.while_waiting()  # nothing to save, and nobody to save it, yet


def test_a_run_that_waits_for_data_leaves_on_a_signal(small_runs: SmallRuns, monkeypatch, caplog):
    """The images of the second batch do not come; the weights after the first one are saved."""
    read, begun = COCODataSet.__getitem__, []

    def slow(dataset, index):
        begun.append(index)
        if len(begun) == 2 * BATCH:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(3)
        return read(dataset, index)

    monkeypatch.setattr(COCODataSet, "__getitem__", slow)
    start = time.monotonic()
    with pytest.raises(Interrupted):
        small_runs.train()
    assert small_runs.checkpoints() == {"interrupted_0_1"}
    assert len(small_runs.images) == 1
    assert "Interrupted in epoch [0]" in caplog.text
    monkeypatch.setattr(COCODataSet, "__getitem__", read)
    small_runs.resume("epoch=1")
    assert len(small_runs.images) == STEPS - 1
    assert time.monotonic() - start < 60


def test_what_is_said_of_a_loss_that_is_no_number(tmp_path):
    """Losses that are one number for the batch; and before the first checkpoint, that there is none."""
    dataset = SimpleNamespace(roidbs=[{"im_id": [5], "im_file": "5.png"}, {"im_id": [6], "im_file": "6.png"}])
    model = paddle.nn.Layer()
    callback = StopOnNonFiniteLoss(SimpleNamespace(model=model, dataset=dataset), tmp_path)
    losses = {"loss": paddle.to_tensor(float("nan")), "loss_cls": paddle.to_tensor(1.5), "of_images": paddle.zeros([2])}
    callback._note(model, ({"im_id": paddle.to_tensor([[6]])},), losses)
    with pytest.raises(ToolError) as error:
        callback.on_step_end({"mode": "train", "epoch_id": 1, "step_id": 2})
    assert str(error.value) == (
        "The loss is no number any more in iteration 3 of epoch 2: loss nan, loss_cls 1.5. There is no checkpoint yet. "
        "Look at the learning rate, and at these images and their boxes:\n  6.png"
    )


def test_the_exit_code_is_that_of_shells():
    assert isinstance(Interrupted(143), SystemExit)
    assert Interrupted(143).code == 143


@pytest.mark.parametrize("epoch", [0, 4])
def test_a_checkpoint_of_an_interruption_is_written_whole(tmp_path, epoch):
    """With the weights, the optimizer, and a copy of the average, which goes on as it was."""

    class Average:
        def __init__(self):
            self.state_dict = {"weight": 1}

        def apply(self):
            self.state_dict["weight"] += 1
            self.is_applied = True
            return dict(self.state_dict)

    average, written = Average(), []
    trainer = trainer_in("train", epoch=epoch, ema=average)
    trainer.optimizer = "the optimizer"
    checkpoints = SimpleNamespace(write=lambda *given: written.append(given))
    watch = SimpleNamespace(received=signal.SIGINT)
    average.update = lambda: None
    callback = SaveOnSignal(trainer, watch, checkpoints, tmp_path)
    with pytest.raises(Interrupted) as end:
        callback.on_step_end({"mode": "train", "epoch_id": epoch, "step_id": 1})
    assert end.value.code == 130
    ((weights, *others),) = written
    assert weights.keys() == {"weight", "bias"}
    assert others == ["the optimizer", tmp_path, f"interrupted_{epoch}_2", epoch, {"weight": 2}, 2]
    assert average.state_dict == {"weight": 1}
    assert not hasattr(average, "is_applied")


def test_an_evaluation_alone_is_left_without_a_checkpoint(tmp_path):
    """Also in its iterations, whose averages are not updated."""
    trainer = trainer_in("eval", ema=SimpleNamespace(update=lambda: pytest.fail("updated")))
    callback = SaveOnSignal(trainer, SimpleNamespace(received=signal.SIGTERM), SimpleNamespace(), tmp_path)
    with pytest.raises(Interrupted):
        callback.on_step_end({"mode": "eval", "epoch_id": 0, "step_id": 3})


def test_a_loss_is_looked_at_in_training_only(tmp_path):
    model = paddle.nn.Layer()
    callback = StopOnNonFiniteLoss(SimpleNamespace(model=model, dataset=None), tmp_path)
    model.train()
    callback._note(model, ({"im_id": 1},), {"loss": paddle.to_tensor(2.0)})
    model.eval()
    callback._note(model, ({"im_id": 1},), {"loss": paddle.to_tensor(float("nan"))})
    callback.on_step_end({"mode": "train", "epoch_id": 0, "step_id": 0})
    callback._losses = {"loss": float("nan")}
    callback.on_step_end({"mode": "eval", "epoch_id": 0, "step_id": 0})


@pytest.mark.parametrize(
    ("mode", "rank", "removed"),
    [("train", 0, ["interrupted_0_1", "interrupted_1_2"]), ("eval", 0, []), ("train", 1, [])],
)
def test_older_checkpoints_of_interruptions_are_removed(monkeypatch, tmp_path, mode, rank, removed):
    """After an epoch of training, by the first rank; not the newest one, nor those of epochs."""
    for name in ("interrupted_0_1", "interrupted_1_2", "interrupted_1_3", "0"):
        (tmp_path / f"{name}.state.json").touch()
    (tmp_path / "interrupted_1_4.pdopt").touch()
    gone = []
    monkeypatch.setattr("paddle.distributed.get_rank", lambda: rank)
    monkeypatch.setattr(interruption.checkpoint, "newest", lambda folder: folder / "interrupted_1_3")
    monkeypatch.setattr(interruption.checkpoint, "remove", gone.append)
    callback = SaveOnSignal(trainer_in("train"), SimpleNamespace(received=None), SimpleNamespace(), tmp_path)
    callback.on_epoch_end({"mode": mode, "epoch_id": 1})
    assert sorted(gone) == [tmp_path / name for name in removed]
