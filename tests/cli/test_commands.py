"""What the commands make of their flags, with the machinery behind them replaced."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("ppdet")

from foreign_data import ForeignData, voc, voc_object
from paddle import distributed
from ppdet.core.workspace import AttrDict

from paddle_focal.analysis import analyze as analysis
from paddle_focal.cli import analyze, arguments, check_data, convert, evaluate, export, infer, main, train
from paddle_focal.data.checks import preflight
from paddle_focal.data.formats import conversion
from paddle_focal.engine import evaluation, inference, logs, pretrained, runtime, training
from paddle_focal.engine import export as exporting
from paddle_focal.errors import ToolError

CONFIG = ["-c", str(Path(__file__).resolve().parents[2] / "configs/retinanet_r18_fpn_digits.yml")]


@pytest.fixture
def config(monkeypatch, tmp_path):
    """That of every command, with nothing loaded."""
    config = AttrDict(save_dir=str(tmp_path), filename="run", weights="best", num_classes=1)
    for command in (train, evaluate):
        monkeypatch.setattr(command, "configured", lambda flags: contextlib.nullcontext(config))
    monkeypatch.setattr(train, "summary", lambda *given: "the last words")
    monkeypatch.setattr(runtime, "init_ranks", lambda config: None)
    return config


@pytest.mark.parametrize(("rank", "names"), [(0, ["train.log"]), (1, [])])
def test_the_first_rank_writes_the_log_of_a_training_and_sums_up(config, monkeypatch, capsys, rank, names):
    written, trained = [], []
    monkeypatch.setattr(distributed, "get_rank", lambda: rank)
    monkeypatch.setattr(logs, "log_to_file", written.append)
    monkeypatch.setattr(training, "sections_in_use", lambda flags: [])
    monkeypatch.setattr(training, "train", lambda config, flags: trained.append(config))
    train.main(CONFIG)
    assert trained == [config]
    assert capsys.readouterr().out == ("" if rank else "the last words\n")
    assert written == [Path(config.save_dir, "run", name) for name in names]


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
    written, evaluated = [], []
    monkeypatch.setattr(logs, "log_to_file", written.append)
    monkeypatch.setattr(evaluation, "evaluate", lambda *given: evaluated.append(given))
    evaluate.main(CONFIG)
    assert evaluated == [(config, "best")]
    assert written == [Path(config.save_dir, "run/eval.log")]


@pytest.mark.parametrize(("flags", "wanted"), [([], False), (["--use_vdl"], True), (["--use_vdl", "false"], False)])
def test_visualdl_on_and_off(flags, wanted):
    options = train.parse_arguments([*CONFIG, *flags])
    assert (options.use_vdl, options.vdl_log_dir) == (wanted, "vdl_log_dir/scalar")


def test_early_stop_works_on_one_process_only(monkeypatch, capsys):
    flags = [*CONFIG, "--eval", "--early-stop", "2"]
    assert train.parse_arguments(flags).early_stop == 2
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")  # as Paddle's launcher does
    with pytest.raises(SystemExit):
        train.parse_arguments(flags)
    said = "--early-stop works on one process only: the others would wait for the one that stops"
    assert capsys.readouterr().err.endswith(f"error: {said}\n")


def test_the_training_images_are_analyzed_unless_others_are_asked_for(config, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(analyze, "configured", lambda flags: contextlib.nullcontext(config))
    monkeypatch.setattr(analysis, "analyze", lambda *given: calls.append(given) or "a summary")
    analyze.main(CONFIG)
    analyze.main([*CONFIG, "--dataset", "eval", "--images", "7"])
    assert calls == [(config, "TrainDataset", 200), (config, "EvalDataset", 7)]
    assert capsys.readouterr().out == 2 * "\na summary\n"


@pytest.mark.parametrize("command", [train, evaluate, check_data, infer, export, analyze, convert])
def test_errors_in_words_end_every_command(command, monkeypatch, caplog, tmp_path):
    def fail(*_):
        raise ToolError("in words")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        conversion if command is convert else command, "convert" if command is convert else "configured", fail
    )
    monkeypatch.setattr(inference, "find_images", lambda *_: [])
    with pytest.raises(SystemExit) as end:
        command.main(["."] if command is convert else CONFIG)
    assert end.value.code == 1
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("ERROR", "in words")]


@pytest.fixture
def calls(monkeypatch, config, tmp_path):
    """What evaluating, detecting and exporting are called with."""
    calls = []

    def note(module, name: str, result=None) -> None:
        monkeypatch.setattr(module, name, lambda *given: calls.append((name, *given)) or result)

    for command in (infer, export):
        monkeypatch.setattr(command, "configured", lambda flags: contextlib.nullcontext(config))
    note(logs, "log_to_file")
    note(evaluation, "evaluate_detections")
    note(evaluation, "evaluate")
    note(runtime, "init_ranks")
    note(inference, "find_images", ["a.png"])
    note(inference, "infer")
    note(exporting, "export")

    def compress(config, flags, mode):
        calls.append(("compress", config, flags.slim_config, mode))
        return AttrDict(weights="small")

    monkeypatch.setattr(runtime, "compress", compress)
    monkeypatch.chdir(tmp_path)
    Path("slim.yml").write_text("slim: QAT")
    return calls


def test_what_is_evaluated(calls, config):
    evaluate.main([*CONFIG, "--json_eval"])
    log = ("log_to_file", Path(config.save_dir, "run/eval.log"))
    assert calls == [log, ("evaluate_detections", config)]
    calls.clear()
    evaluate.main([*CONFIG, "--slim_config", "slim.yml"])
    ranks, compress = ("init_ranks", config), ("compress", config, "slim.yml", "eval")
    assert calls == [log, ranks, compress, ("evaluate", {"weights": "small"}, "small")]


def test_where_objects_are_detected(calls, config):
    flags = "--infer_img i --infer_dir d --slim_config slim.yml --output_dir o --draw_threshold 0.25 --visualize no"
    infer.main([*CONFIG, *flags.split()])
    assert calls == [
        ("find_images", "i", "d"),
        ("compress", config, "slim.yml", "test"),
        ("infer", {"weights": "small"}, ["a.png"], "o", 0.25, False),
    ]


def test_what_is_exported(calls, config):
    export.main([*CONFIG, *["--slim_config", "slim.yml", "--output_dir", "o", "--format", "onnx"]])
    assert calls == [("compress", config, "slim.yml", "test"), ("export", {"weights": "small"}, "o", "onnx")]


@pytest.mark.parametrize(("warnings_", "said"), [([], 0), (["a", "b"], 2)])
def test_data_without_errors(config, monkeypatch, caplog, warnings_, said):
    report, stopped = SimpleNamespace(warnings=warnings_), []
    monkeypatch.setattr(check_data, "configured", lambda flags: contextlib.nullcontext(config))
    monkeypatch.setattr(preflight, "check_data", lambda given: {id(config): report}[id(given)])
    monkeypatch.setattr(preflight, "stop_on_errors", stopped.append)
    with caplog.at_level("INFO"):
        check_data.main(CONFIG)
    assert stopped == [report]
    assert caplog.messages == [f"No errors, {said} warnings"]


CHECKS = ("sections_in_use", "check_data", "stop_on_errors")


def test_the_order_of_a_training(config, monkeypatch):
    """Weights are looked for before data is read, and downloaded after; a run that is resumed has its own."""
    calls = []

    def note(module, name: str, result=None) -> None:
        monkeypatch.setattr(module, name, lambda *given: calls.append((name, *given)) or result)

    note(runtime, "compress", config)
    note(logs, "log_to_file")
    monkeypatch.setattr(
        pretrained, "check", lambda given, downloaded: calls.append(("download" if downloaded else "look", given))
    )
    note(training, "sections_in_use", ["TrainDataset"])
    note(preflight, "check_data", "a report")
    note(preflight, "stop_on_errors")
    note(training, "train")
    for flags, names in (
        ([], ["compress", "log_to_file", "look", *CHECKS, "download", "train"]),
        (["--resume", "auto"], ["compress", "log_to_file", *CHECKS, "train"]),
    ):
        calls.clear()
        train.main([*CONFIG, *flags])
        assert [name for name, *_ in calls] == names
        flags = calls[-1][2]
        assert calls[0] == ("compress", config, flags, "train")
        assert [call for call in calls if call[0] in CHECKS] == [
            ("sections_in_use", flags),
            ("check_data", config, ["TrainDataset"]),
            ("stop_on_errors", "a report"),
        ]
        assert calls[-1] == ("train", config, flags)


def test_the_first_line_of_a_kept_traceback(monkeypatch, tmp_path, caplog):
    """It says when the command was given, and how."""
    monkeypatch.setattr(sys, "argv", ["paddle-focal eval", "-o", "a b"])
    monkeypatch.setattr(logs, "file", lambda: None)
    monkeypatch.setattr(runtime, "current_output_folder", lambda: tmp_path / "a/b")
    with pytest.raises(SystemExit), arguments.ending_in_words():
        raise ValueError("a reason")
    first, *_, last = (tmp_path / "a/b/error.log").read_text().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d: 'paddle-focal eval' -o 'a b'", first)
    assert last == "ValueError: a reason"
    assert caplog.records[0].levelname == "ERROR"


def test_settings_of_the_command_line():
    options = [" epoch=3 ", "LearningRate.schedulers=[!CosineDecay {max_epochs: 3}]", "a=b=c", "d="]
    settings = train.parse_arguments([*CONFIG, "-o", *options]).opt
    (schedule,) = settings.pop("LearningRate")["schedulers"]
    assert (type(schedule).__name__, schedule.max_epochs) == ("CosineDecay", 3)
    assert settings == {"epoch": 3, "a": "b=c", "d": None}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--early-stop", "0"], "--early-stop must be at least 1, but got 0"),
        (["--early-stop", "1"], "--early-stop needs --eval: without it there is nothing to compare"),
        (["-o", "epoch"], "-o takes KEY=VALUE, but got 'epoch'"),
    ],
)
def test_flags_that_do_not_go_together(flags, said, capsys):
    with pytest.raises(SystemExit) as end:
        train.parse_arguments([*CONFIG, *flags])
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: {said}\n")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["no/where"], "no such file or folder: no/where"),
        ([".", "--image_dir", "."], "--image_dir goes with an annotation file"),
        (["a.json", "--image_dir", "no/where"], "no such folder: no/where"),
        (["a.yml"], "a configuration is named with -c: -c a.yml"),
        ([".", "-o", "a=1"], "-o goes with -c"),
        ([*CONFIG, "."], "argument DIR|FILE.json: not allowed with argument -c/--config"),
    ],
)
def test_what_is_no_data_set(flags, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.json", "a.yml"):
        Path(name).touch()
    with pytest.raises(SystemExit) as end:
        check_data.parse_arguments(flags)
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: {said}\n")


def test_a_data_set_without_a_configuration(tmp_path, caplog):
    """COCO's files are checked as they are; of another format, what would become of it, and nothing is written."""
    data = ForeignData(tmp_path / "set")
    data.draw("images/0.jpg")
    data.write({"annotations/0.xml": voc(voc_object("cat", 1, 2, 5, 8))})
    with caplog.at_level("INFO"):
        check_data.main([str(tmp_path / "set")])
    assert [record.getMessage() for record in caplog.records] == [
        "voc: 1 images, 0 of them without an annotation file, as background",
        "categories: 1 cat",
        "TrainDataset: 1 images, 0 of them without boxes, 1 boxes of 1 classes, 0 crowds",
        "No errors, 0 warnings",
    ]
    assert not list(tmp_path.rglob("*.json"))
    (tmp_path / "set/annotations/0.xml").write_text("<")
    with pytest.raises(SystemExit) as end:
        check_data.main([str(tmp_path / "set")])
    assert end.value.code == 1
    (tmp_path / "a.json").write_text("[1")
    with pytest.raises(SystemExit) as end:
        check_data.main([str(tmp_path / "a.json")])
    assert end.value.code == 1
    assert "1 error in the data:\n- a.json: " in caplog.messages[-1]


def test_nothing_to_detect_objects_in(caplog):
    with pytest.raises(SystemExit) as end:
        infer.main(CONFIG)
    assert end.value.code == 2
    assert caplog.messages[-1] == "Name an image with --infer_img, or a folder of images with --infer_dir"
