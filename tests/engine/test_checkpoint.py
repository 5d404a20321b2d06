"""Checkpoints that are whole or not there, in every moment."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from paddle_focal.engine import checkpoint
from paddle_focal.engine.checkpoint import Checkpoints
from paddle_focal.engine.run_state import MovingAverages, RandomGenerators
from paddle_focal.errors import ToolError
from paddle_focal.losses import ForegroundNormalizer


class Counter:
    """A part of a run: a number."""

    value = 0

    def state_dict(self):
        return self.value

    def load_state_dict(self, state):
        self.value = state


class Trainer:
    """As much of ppdet's as checkpoints see."""

    start_epoch = 0

    def __init__(self, width=3):
        self.model = paddle.nn.Linear(width, 2)
        self.optimizer = paddle.optimizer.Momentum(parameters=self.model.parameters())

    def resume_weights(self, path):
        self.model.set_dict(paddle.load(f"{path}.pdparams"))
        self.start_epoch = paddle.load(f"{path}.pdopt")["last_epoch"]


class Run:
    """Writes checkpoints whose weights are all the number that is given."""

    def __init__(self, folder, width=3):
        self.folder, self.trainer, self.counter = folder, Trainer(width), Counter()
        self.checkpoints = Checkpoints(self.trainer, folder, {"counter": self.counter})

    def write(self, name, number, epochs, iteration=0):
        self.counter.value = number
        for parameter in self.trainer.model.parameters():
            parameter.set_value(paddle.full(parameter.shape, number))
        model, optimizer = self.trainer.model.state_dict(), self.trainer.optimizer
        self.checkpoints.write(model, optimizer, str(self.folder), name, epochs, iteration=iteration)

    def resume(self, name="auto"):
        """The position and the number of a checkpoint; both files and the part must agree."""
        position = self.checkpoints.resume(name)
        numbers = {self.counter.value, *np.unique(self.trainer.model.weight.numpy()).tolist()}
        assert len(numbers) == 1
        return position, numbers.pop()


def test_newest(tmp_path, caplog):
    run = Run(tmp_path)
    assert run.checkpoints.resume("auto") == (0, 0)
    for name, number, epochs, iteration in (("9", 3.0, 10, 0), ("interrupted_10_4", 4.0, 10, 4), ("1", 1.0, 2, 0)):
        run.write(name, number, epochs, iteration)
    with caplog.at_level("INFO"):
        assert Run(tmp_path).resume() == ((10, 4), 4.0)
    assert caplog.messages[-1] == f"Resuming from {tmp_path}/interrupted_10_4: 10 epochs and 4 iterations are done"
    assert Run(tmp_path).resume(str(tmp_path / "1")) == ((2, 0), 1.0)
    assert Run(tmp_path).resume(str(tmp_path / "9.pdparams")) == ((10, 0), 3.0)


def test_by_any_of_its_files(tmp_path):
    Run(tmp_path).write("1.5", 3.0, 1)
    for ending in ("", ".pdparams", ".pdopt", ".pdema", ".pdavg", ".state.json"):
        assert Run(tmp_path).resume(str(tmp_path / f"1.5{ending}")) == ((1, 0), 3.0)


def test_another_rank_writes_and_moves_nothing(tmp_path, monkeypatch):
    Run(tmp_path).write("0", 1.0, 1)
    (tmp_path / "0.state.json").rename(tmp_path / "0.commit.json")
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(checkpoint.distributed, "get_rank", lambda: 1)
    run = Run(tmp_path)
    run.write("1", 2.0, 2)
    assert checkpoint.newest(tmp_path) is None
    assert sorted(tmp_path.iterdir()) == before


def test_takes_the_place_of_ppdets(tmp_path):
    from ppdet.engine import callbacks

    run, own = Run(tmp_path), callbacks.save_model
    with run.checkpoints.in_place_of_ppdets():
        assert callbacks.save_model == run.checkpoints.write
    assert callbacks.save_model is own


