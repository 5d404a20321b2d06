"""What the commands make of their flags, with the machinery behind them replaced."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("ppdet")

from ppdet.core.workspace import AttrDict

from paddle_focal.cli import analyze, evaluate, main, train

CONFIG = ["-c", str(Path(__file__).resolve().parents[2] / "configs/retinanet_r18_fpn_digits.yml")]


@pytest.fixture
def config(monkeypatch, tmp_path):
    """That of every command, with nothing loaded."""
    config = AttrDict(save_dir=str(tmp_path), filename="run", weights="best", num_classes=1)
    for command in (train, evaluate):
        monkeypatch.setattr(command, "configured", lambda flags: contextlib.nullcontext(config))
    monkeypatch.setattr(train.runtime, "init_ranks", lambda config: None)
    return config


@pytest.mark.parametrize(("rank", "names"), [(0, ["train.log"]), (1, [])])
def test_the_first_rank_writes_the_log_of_a_training(config, monkeypatch, rank, names):
    logs, trained = [], []
    monkeypatch.setattr(train.distributed, "get_rank", lambda: rank)
    monkeypatch.setattr(train.logs, "log_to_file", logs.append)
    monkeypatch.setattr(train, "sections_in_use", lambda flags: [])
    monkeypatch.setattr(train, "train", lambda config, flags: trained.append(config))
    train.main(CONFIG)
    assert trained == [config]
    assert logs == [Path(config.save_dir, "run", name) for name in names]


GLOG = "GLOG_minloglevel"


@pytest.mark.parametrize("before", [None, "0"])
def test_paddles_own_log_is_quiet_unless_asked_for(monkeypatch, before):
    monkeypatch.delenv(GLOG, raising=False)
    if before is not None:
        monkeypatch.setenv(GLOG, before)
    monkeypatch.setattr(sys, "argv", ["paddle-focal"])
    seen = []
    command = SimpleNamespace(main=lambda rest: seen.append((os.getenv(GLOG), sys.argv, rest)) or 3)
    monkeypatch.setattr(main.importlib, "import_module", lambda name: command)
    with warnings.catch_warnings():
        assert main.main(["doctor", "a"]) == 3
    assert seen == [(before or "2", ["paddle-focal doctor", "a"], ["a"])]


def test_an_evaluation_has_a_log_of_its_own(config, monkeypatch):
    logs, evaluated = [], []
    monkeypatch.setattr(evaluate.logs, "log_to_file", logs.append)
    monkeypatch.setattr(evaluate, "evaluate", lambda *arguments: evaluated.append(arguments))
    evaluate.main(CONFIG)
    assert evaluated == [(config, "best")]
    assert logs == [Path(config.save_dir, "run/eval.log")]


@pytest.mark.parametrize(("flags", "wanted"), [([], False), (["--use_vdl"], True), (["--use_vdl", "false"], False)])
def test_visualdl_on_and_off(flags, wanted):
    options = train.parse_arguments([*CONFIG, *flags])
    assert (options.use_vdl, options.vdl_log_dir) == (wanted, "vdl_log_dir/scalar")


def test_early_stop_works_on_one_process_only(monkeypatch, capsys):
    flags = [*CONFIG, "--eval", "--early-stop", "2"]
    assert train.parse_arguments(flags).early_stop == 2
    monkeypatch.setattr(train.distributed, "get_world_size", lambda: 2)
    with pytest.raises(SystemExit):
        train.parse_arguments(flags)
    assert "--early-stop works on one process only" in capsys.readouterr().err


def test_the_training_images_are_analyzed_unless_others_are_asked_for(config, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(analyze, "configured", lambda flags: contextlib.nullcontext(config))
    monkeypatch.setattr(analyze, "analyze", lambda *arguments: calls.append(arguments) or "a summary")
    analyze.main(CONFIG)
    analyze.main([*CONFIG, "--dataset", "eval", "--images", "7"])
    assert calls == [(config, "TrainDataset", 200), (config, "EvalDataset", 7)]
    assert capsys.readouterr().out == 2 * "\na summary\n"
