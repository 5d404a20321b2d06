"""The parts of a training run in their order, with ppdet's trainer and all of them replaced."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace

import paddle
import pytest

pytest.importorskip("ppdet")

from ppdet.core.workspace import AttrDict

from paddle_focal.engine import evaluation, training
from paddle_focal.engine.hooks.early_stop import StopTraining
from paddle_focal.engine.hooks.interruption import Interrupted
from paddle_focal.engine.reading import ReadingError
from paddle_focal.errors import ToolError

NAMED = (
    "ResumedPosition",
    "EvaluatedCheckpoints",
    "SaveOnSignal",
    "StopOnNonFiniteLoss",
    "EarlyStop",
    "ScheduledGamma",
)


class Parts:
    """Notes how a run is put together.

    Attributes:
        calls: what was done, in order.
        position: where a resumed run goes on.
        fault: what ppdet's training raises.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls, self.position, self.fault = [], (0, 0), None
        self.trainer = SimpleNamespace(
            model="model",
            lr="lr",
            loader=range(10),
            status={"epoch_id": 4},
            register_callbacks=lambda callbacks: self.note("register", *callbacks),
            train=self.train,
            _compose_callback=SimpleNamespace(on_train_end=lambda status: self.note("on_train_end", status)),
        )
        self.evaluation = SimpleNamespace(callbacks_before=lambda: ["before"], evaluated=False)
        patch.setattr(training, "Trainer", lambda config, mode: self.note("trainer", mode) or self.trainer)
        patch.setattr(training, "save_in", lambda *given: self.note("save_in", *given))
        patch.setattr(training, "EvaluationReport", lambda *given: self.note("report", *given) or self.evaluation)
        patch.setattr(
            training, "Settings", lambda *given: self.note("settings", given[0], sorted(given[1])) or "settings"
        )
        for name in ("MovingAverages", "RandomGenerators", "BestModel"):
            patch.setattr(training, name, lambda *given, name=name: (name, *given))
        for name in NAMED:
            patch.setattr(training, name, self.named(name))
        patch.setattr(training, "Checkpoints", self.checkpoints)
        patch.setattr(training, "take_configured_rate", lambda rate: self.note("rate", rate))
        patch.setattr(training.pretrained, "load_into", lambda *given: self.note("pretrained", *given))
        patch.setattr(training, "progress_callbacks", lambda *given: self.note("progress", *given) or ["shown"])
        patch.setattr(training, "keep_as_final", lambda *given: self.note("final", *given))

    def note(self, *what) -> None:
        self.calls.append(what)

    def named(self, name: str):
        def make(*given):
            self.note(name, *given[1:])
            return SimpleNamespace(leave=f"leave of {name}") if name == "SaveOnSignal" else name

        return make

    def checkpoints(self, trainer, folder, parts):
        self.parts = parts
        self.note("checkpoints", folder)

        @contextlib.contextmanager
        def in_place():
            self.note("in place")
            yield
            self.note("ppdet's again")

        return SimpleNamespace(
            resume=lambda name: self.note("resume", name) or self.position,
            in_place_of_ppdets=in_place,
            add_evaluation=lambda: self.note("add_evaluation"),
        )

    def train(self, is_evaluated: bool) -> None:
        self.note("train", is_evaluated)
        if self.fault:
            raise self.fault

    def run(self, folder: Path, config: dict, **flags) -> SimpleNamespace:
        given = {"resume": None, "early_stop": None, "early_stop_metric": None, "eval": False, "amp": False, **flags}
        watch = SimpleNamespace(leave=None)
        assert training._train(AttrDict(**config), SimpleNamespace(**given), folder, watch) is self.evaluation
        assert watch.leave == "leave of SaveOnSignal"
        return watch

    def of(self, name: str) -> list[tuple]:
        return [call[1:] for call in self.calls if call[0] == name]


@pytest.fixture
def parts(monkeypatch):
    return Parts(monkeypatch)


