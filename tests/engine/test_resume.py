"""Runs that are interrupted and resumed, in this process: each goes on as if nothing had happened."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from ppdet.engine.callbacks import LogPrinter
from small_runs import STEPS, SmallRuns, assert_same_content
from tqdm import tqdm

from paddle_focal.engine import checkpoint
from paddle_focal.engine.hooks import progress
from paddle_focal.engine.hooks.early_stop import EarlyStop
from paddle_focal.engine.run_state import MovingAverages
from paddle_focal.losses.normalizer import ForegroundNormalizer

GAMMA = "gamma_schedule={kind: linear, gammas: [0.5, 3.0], epochs: [0, 3], by: iteration}"


@pytest.fixture
def undisturbed(small_runs: SmallRuns, tmp_path):
    """Trains in another folder, which it gives back."""

    def train(*options: str, **how) -> Path:
        small_runs.train(*options, save_dir=tmp_path / "undisturbed", **how)
        return tmp_path / "undisturbed" / small_runs.folder.name

    return train


@pytest.mark.parametrize(("epoch", "iteration"), [(0, 0), (1, STEPS - 1), (2, 1)])
def test_sees_the_other_images_in_their_order(small_runs: SmallRuns, undisturbed, epoch, iteration):
    whole = undisturbed("epoch=3")
    seen = list(small_runs.images)
    assert len(set(seen)) == 3 * STEPS  # another order in every epoch

    small_runs.interrupt(epoch, iteration, "epoch=3")
    first = epoch * STEPS + iteration + 1
    assert small_runs.images == seen[:first]
    small_runs.resume("epoch=3")
    assert small_runs.images == seen[first:]
    for ending in (".pdparams", ".pdopt"):
        assert_same_content(small_runs.folder / f"model_final{ending}", whole / f"model_final{ending}")


def test_from_the_end_of_an_epoch(small_runs: SmallRuns, undisturbed):
    undisturbed("epoch=3")
    seen = list(small_runs.images)
    small_runs.train("epoch=3")
    small_runs.train("epoch=3", flags=["--resume", str(small_runs.folder / "0")])
    assert small_runs.images == seen[STEPS:]


@pytest.mark.parametrize("interruption", [(0, 1), (1, 0)])
def test_every_iteration_stands_once_in_the_metrics(small_runs: SmallRuns, undisturbed, interruption):
    whole = undisturbed(GAMMA, "FocalRetinaHead.normalizer=ema", "epoch=3")
    expected = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [(record["epoch"], record["iteration"]) for record in expected] == [
        (i // STEPS + 1, i + 1) for i in range(3 * STEPS)
    ]

    options = GAMMA, "FocalRetinaHead.normalizer=ema", "epoch=3"
    small_runs.interrupt(*interruption, *options)
    done = STEPS * interruption[0] + interruption[1] + 1
    assert small_runs.records() == expected[:done]
    with (small_runs.folder / "metrics.jsonl").open("a") as file:  # of a process that was killed later
        file.write(json.dumps({**expected[done], "loss": -1.0}) + "\n" + '{"iteration": ')
    small_runs.resume(*options)
    assert small_runs.records() == expected  # losses, learning rates, gammas and anchors, too
    assert small_runs.drawn == ([record["iteration"] for record in expected], [])


def test_a_new_run_starts_the_metrics_anew(small_runs: SmallRuns):
    small_runs.train("epoch=2")
    small_runs.train("epoch=1")
    assert [record["iteration"] for record in small_runs.records()] == list(range(1, STEPS + 1))


def test_gamma_goes_on(small_runs: SmallRuns, caplog):
    small_runs.interrupt(1, 0, GAMMA, "epoch=3")
    small_runs.resume(GAMMA, "epoch=3")
    gammas = [record["gamma"] for record in small_runs.records()]
    assert gammas == pytest.approx([0.5 + 2.5 * i / (3 * STEPS) for i in range(3 * STEPS)])
    assert "Epoch 2: gamma 1.333 to 1.889" in caplog.text


def test_moving_average_of_the_normalizer_goes_on(small_runs: SmallRuns, undisturbed, caplog):
    whole = undisturbed("FocalRetinaHead.normalizer=ema")
    small_runs.interrupt(1, 0, "FocalRetinaHead.normalizer=ema")
    (average,) = small_runs.state("interrupted_1_1")["normalizer"].values()
    assert average != 100  # where it starts
    small_runs.resume("FocalRetinaHead.normalizer=ema")
    assert "starts anew" not in caplog.text
    expected = json.loads((whole / "model_final.state.json").read_text())["normalizer"]
    assert small_runs.state()["normalizer"] == expected
    assert_same_content(small_runs.folder / "model_final.pdparams", whole / "model_final.pdparams")


@pytest.mark.parametrize(
    ("options", "interruptions"),
    [
        (["ema_decay_type=normal"], [(0, 0), (1, 0)]),
        (["ema_decay_type=exponential"], [(1, 0), (1, 1)]),
        (["ema_decay_type=threshold", "cycle_epoch=2", "epoch=3"], [(1, 0)]),
    ],
)
def test_averaged_weights_go_on(small_runs: SmallRuns, undisturbed, options, interruptions):
    options = "use_ema=true", "ema_decay=0.8", *options
    whole = undisturbed(*options)
    for interruption in interruptions:
        small_runs.interrupt(*interruption, *options, flags=["--resume", "auto"])
    small_runs.resume(*options)
    for ending in (".pdparams", ".pdema", ".pdopt"):
        assert_same_content(small_runs.folder / f"model_final{ending}", whole / f"model_final{ending}")
    assert not list(small_runs.folder.glob("interrupted_*"))


def test_averaged_weights_of_an_interrupted_run_are_those_to_evaluate(small_runs: SmallRuns):
    """After one iteration the average is of one summand."""
    saved = small_runs.interrupt(0, 0, "use_ema=true", "ema_decay_type=normal")
    averaged, plain = (paddle.load(f"{saved}{ending}") for ending in (".pdparams", ".pdema"))
    assert averaged.keys() == plain.keys()
    for name, value in averaged.items():
        np.testing.assert_allclose(value.numpy(), plain[name].numpy(), rtol=1e-4, atol=1e-7, err_msg=name)


def test_worse_than_the_best_before_the_interruption(small_runs: SmallRuns):
    small_runs.script_ap(0.5, 0.3, 0.4, 0.6)
    small_runs.interrupt(1, 0, "epoch=3", flags=["--eval"])
    small_runs.resume("epoch=3", flags=["--eval"])
    assert small_runs.state("best_model")["epoch"] == 1
    assert small_runs.state("model_final")["best_ap"] == 0.5
    small_runs.train("epoch=4", flags=["--eval", "--resume", str(small_runs.folder / "model_final")])
    assert small_runs.state("best_model")["epoch"] == 4


def test_patience_goes_on(small_runs: SmallRuns, caplog):
    small_runs.script_ap(0.5, 0.3, 0.4)
    flags = ["--eval", "--early-stop", "2"]
    small_runs.interrupt(2, 0, "epoch=9", flags=flags)
    assert small_runs.state("interrupted_2_1")["early_stop"] == {
        "metric": "bbox_AP", "best": 0.5, "best_epoch": 1, "waited": 1
    }  # fmt: skip
    small_runs.resume("epoch=9", flags=flags)
    message = "Stopped after epoch 3: no better bbox_AP for 2 evaluations; the best was 0.5000, after epoch 1"
    assert message in caplog.text
    assert small_runs.state() == small_runs.state("2")
    for ending in (".pdparams", ".pdopt"):
        content = (small_runs.folder / f"2{ending}").read_bytes()
        assert (small_runs.folder / f"model_final{ending}").read_bytes() == content


def test_the_last_evaluation_counts_where_a_finished_run_goes_on(small_runs: SmallRuns, caplog):
    """The checkpoint of an epoch is written before its evaluation."""
    small_runs.script_ap(0.3, 0.5, 0.4, 0.4)
    flags = ["--eval", "--early-stop", "2"]
    small_runs.train("epoch=2", flags=flags)
    assert small_runs.state()["best_ap"] == small_runs.state("best_model")["best_ap"] == 0.5
    assert small_runs.state()["early_stop"] == small_runs.state("best_model")["early_stop"]
    assert small_runs.state("0")["best_ap"] == 0.3  # of that time
    assert checkpoint.find_corruption(small_runs.folder / "model_final") is None
    small_runs.resume("epoch=5", flags=flags)
    assert small_runs.state("best_model")["epoch"] == 2
    assert (
        "Stopped after epoch 4: no better bbox_AP for 2 evaluations; the best was 0.5000, after epoch 2" in caplog.text
    )
    assert small_runs.state()["early_stop"]["waited"] == 2


def test_checkpoints_of_interruptions_serve_until_there_is_a_later_one(small_runs: SmallRuns):
    options = "epoch=3", "snapshot_epoch=2"
    small_runs.interrupt(0, 0, *options)
    small_runs.interrupt(0, 1, *options, flags=["--resume", "auto"])
    assert small_runs.checkpoints() == {"interrupted_0_1", "interrupted_0_2"}
    small_runs.interrupt(1, 0, *options, flags=["--resume", "auto"])  # an epoch without a checkpoint is over
    assert small_runs.checkpoints() == {"interrupted_0_2", "interrupted_1_1"}
    small_runs.resume(*options)
    assert small_runs.checkpoints() == {"1", "model_final"}
    assert not list(small_runs.folder.glob("interrupted_*"))


def test_random_numbers_go_on(small_runs: SmallRuns, undisturbed, monkeypatch):
    drawn = []

    def draw(*_) -> None:
        drawn.append((random.random(), np.random.random()))  # noqa: NPY002 - the one that ppdet draws from

    monkeypatch.setattr(LogPrinter, "on_step_begin", draw)
    undisturbed()
    expected = list(drawn)
    assert len(set(expected)) == 2 * STEPS
    drawn.clear()
    small_runs.interrupt(0, 1)
    small_runs.resume()
    assert drawn == expected


def test_a_checkpoint_without_a_moving_average(caplog):
    model = paddle.nn.Sequential(ForegroundNormalizer("ema"), ForegroundNormalizer("local"))
    averages = MovingAverages(model)
    averages.load_state_dict({"0": 7.0, "1": 3.0})
    assert averages.state_dict() == {"0": 7.0}
    assert caplog.messages == []
    averages.load_state_dict(None)
    assert caplog.messages == ["The checkpoint has no moving average of 0: it starts anew at 7"]


def test_the_patience_of_another_metric_starts_anew():
    evaluation = SimpleNamespace(validation=object(), metrics={"val_loss": 2.0})
    stop = EarlyStop(SimpleNamespace(cfg=SimpleNamespace(metric="COCO")), evaluation, 1, "val_loss")
    stop.load_state_dict({"metric": "bbox_AP", "best": 0.9, "best_epoch": 3, "waited": 5})
    stop.load_state_dict(None)  # of a run without it
    stop.on_epoch_end({"mode": "eval", "epoch_id": 4})
    assert stop.state_dict() == {"metric": "val_loss", "best": -2.0, "best_epoch": 5, "waited": 0}


def test_the_bar_goes_on(small_runs: SmallRuns, monkeypatch, capsys):
    bars = []

    def bar(**options) -> tqdm:
        bars.append(tqdm(**options))
        return bars[-1]

    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(progress, "tqdm", bar)
    bar.write = tqdm.write
    small_runs.interrupt(1, 0, GAMMA)
    small_runs.resume(GAMMA)
    done, total = STEPS + 1, 2 * STEPS
    assert [(one.initial, one.n, one.total) for one in bars] == [(0, done, total), (done, total, total)]
    last = small_runs.records()[-1]
    assert bars[-1].desc.startswith(f"epoch 2/2, loss {last['loss']:.4f}")
    shown = {"lr": f"{last['learning_rate']:.2e}", "gamma": f"{last['gamma']:.3g}"}
    assert bars[-1].postfix == ", ".join(f"{name}={value}" for name, value in shown.items())
    printed = capsys.readouterr().out
    assert "Checkpoint: " in printed
    assert "Epoch: [" not in printed  # which the log file has
    assert (small_runs.folder / "train.log").read_text().count("Epoch: [") == total