def test_averaged_weights_are_those_that_are_used(tmp_path):
    """As ppdet has it: they are the ``.pdparams``, and training goes on with the ``.pdema``."""
    run = Run(tmp_path)
    plain, averaged = ({"weight": paddle.full([3, 2], number)} for number in (1.0, 2.0))
    run.checkpoints.write(plain, run.trainer.optimizer, str(tmp_path), "0", 1, averaged)
    assert float(paddle.load(str(tmp_path / "0.pdparams"))["weight"].max()) == 2
    assert float(paddle.load(str(tmp_path / "0.pdema"))["weight"].max()) == 1
    assert checkpoint.find_corruption(tmp_path / "0") is None
    (tmp_path / "0.pdema").write_bytes(b"")
    assert checkpoint.find_corruption(tmp_path / "0").startswith("0.pdema has not the content")


@pytest.mark.parametrize("same_name", [True, False])
def test_stopped_at_any_moment(tmp_path, monkeypatch, same_name):
    """Power fails before the n-th change of a file: there is the checkpoint before or the new one, never a mixture."""

    class PowerFailure(BaseException):
        pass

    def failing(function):
        def call(*arguments, **options):
            calls.append(function)
            if len(calls) == moment:
                raise PowerFailure
            return function(*arguments, **options)

        return call

    found, moment = [], 0
    while True:
        moment += 1
        folder = tmp_path / str(moment)
        folder.mkdir()
        Run(folder).write("old", 1.0, 1)
        calls = []
        with monkeypatch.context() as patch:
            for module, name in ((os, "replace"), (paddle, "save")):
                patch.setattr(module, name, failing(getattr(module, name)))
            try:
                Run(folder).write("old" if same_name else "new", 2.0, 2)
            except PowerFailure:
                pass
            else:
                break
        position, number = Run(folder).resume()
        assert (position, number) in [((1, 0), 1.0), ((2, 0), 2.0)]
        found.append(number)
    assert found == sorted(found)
    assert set(found) == {1.0, 2.0}


def test_truncated_checkpoint_is_passed_over(tmp_path, caplog):
    run = Run(tmp_path)
    run.write("0", 1.0, 1)
    run.write("1", 2.0, 2)
    content = (tmp_path / "1.pdparams").read_bytes()
    (tmp_path / "1.pdparams").write_bytes(content[:-1])
    with pytest.raises(ToolError, match=r"1 is damaged: 1.pdparams has not the content.* newest .* is .*0\."):
        run.resume(str(tmp_path / "1"))
    assert Run(tmp_path).resume() == ((1, 0), 1.0)
    assert f"The checkpoint {tmp_path / '1'} is passed over: 1.pdparams has not the content" in caplog.text
    (tmp_path / "0.pdopt").unlink()
    with pytest.raises(ToolError, match=r"0.pdopt is missing.*There is no complete checkpoint yet\."):
        run.resume(str(tmp_path / "0"))
    assert run.checkpoints.resume("auto") == (0, 0)


def test_of_ppdets_own_files(tmp_path):
    """They have no state file: taken when they are named, never by 'auto'."""
    run = Run(tmp_path)
    run.write("0", 1.0, 1)
    (tmp_path / "0.state.json").unlink()
    assert run.checkpoints.resume("auto") == (0, 0)
    assert run.checkpoints.resume(str(tmp_path / "0")) == (1, 0)
    (tmp_path / "0.pdparams").write_bytes(b"\x80\x04nothing")
    with pytest.raises(ToolError, match=r"0.pdparams cannot be read"):
        run.resume(str(tmp_path / "0"))


def test_of_another_model(tmp_path):
    Run(tmp_path).write("0", 1.0, 1)
    message = r"of 2 tensors, 1 do not fit: weight has shape \[3, 2\] instead of \[5, 2\]"
    with pytest.raises(ToolError, match=message):
        Run(tmp_path, width=5).resume(str(tmp_path / "0"))