def test_from_the_start(parts, tmp_path):
    parts.run(tmp_path, {"pretrain_weights": "a.pdparams"})
    order = ["settings", "trainer", "save_in", "report", "checkpoints", "pretrained", "progress"]
    order += ["EvaluatedCheckpoints", "SaveOnSignal", "StopOnNonFiniteLoss", "register", "in place", "train"]
    assert [call[0] for call in parts.calls] == [*order, "ppdet's again"]
    assert parts.of("trainer") == [("train",)]
    assert parts.of("settings")[0][1] == ["early_stop", "early_stop_metric", "eval", "resume"]  # but not amp
    assert parts.of("save_in") == parts.of("report") == [(parts.trainer, tmp_path)]
    assert parts.parts == {
        "normalizer": ("MovingAverages", "model"),
        "random": ("RandomGenerators",),
        "best_ap": ("BestModel", parts.trainer),
        "settings": "settings",
    }
    assert parts.of("pretrained") == [(parts.trainer, "a.pdparams")]
    assert parts.of("progress") == [(parts.trainer, tmp_path, 0, None, parts.evaluation)]
    *callbacks, saving = parts.of("register")[0]
    assert callbacks == ["before", parts.evaluation, "shown", "EvaluatedCheckpoints", "StopOnNonFiniteLoss"]
    assert saving.leave
    assert parts.of("train") == [(False,)]


@pytest.mark.parametrize(("position", "seen"), [((2, 3), 23), ((0, 3), 3), ((2, 0), 20)])
def test_from_a_checkpoint_with_everything(parts, tmp_path, position, seen):
    parts.position = position
    flags = {"resume": "auto", "eval": True, "early_stop": 5, "early_stop_metric": "val_loss"}
    parts.run(tmp_path, {"pretrain_weights": "a.pdparams", "gamma_schedule": {}}, **flags)
    assert parts.of("resume") == [("auto",)]
    assert parts.of("ScheduledGamma") == [({},)]
    assert parts.of("EarlyStop") == [(parts.evaluation, 5, "val_loss")]
    assert parts.parts["early_stop"] == "EarlyStop"
    assert parts.of("rate") == [("lr",)]
    assert parts.of("pretrained") == []
    assert parts.of("ResumedPosition") == [position]
    assert parts.of("progress") == [(parts.trainer, tmp_path, seen, "ScheduledGamma", parts.evaluation)]
    *callbacks, _ = parts.of("register")[0]
    assert callbacks == [
        *("ResumedPosition", "ScheduledGamma", "before", parts.evaluation, "shown", "EarlyStop"),
        *("EvaluatedCheckpoints", "StopOnNonFiniteLoss"),
    ]
    assert parts.of("train") == [(True,)]


def test_with_nothing_to_resume(parts, tmp_path):
    parts.run(tmp_path, {"pretrain_weights": "a.pdparams"}, resume="auto")
    assert (parts.of("rate"), parts.of("ResumedPosition")) == ([], [])
    assert len(parts.of("pretrained")) == 1
    parts.run(tmp_path, {"pretrain_weights": None})
    parts.run(tmp_path, {})
    assert len(parts.of("pretrained")) == 1


def test_stopped_early(parts, tmp_path):
    parts.fault = StopTraining()
    parts.run(tmp_path, {})
    assert parts.calls[-3:] == [("add_evaluation",), ("on_train_end", {"epoch_id": 4}), ("final", tmp_path, 4)]


class TestEnd:
    """Of a run that has been trained."""

    @pytest.fixture
    def run(self, monkeypatch, tmp_path):
        calls = []

        def run(evaluated: bool = False, error=None, received=None, **flags) -> list:
            def train(config, given, folder, watch):
                watch.received = received
                if error:
                    raise error
                return SimpleNamespace(evaluated=evaluated)

            monkeypatch.setattr(training, "_train", train)
            given = SimpleNamespace(**{"seed": None, "skip_final_eval": False, **flags})
            training.train(AttrDict(save_dir=str(tmp_path), filename="run"), given)
            return calls

        monkeypatch.setattr(training.runtime, "init_ranks", lambda config: calls.append("ranks"))
        monkeypatch.setattr(training, "set_random_seed", lambda seed: calls.append(seed))
        monkeypatch.setattr(training, "_evaluate_final_weights", lambda config, folder: calls.append(folder))
        monkeypatch.setattr(training.checkpoint, "newest", lambda folder: folder / "3" if calls[1:] == [0] else None)
        return run

    def test_said(self, run, tmp_path, caplog):
        with caplog.at_level("INFO"):
            assert run() == ["ranks", tmp_path / "run"]
        assert caplog.messages == [f"Trained weights: {tmp_path}/run/model_final.pdparams"]

    def test_evaluated_before(self, run):
        assert run(evaluated=True) == ["ranks"]
        assert run(skip_final_eval=True) == ["ranks", "ranks"]

    def test_seeded(self, run):
        assert run(seed=7, evaluated=True) == ["ranks", 7]

    def test_by_a_signal(self, run):
        with pytest.raises(Interrupted) as end:
            run(received=15)
        assert end.value.code == 143

    @pytest.mark.parametrize("seeded", [True, False])
    def test_by_data_that_cannot_be_read(self, run, tmp_path, seeded):
        with pytest.raises(ToolError) as end:
            run(error=ReadingError("a.png is damaged"), seed=0 if seeded else None)
        newest = f"The newest complete checkpoint is {tmp_path}/run/3. Go on from there with --resume auto."
        assert str(end.value) == f"a.png is damaged\n{newest if seeded else 'There is no complete checkpoint yet.'}"


