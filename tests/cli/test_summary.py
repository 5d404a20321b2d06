"""The last words of a training run."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest

from paddle_focal import configurations
from paddle_focal.cli.summary import summary

LAST_WORDS = """
Trained: AP 0.512. In {folder}:
  best_model: .pdparams
  model_final, 1, 2, 10: .pdopt .pdparams .state.json
  loss_curve.png, metrics.json, train.log

Next:
  paddle-focal eval -c a.yml -o 'epoch=3 4' weights={folder}/best_model
  paddle-focal infer -c a.yml --infer_dir FOLDER -o 'epoch=3 4' weights={folder}/best_model
  paddle-focal export -c a.yml -o 'epoch=3 4' weights={folder}/best_model"""


@pytest.fixture
def folder(tmp_path):
    """With what a run has written, and an older file."""
    for name in ("1", "2", "10", "model_final"):
        for ending in (".pdparams", ".pdopt", ".state.json"):
            (tmp_path / (name + ending)).touch()
    for name in ("loss_curve.png", "train.log", "older.png"):
        (tmp_path / name).touch()
    os.utime(tmp_path / "older.png", (1000, 1000))
    return tmp_path


def flags(config: str = "a.yml", settings: list[str] = (), trust_config: bool = False) -> SimpleNamespace:
    return SimpleNamespace(config=config, settings=[*settings], trust_config=trust_config)


def test_everything(folder):
    (folder / "best_model.pdparams").touch()
    (folder / "metrics.json").write_text(json.dumps({"bbox_AP": 0.5123, "bbox_AP50": 0.9}))
    assert summary(flags(settings=["epoch=3 4"]), folder, 2000) == LAST_WORDS.format(folder=folder)


def test_of_a_shipped_configuration_without_an_evaluation(folder):
    path = str(configurations.FOLDER / "fcos_digits.yml")
    lines = summary(flags(path, trust_config=True), folder, 2000).splitlines()
    assert lines[1] == f"Trained. In {folder}:"
    assert lines[-1] == f"  paddle-focal export -c fcos_digits --trust-config -o weights={folder}/model_final"


@pytest.mark.parametrize(
    ("metrics", "said"), [({"bbox_mAP": 0.25}, ": mAP 0.250"), ({"bbox_AP": None}, ""), ({"val_loss": 1}, "")]
)
def test_other_results(folder, metrics, said):
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert summary(flags(), folder, 2000).splitlines()[1] == f"Trained{said}. In {folder}:"
