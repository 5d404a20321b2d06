"""What each command does unless told otherwise, and every flag of it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ppdet")

from paddle_focal.cli import analyze, class_alpha, evaluate, export, infer, make_digits, train

CONFIG = str(Path(__file__).resolve().parents[2] / "configs/retinanet_r18_fpn_digits.yml")
CONFIGURED = {
    "config": CONFIG, "opt": {}, "settings": [], "quiet": False, "trust_config": False, "trust_weights": False,
}  # fmt: skip
TRAIN = {
    "resume": None,
    "eval": False,
    "skip_final_eval": False,
    "seed": None,
    "slim_config": None,
    "enable_ce": False,
    "amp": False,
    "fleet": False,
    "use_vdl": False,
    "vdl_log_dir": "vdl_log_dir/scalar",
    "use_wandb": False,
    "save_prediction_only": False,
    "profiler_options": None,
    "save_proposals": False,
    "proposals_path": "sniper/proposals.json",
    "early_stop": None,
    "early_stop_metric": None,
}
EVALUATE = {
    "output_eval": None,
    "json_eval": False,
    "slim_config": None,
    "bias": False,
    "classwise": False,
    "save_prediction_only": False,
    "amp": False,
}
INFER = {
    "infer_img": None,
    "infer_dir": None,
    "output_dir": "output",
    "draw_threshold": 0.5,
    "visualize": True,
    "slim_config": None,
}
EXPORT = {"output_dir": "output_inference", "format": "paddle", "slim_config": None}
DIGITS = {
    "output": "dataset/digits",
    "overwrite": False,
    "train_images": 800,
    "val_images": 200,
    "image_size": 96,
    "digit_size": [20, 44],
    "digits_per_image": [2, 6],
    "imbalance": 1.0,
    "seed": 0,
}
ALPHA = {
    "annotations": None,
    "method": "inverse_frequency",
    "alpha": 0.25,
    "beta": 0.999,
    "output": Path("class_alpha.png"),
}


def parse(command, arguments):
    return getattr(command, "parse_arguments", command.make_parser().parse_args)(arguments)


@pytest.mark.parametrize(
    ("command", "arguments", "expected"),
    [
        (train, ["-c", CONFIG], {**CONFIGURED, **TRAIN}),
        (evaluate, ["-c", CONFIG], {**CONFIGURED, **EVALUATE}),
        (infer, ["-c", CONFIG], {**CONFIGURED, **INFER}),
        (export, ["-c", CONFIG], {**CONFIGURED, **EXPORT}),
        (analyze, ["-c", CONFIG], {**CONFIGURED, "dataset": "train", "images": 200}),
        (class_alpha, ["-c", CONFIG], {**CONFIGURED, **ALPHA}),
        (make_digits, [], DIGITS),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_defaults(command, arguments, expected):
    assert vars(parse(command, arguments)) == expected


@pytest.mark.parametrize(
    ("command", "flags", "expected"),
    [
        (train, "-r x --eval --skip_final_eval --slim_config {slim} --enable_ce true --amp --fleet --use_vdl true", {
            "resume": "x", "eval": True, "skip_final_eval": True, "slim_config": "slim", "enable_ce": True, "amp": True,
            "seed": 0, "fleet": True, "use_vdl": True,
        }),
        (train, "--vdl_log_dir v --use_wandb --save_prediction_only --profiler_options p --save_proposals", {
            "vdl_log_dir": "v", "use_wandb": True, "save_prediction_only": True, "profiler_options": "p",
            "save_proposals": True,
        }),
        (train, "--proposals_path p --use_wandb false --eval --early-stop 3 --early-stop-metric val_loss", {
            "proposals_path": "p", "eval": True, "early_stop": 3, "early_stop_metric": "val_loss",
        }),
        (train, "--seed 7 --enable_ce true -q", {"seed": 7, "enable_ce": True, "quiet": True}),
        (train, "--resume x --trust-config --trust-weights", {
            "resume": "x", "trust_config": True, "trust_weights": True,
        }),
        (evaluate, "--output_eval o --json_eval --slim_config {slim} --bias --classwise --save_prediction_only --amp", {
            "output_eval": "o", "json_eval": True, "slim_config": "slim", "bias": True, "classwise": True,
            "save_prediction_only": True, "amp": True,
        }),
        (infer, "--slim_config {slim} --infer_img i --infer_dir d --output_dir o --draw_threshold 0.2 --visualize no", {
            "infer_img": "i", "infer_dir": "d", "output_dir": "o", "draw_threshold": 0.2, "visualize": False,
            "slim_config": "slim",
        }),
        (export, "--output_dir o --format onnx --slim_config {slim}", {
            "output_dir": "o", "format": "onnx", "slim_config": "slim",
        }),
        (analyze, "--dataset eval --images 7", {"dataset": "eval", "images": 7}),
    ],
)  # fmt: skip
def test_flags_of_a_configured_command(tmp_path, command, flags, expected):
    slim = tmp_path / "slim.yml"  # is looked at
    slim.write_text("slim: QAT")
    if "slim_config" in expected:
        flags, expected = flags.format(slim=slim), {**expected, "slim_config": str(slim)}
    before = vars(parse(command, ["-c", CONFIG]))
    assert vars(parse(command, ["-c", CONFIG, *flags.split()])) == {**before, **expected}


def test_flags_of_make_digits():
    flags = "--output o --overwrite --train-images 3 --val-images 2 --image-size 64 --digit-size 9 12 "
    flags += "--digits-per-image 1 4 --imbalance 2.5 --seed 7"
    assert vars(make_digits.parse_arguments(flags.split())) == {
        "output": "o",
        "overwrite": True,
        "train_images": 3,
        "val_images": 2,
        "image_size": 64,
        "digit_size": [9, 12],
        "digits_per_image": [1, 4],
        "imbalance": 2.5,
        "seed": 7,
    }