def test_of_another_model_in_the_weights_to_go_on_with(tmp_path):
    """Of averaged weights those are the ``.pdema``."""
    run = Run(tmp_path)
    fitting, other = Trainer().model.state_dict(), Trainer(width=5).model.state_dict()
    run.checkpoints.write(other, run.trainer.optimizer, str(tmp_path), "0", 1, fitting)
    with pytest.raises(ToolError, match=r"weight has shape \[5, 2\] instead of \[3, 2\]"):
        run.resume(str(tmp_path / "0"))


def test_of_a_distillation_it_is_the_student(tmp_path):
    """As ppdet writes them; the teacher's weights are its own."""
    run = Run(tmp_path)
    run.write("0", 1.0, 1)
    run.trainer.model = paddle.nn.LayerDict({"student_model": Trainer().model, "teacher_model": Trainer(7).model})
    run.trainer.resume_weights = lambda path: None
    run.checkpoints.resume(str(tmp_path / "0"))
    assert run.counter.value == 1


def test_missing(tmp_path):
    run = Run(tmp_path)
    run.write("0", 1.0, 1)
    with pytest.raises(
        ToolError, match=r"There is no checkpoint .*7.pdparams. The newest complete checkpoint is .*0\."
    ):
        run.resume(str(tmp_path / "7"))


def test_state_that_is_no_json(tmp_path):
    run = Run(tmp_path)
    run.write("0", 1.0, 1)
    (tmp_path / "0.state.json").write_text("[")
    with pytest.raises(ToolError, match=r"0.state.json is no JSON object"):
        run.resume(str(tmp_path / "0"))


def test_random_generators_go_on():
    import random

    generators = RandomGenerators()
    state = json.loads(json.dumps(generators.state_dict()))
    drawn = random.random(), np.random.normal()  # noqa: NPY002
    generators.load_state_dict(state)
    assert (random.random(), np.random.normal()) == drawn  # noqa: NPY002


def test_only_moving_averages_have_a_state():
    layers = paddle.nn.LayerList([ForegroundNormalizer(mode) for mode in ("local", "sync", "ema")])
    assert MovingAverages(layers).state_dict() == {"2": 100}


def test_everything_is_on_the_disk_before_the_next_step(tmp_path, monkeypatch, caplog):
    """Each file before it counts, and the folder's new names at the end."""
    done = []

    def noted(module, name: str) -> None:
        function = getattr(module, name)

        def call(*arguments):
            done.append(
                (name, *(path.name for path in map(Path, map(str, arguments)) if path.suffix or name == "flush"))
            )
            return function(*arguments)

        monkeypatch.setattr(module, name, call)

    run = Run(tmp_path / "a/run")
    noted(checkpoint, "flush")
    noted(checkpoint.os, "replace")
    with caplog.at_level("INFO"):
        run.write("0", 1.0, 3)
    assert done == [
        ("flush", "0.partial.pdparams"),
        ("flush", "0.partial.pdopt"),
        ("replace", "0.commit.partial.json", "0.commit.json"),
        ("replace", "0.partial.pdparams", "0.pdparams"),
        ("replace", "0.partial.pdopt", "0.pdopt"),
        ("replace", "0.commit.json", "0.state.json"),
        ("flush", "run"),
    ]
    assert caplog.messages == [f"Checkpoint: {tmp_path}/a/run/0"]
    text = (tmp_path / "a/run/0.state.json").read_text()
    digests = {
        ending: hashlib.sha256((tmp_path / f"a/run/0{ending}").read_bytes()).hexdigest()
        for ending in (".pdparams", ".pdopt")
    }
    assert text == json.dumps({"epoch": 3, "iteration": 0, "digests": digests, "counter": 1.0}) + "\n"