@pytest.mark.parametrize(
    ("flags", "is_there", "sections"),
    [
        ({"eval": False, "skip_final_eval": False}, True, ["TrainDataset", "EvalDataset"]),
        ({"eval": False, "skip_final_eval": False}, False, ["TrainDataset"]),
        ({"eval": False, "skip_final_eval": True}, True, ["TrainDataset"]),
        ({"eval": True, "skip_final_eval": True}, False, ["TrainDataset", "EvalDataset"]),
    ],
)
def test_the_data_sets_that_are_used(monkeypatch, tmp_path, flags, is_there, sections):
    (tmp_path / "val.json").touch()
    path = str(tmp_path / ("val.json" if is_there else "none.json"))
    monkeypatch.setattr(
        training, "create", lambda name: {"EvalDataset": lambda: SimpleNamespace(get_anno=lambda: path)}[name]
    )
    assert training.sections_in_use(SimpleNamespace(**flags)) == sections


def test_the_final_weights_are_evaluated_where_there_is_a_validation_set(monkeypatch, tmp_path, caplog):
    calls, annotations = [], [str(tmp_path), str(tmp_path / "none.json"), None]
    dataset = SimpleNamespace(get_anno=lambda: annotations.pop(0))
    monkeypatch.setattr(training, "create", lambda name: lambda: dataset)
    monkeypatch.setattr(training, "evaluate", lambda *given: calls.append(given))
    for _ in range(3):
        training._evaluate_final_weights("config", tmp_path)
    assert calls == [("config", f"{tmp_path}/model_final")]
    there_is_no = "The final weights are not evaluated: there is no "
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", f"{there_is_no}{tmp_path}/none.json"),
        ("WARNING", there_is_no),
    ]


def test_the_steps_of_an_evaluation(monkeypatch, tmp_path):
    """Within a guard and without gradients; what its report needs comes before it."""
    calls, inside = [], []

    @contextlib.contextmanager
    def guarded():
        inside.append("guard")
        yield
        inside.clear()

    def evaluate_with(loader) -> None:
        calls.append(("evaluated", loader, list(inside), paddle.is_grad_enabled()))

    trainer = SimpleNamespace(
        loader="loader",
        register_callbacks=lambda callbacks: calls.append(("callbacks", callbacks)),
        _eval_with_loader=evaluate_with,
    )
    report = SimpleNamespace(callbacks_before=lambda: ["before"])
    monkeypatch.setattr(evaluation, "guarded", guarded)
    monkeypatch.setattr(evaluation, "Trainer", lambda config, mode: calls.append((config, mode)) or trainer)
    monkeypatch.setattr(evaluation, "EvaluationReport", lambda *given: calls.append(given) or report)
    monkeypatch.setattr(evaluation.weights, "load_into", lambda *given: calls.append(given))
    config = AttrDict(save_dir=str(tmp_path), filename="run")
    evaluation.evaluate(config, "best")
    assert calls == [
        (config, "eval"),
        (trainer, tmp_path / "run"),
        ("callbacks", ["before", report]),
        (trainer, "best"),
        ("evaluated", "loader", ["guard"], False),
    ]
    assert inside == []


def test_detections_that_are_there_are_evaluated(monkeypatch):
    calls = []
    monkeypatch.setattr(evaluation, "json_eval_results", lambda *given, **options: calls.append((given, options)))
    monkeypatch.setattr(evaluation, "create", lambda name: lambda: f"made of {name}")
    evaluation.evaluate_detections(SimpleNamespace(metric="COCO", output_eval="folder"))
    assert calls == [(("COCO",), {"json_directory": "folder", "dataset": "made of EvalDataset"})]
