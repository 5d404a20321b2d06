"""Runs that are resumed with another configuration."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from paddle.optimizer.lr import CosineAnnealingDecay, PiecewiseDecay

pytest.importorskip("ppdet")

from ppdet.core.config.schema import SchemaDict
from ppdet.optimizer.optimizer import CosineDecay
from small_runs import STEPS, SmallRuns

from paddle_focal.engine.settings import Settings, take_configured_rate


def schedule(**options) -> str:
    cosine = ", ".join(f"{name}: {value}" for name, value in {"name": "CosineDecay", **options}.items())
    return f"LearningRate.schedulers=[{{{cosine}}}, {{name: LinearWarmup, start_factor: 0.5, steps: 1}}]"


def rates(runs: SmallRuns) -> list[float]:
    return [record["learning_rate"] for record in runs.records()]


def changes(caplog) -> list[str]:
    return [text for record in caplog.records if (text := record.getMessage()).startswith("Changed since")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["LearningRate.base_lr=0.001"], ["LearningRate.base_lr=0.00001"]),
        ([schedule(max_epochs=100)], [schedule(max_epochs=4)]),
        ([schedule(max_epochs=4)], [schedule(max_epochs=4, use_warmup="false")]),
    ],
)
def test_the_learning_rate_of_the_new_configuration(small_runs: SmallRuns, tmp_path, caplog, old, new):
    small_runs.train(*new, save_dir=tmp_path / "whole")
    whole = (tmp_path / "whole" / small_runs.folder.name / "metrics.jsonl").read_text().splitlines()
    expected = [json.loads(line)["learning_rate"] for line in whole]
    small_runs.interrupt(0, 1, *old)
    before = rates(small_runs)
    small_runs.resume(*new)
    assert rates(small_runs) == pytest.approx([*before, *expected[2:]], rel=1e-6)
    assert len(rates(small_runs)) == 2 * STEPS
    assert f"The learning rate goes on at {expected[2]:.6g}; it was " in caplog.text


@pytest.mark.parametrize("options", [(), (schedule(max_epochs=5, use_warmup="false"),)])
def test_the_same_configuration(small_runs: SmallRuns, tmp_path, caplog, options):
    small_runs.train(*options, "epoch=4", save_dir=tmp_path / "whole")
    whole = (tmp_path / "whole" / small_runs.folder.name / "metrics.jsonl").read_text()
    small_runs.interrupt(2, 1, *options, "epoch=4")
    small_runs.resume(*options, "epoch=4", "log_iter=2", "worker_num=1", flags=["--skip_final_eval"])
    assert (small_runs.folder / "metrics.jsonl").read_text() == whole
    assert changes(caplog) == []
    assert "The learning rate goes on" not in caplog.text


def test_what_has_changed(small_runs: SmallRuns, caplog):
    small_runs.interrupt(0, 1)
    small_runs.resume("LearningRate.base_lr=0.001", "epoch=3", "OptimizerBuilder.clip_grad_by_norm=5", "use_ema=false")
    assert changes(caplog) == [
        "Changed since the checkpoint: LearningRate.base_lr 0.002 -> 0.001, "
        "OptimizerBuilder.clip_grad_by_norm 10.0 -> 5, epoch 2 -> 3, use_ema (not set) -> False"
    ]


def test_a_checkpoint_without_settings(small_runs: SmallRuns, caplog):
    path = small_runs.interrupt(0, 1).with_name("interrupted_0_2.state.json")
    state = json.loads(path.read_text())
    del state["settings"]
    path.write_text(json.dumps(state))
    small_runs.resume("LearningRate.base_lr=0.001")
    assert changes(caplog) == []
    assert "The learning rate goes on at " in caplog.text


def log_of(caplog, old: dict, new: dict, aside: Iterable[str] = ()) -> list[str]:
    state = json.loads(json.dumps(Settings(old, aside).state_dict()))
    with caplog.at_level("INFO"):
        Settings(new, aside).load_state_dict(state)
    return [text.removeprefix("Changed since the checkpoint: ") for text in changes(caplog)]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ({"a": [1, (2, 3)]}, {"a": [1, [2, 4]]}, "a [1, [2, 3]] -> [1, [2, 4]]"),
        ({"A": {"b": {}}}, {"A": {"b": {"c": 0.1}}}, "A.b {} -> (not set), A.b.c (not set) -> 0.1"),
        ({"A": {"b": [{"F": {}}]}}, {"A": {"b": [{"F": {}}, {"G": {}}]}}, "A.b[1].G (not set) -> {}"),
        ({"a": [CosineDecay(5)]}, {"a": [CosineDecay(6)]}, "a[0].max_epochs 5 -> 6"),
        ({f"a{i}": 0 for i in range(9)}, {}, ", ".join(f"a{i} 0 -> (not set)" for i in range(8)) + ", and 1 more"),
    ],
)
def test_one_line_for_all_changes(caplog, old, new, line):
    assert log_of(caplog, old, new) == [line]


def test_what_is_not_worth_a_word(caplog):
    old = {"save_dir": "a", "resume": None, "a": [1, (2, 3)], "A": SchemaDict(), "t": CosineDecay, "TestReader": {}}
    assert (
        log_of(caplog, old, {"save_dir": "b", "resume": "auto", "a": [1, [2, 3]], "t": CosineDecay}, ["resume"]) == []
    )


@pytest.mark.parametrize(
    "make", [lambda: CosineAnnealingDecay(0.1, T_max=100), lambda: PiecewiseDecay([3, 9], [0.1, 0.1 / 3, 0.0])]
)
@pytest.mark.parametrize("steps", [0, 1, 7, 99, 100])
def test_a_rate_that_is_the_same_stays_to_the_last_bit(make, steps):
    whole = make()
    for _ in range(steps):
        whole.step()
    resumed = make()
    resumed.set_state_dict(whole.state_dict())
    take_configured_rate(resumed)
    assert resumed.state_dict() == whole.state_dict()
    whole.step()
    resumed.step()
    assert resumed() == whole()


ASIDE = {
    *("filename", "save_dir", "output_eval", "weights", "pretrain_weights", "log_iter", "snapshot_epoch", "worker_num"),
    *("print_flops", "print_params", "use_gpu", "use_npu", "use_xpu", "use_mlu", "export", "TestDataset", "TestReader"),
}


def test_names_that_change_nothing_of_what_is_learnt():
    values = {name: {"a": 1} for name in ASIDE}
    assert Settings({**values, "epoch": 3, "flag": True}, ["flag"]).state_dict() == {"epoch": 3}


def test_names_and_values_of_settings():
    config = {
        "A": {"b": {"c": (1, 2)}, "d": {}, "e": [{"f": None}, 3]},
        "empty": {},
        "schedule": [CosineDecay(5)],
        "odd": 1 + 2j,
    }
    state = Settings(config).state_dict()
    schedule = {name: state.pop(name) for name in [*state] if name.startswith("schedule")}
    assert schedule["schedule[0].name"] == "CosineDecay"
    assert schedule["schedule[0].max_epochs"] == 5
    assert state == {"A.b.c": [1, 2], "A.d": {}, "A.e[0].f": None, "A.e[1]": 3, "odd": "(1+2j)"}


@pytest.mark.parametrize(
    ("restored", "base", "expected"),
    [
        (0.1 * (1 + 0.9e-6), 0.1, "restored"),  # the same up to a millionth
        (0.1 * (1 + 1.2e-6), 0.1, "configured"),
        (0.0, 0.1, "configured"),
        (1e-13, 0.0001, "restored"),  # as good as nothing beside the highest rate
        (3e-13, 0.0001, "configured"),
    ],
)
def test_a_rate_that_is_nearly_the_same(caplog, restored, base, expected):
    class Schedule:
        last_epoch, last_lr, base_lr = 7, restored, base

        def step(self, epoch: int) -> None:
            assert epoch == 7
            self.last_lr = 0.1 if base == 0.1 else 0.0

    schedule = Schedule()
    configured = 0.1 if base == 0.1 else 0.0
    with caplog.at_level("INFO"):
        take_configured_rate(schedule)
    assert schedule.last_lr == {"restored": restored, "configured": configured}[expected]
    said = f"The learning rate goes on at {configured:.6g}; it was {restored:.6g}"
    assert caplog.messages == ([said] if expected == "configured" else [])
