"""What a run records in VisualDL, beside ``metrics.jsonl``."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("ppdet")

from processes import NAME, command_line, scalars, train

pytestmark = pytest.mark.slow


def test_visualdl(tmp_path, digits):
    options = [
        "epoch=2",
        "FocalRetinaHead.is_inference_output=true",
        "gamma_schedule={kind: linear, gammas: [1.0, 2.0], epochs: [0, 2], by: iteration}",
    ]
    train(
        command_line(tmp_path, digits, *options), "--eval", "--use_vdl", "true", "--vdl_log_dir", str(tmp_path / "vdl")
    )
    recorded = scalars(tmp_path / "vdl")
    lines = (tmp_path / NAME / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    iterations = [record for record in records if "loss" in record]
    evaluations = [record for record in records if "bbox_AP" in record]
    assert (len(iterations), len(evaluations)) == (12, 2)
    for name in ("learning_rate", "gamma", "foreground"):
        expected = [(record["iteration"], pytest.approx(record[name], rel=1e-6)) for record in iterations]
        assert recorded[name] == expected, name
    for name in ("bbox_AP", "val_loss", "val_loss_cls", "val_loss_reg"):
        expected = [(record["iteration"], pytest.approx(record[name], rel=1e-6)) for record in evaluations]
        assert recorded[name] == expected, name
    for name in ("loss", "loss_cls", "loss_reg"):  # which ppdet records, smoothed and from 0 on
        assert [step for step, _ in recorded[name]] == list(range(12))
