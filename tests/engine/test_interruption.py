"""Signals: noted, obeyed once, and given back."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import paddle
import pytest

pytest.importorskip("ppdet")

from small_runs import STEPS, SmallRuns, undisturbed_process

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
    assert "SIGINT: leaving after this iteration" in caplog.text
    assert f"Interrupted in epoch 1. Go on with the same command and --resume auto, from {saved}" in caplog.text
    assert small_runs.checkpoints() == {saved.name}


def test_in_the_midst_of_an_evaluation(small_runs: SmallRuns, caplog):
    """It is of the weights that the checkpoint of the epoch already has."""
    small_runs.interrupt(0, 0, flags=["--eval"], mode="eval")
    assert small_runs.checkpoints() == {"0"}
    assert caplog.messages[-1] == "Interrupted in epoch 1. Go on with the same command and --resume auto"
    small_runs.resume()
    assert len(small_runs.images) == STEPS


def test_another_rank_waits_for_the_first_one(monkeypatch, tmp_path):
    monkeypatch.setattr("paddle.distributed.get_rank", lambda: 1)
    watch = SimpleNamespace(received=signal.SIGTERM)
    callback = SaveOnSignal(SimpleNamespace(), watch, SimpleNamespace(), tmp_path)
    callback.on_step_end({"mode": "train", "epoch_id": 0, "step_id": 0})
    callback.on_epoch_end({"mode": "train", "epoch_id": 0})


def test_of_a_distillation_the_student_is_saved(tmp_path):
    model = paddle.nn.Layer()
    model.student_model, model.teacher_model = paddle.nn.Linear(2, 3), paddle.nn.Linear(2, 3)
    written = []
    checkpoints = SimpleNamespace(write=lambda weights, *_: written.append(weights))
    trainer = SimpleNamespace(model=model, use_ema=False, optimizer=None)
    callback = SaveOnSignal(trainer, SimpleNamespace(received=signal.SIGTERM), checkpoints, tmp_path)
    with pytest.raises(Interrupted):
        callback.on_step_end({"mode": "train", "epoch_id": 0, "step_id": 0})
    assert [set(weights) for weights in written] == [{"weight", "bias"}]


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
