"""What all command lines share: the spelling of options, how they end, and where configurations are found."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from paddle_focal import configurations
from paddle_focal.cli import arguments, configs, convert, init, main, run, train
from paddle_focal.errors import ToolError

CONFIG = ["-c", "retinanet_r18_fpn_digits"]


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        ("--skip-final-eval", "skip_final_eval", True),
        ("--skip_final_eval", "skip_final_eval", True),
        ("--skip-fin", "skip_final_eval", True),
        ("--skip_fin", "skip_final_eval", True),
        ("--vdl-log-dir=a-b_c", "vdl_log_dir", "a-b_c"),
        ("--vdl_log_dir a_b-c", "vdl_log_dir", "a_b-c"),
        ("--early_stop 3 --eval", "early_stop", 3),
        ("--early_stop_metric val_loss", "early_stop_metric", "val_loss"),
        ("--trust_config", "trust_config", True),
    ],
)
def test_both_spellings(flags, name, value):
    assert vars(train.parse_arguments([*CONFIG, *flags.split()]))[name] == value


@pytest.mark.parametrize("flag", ["--early-sto", "--early_sto"])
def test_what_two_options_begin_with(capsys, flag):
    with pytest.raises(SystemExit):
        train.parse_arguments([*CONFIG, flag, "3"])
    assert "ambiguous option: --early-sto could match --early-stop, --early-stop-metric" in capsys.readouterr().err


def test_hidden_options_have_both(tmp_path):
    (tmp_path / "pics").mkdir()
    assert convert.parse_arguments([str(tmp_path), "--image-input-dir", "pics"]).image_dir == "pics"


def test_what_a_program_is_given_stays_as_it_is():
    command = ["train.py", "--name_s", "--", "--help_me"]
    assert run.parse_arguments(["--names", "A", *command]).command == command
    assert run.parse_arguments(["--", "--names_"]).command == ["--names_"]


@pytest.fixture
def without_engine(monkeypatch):
    """As before anything has been imported that takes long."""
    monkeypatch.delitem(sys.modules, "paddle_focal.engine.logs", raising=False)
    monkeypatch.setattr(sys, "argv", ["/bin/paddle-focal train"])


def test_an_error_before_there_is_a_log(without_engine, capsys):
    with pytest.raises(SystemExit) as end, arguments.ending_in_words(status=2):
        raise ToolError("in words")
    assert end.value.code == 2
    assert capsys.readouterr() == ("", "paddle-focal train: error: in words\n")


def test_without_paddle(without_engine, monkeypatch, capsys):
    def fail():
        raise ImportError("of another package")

    monkeypatch.setitem(sys.modules, "paddle_focal.engine", None)
    with pytest.raises(SystemExit) as end, arguments.ending_in_words():
        fail()
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith("paddle-focal train: error: import of paddle_focal.engine halted")


@pytest.mark.parametrize(("where", "status"), [("load_config", 2), ("after", 1)])
def test_a_configuration_is_usage_and_all_else_is_not(monkeypatch, where, status):
    runtime = pytest.importorskip("paddle_focal.engine.runtime")

    def fail(place):
        if where == place:
            raise ToolError("in words")

    monkeypatch.setattr(runtime, "load_config", lambda flags: fail("load_config"))
    flags = SimpleNamespace(quiet=False, trust_weights=False)
    with pytest.raises(SystemExit) as end, arguments.ending_in_words(), arguments.configured(flags):
        fail("after")
    assert end.value.code == status


def test_the_configurations_are_listed(capsys):
    configs.main([])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(path.stem for path in configurations.FOLDER.glob("*.yml"))
    assert [line for line in lines if "_BASE_" in line or len(line.split()) < 3] == []


def test_one_is_begun_and_never_overwritten(tmp_path, monkeypatch, capsys, workspace_copy):
    """The file is what training takes, from any folder."""
    from paddle_focal.engine import runtime

    monkeypatch.chdir(tmp_path)
    assert init.main(["fcos_digits.yml", "mine.yml"]) == 0
    assert capsys.readouterr().out.startswith("mine.yml: fill in your data, then\n")
    config = runtime.load_config(train.parse_arguments(["-c", "mine.yml", "-o", f"save_dir={tmp_path}"]))
    assert (config.filename, config.num_classes, config.weights) == ("mine", 3, "output/mine/model_final")
    assert (config.architecture, config.epoch) == ("FCOS", 10)  # those of fcos_digits
    assert config.TrainDataset["dataset_dir"] == "dataset/my_data"
    assert (init.main(["fcos_digits"]), (tmp_path / "my_fcos_digits.yml").exists()) == (0, True)
    (tmp_path / "mine.yml").write_text("mine")
    capsys.readouterr()
    assert init.main(["fcos_digits", "mine.yml"]) == 1
    assert capsys.readouterr().err.endswith(": error: mine.yml is there already: name another file\n")
    assert (tmp_path / "mine.yml").read_text() == "mine"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["fcos"], "no configuration of this name comes with the package: fcos. "),
        (["fcos_digits", "a.txt"], "the name of a configuration must end in .yml or .yaml, which a.txt does not"),
    ],
)
def test_none_is_begun(tmp_path, monkeypatch, capsys, given, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        init.main(given)
    assert end.value.code == 2
    assert said in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


def test_a_base_beside_the_configuration_comes_before_a_shipped_one(tmp_path):
    path = str(tmp_path / "mine.yml")
    assert configurations.base(path, "fcos_digits.yml") == str(configurations.FOLDER / "fcos_digits.yml")
    shipped = str(configurations.FOLDER / "datasets/coco_detection.yml")
    assert configurations.base(path, "datasets/coco_detection.yml") == shipped
    assert configurations.base(path, "none.yml") == str(tmp_path / "none.yml")
    (tmp_path / "fcos_digits.yml").touch()
    assert configurations.base(path, "fcos_digits.yml") == str(tmp_path / "fcos_digits.yml")


def test_completion_knows_all_commands_and_their_options(monkeypatch):
    """By a stand-in for argcomplete, which ends the process."""
    asked = []

    def autocomplete(parser):
        asked.append(parser)
        raise SystemExit

    monkeypatch.setitem(sys.modules, "argcomplete", SimpleNamespace(autocomplete=autocomplete))
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    with pytest.raises(SystemExit):
        main.main([])
    (commands,) = (action for action in asked[0]._actions if isinstance(action, argparse._SubParsersAction))
    assert [*commands.choices] == [*main.COMMANDS]
    options = commands.choices["train"].format_help()
    assert "--early-stop-metric {bbox_AP,bbox_mAP,val_loss}" in options
    assert "PYTHON_ARGCOMPLETE_OK" in Path(main.__file__).read_text()[:1024]