def test_no_file_of_a_checkpoint_is_left(tmp_path):
    Run(tmp_path).write("0", 1.0, 1)
    Run(tmp_path).write("00", 1.0, 1)
    kept = {path.name for path in tmp_path.iterdir() if path.name.startswith("00")}
    for ending in (".pdema", ".pdavg"):
        (tmp_path / f"0{ending}").touch()
    checkpoint.remove(tmp_path / "0")
    checkpoint.remove(tmp_path / "0")  # whatever of it is there
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_an_evaluation_is_added_to_the_checkpoints_of_its_time(tmp_path):
    """Also to a second one of the same iteration, and to none before."""
    run = Run(tmp_path)
    for name, epochs in (("0", 1), ("1", 2), ("best_model", 2)):
        run.write(name, float(epochs), epochs)
    run.counter.value = 7
    run.checkpoints.add_evaluation()
    values = {name: json.loads((tmp_path / f"{name}.state.json").read_text()) for name in ("0", "1", "best_model")}
    assert {name: state["counter"] for name, state in values.items()} == {"0": 1.0, "1": 7, "best_model": 7}
    assert (tmp_path / "1.state.json").read_text().endswith("}\n")
    assert checkpoint.find_corruption(tmp_path / "best_model") is None


@pytest.mark.parametrize(("mode", "rank", "added"), [("eval", 0, 1), ("train", 0, 0), ("eval", 1, 0)])
def test_when_an_evaluation_is_added(monkeypatch, mode, rank, added):
    calls = []
    monkeypatch.setattr(checkpoint.distributed, "get_rank", lambda: rank)
    checkpoints = SimpleNamespace(add_evaluation=lambda: calls.append(True))
    checkpoint.EvaluatedCheckpoints(SimpleNamespace(), checkpoints).on_epoch_end({"mode": mode})
    assert len(calls) == added


class Average:
    """As much of ppdet's ModelEMA as checkpoints see."""

    def __init__(self, value: float, step: int, epoch: int) -> None:
        self.state_dict, self.step, self.epoch = {"weight": paddle.full([2], value)}, step, epoch

    def resume(self, state: dict, step: int) -> None:
        self.state_dict, self.step = state, step


def test_the_average_goes_on_where_its_checkpoint_has_one(tmp_path):
    run = Run(tmp_path)
    run.trainer.ema = Average(5.0, step=7, epoch=2)
    run.write("0", 1.0, 1)
    assert checkpoint.find_corruption(tmp_path / "0") is None
    assert "digests" in json.loads((tmp_path / "0.state.json").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.pdavg", "0.pdopt", "0.pdparams", "0.state.json"]
    resumed = Run(tmp_path)
    resumed.trainer.ema = Average(0.0, step=0, epoch=0)
    assert resumed.resume() == ((1, 0), 1.0)
    average = resumed.trainer.ema
    assert (average.state_dict["weight"].tolist(), average.step, average.epoch) == ([5.0, 5.0], 7, 2)
    (tmp_path / "0.pdavg").write_bytes(b"")
    assert checkpoint.find_corruption(tmp_path / "0") == (
        "0.pdavg has not the content that was written: 0 bytes are there"
    )
    (tmp_path / "0.pdavg").unlink()
    (tmp_path / "0.state.json").unlink()
    untouched = Run(tmp_path)
    untouched.trainer.ema = Average(0.0, step=3, epoch=0)
    assert untouched.checkpoints.resume(str(tmp_path / "0")) == (1, 0)
    assert untouched.trainer.ema.step == 3


def test_what_is_passed_over(tmp_path, caplog):
    """Files of ppdet's own, and what is damaged; the newest by epoch, then by iteration."""
    run = Run(tmp_path)
    for name, epochs, iteration in (("a", 1, 2), ("b", 1, 3), ("c", 1, 1), ("d", 0, 9)):
        run.write(name, 1.0, epochs, iteration)
    assert checkpoint.newest(tmp_path) == tmp_path / "b"
    (tmp_path / "b.pdopt").unlink()
    (tmp_path / "e.state.json").write_text('{"epoch": 9}')
    (tmp_path / "f.state.json").write_text("{")
    caplog.clear()
    assert checkpoint.newest(tmp_path) == tmp_path / "a"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", f"The checkpoint {tmp_path}/b is passed over: b.pdopt is missing")
    ]
    for name in "abcd":
        (tmp_path / f"{name}.pdparams").unlink()
    caplog.clear()
    assert checkpoint.newest(tmp_path) is None
    assert caplog.messages[-1] == f"The checkpoint {tmp_path}/f is passed over: f.state.json is no JSON object"
