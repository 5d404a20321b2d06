"""What every command says of itself and of its flags, word for word."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from paddle_focal import __version__
from paddle_focal.cli import (
    analyze,
    backend,
    check_data,
    class_alpha,
    configs,
    convert,
    coverage,
    doctor,
    evaluate,
    export,
    infer,
    init,
    main,
    make_digits,
    run,
    train,
)

SHARED = """\
-h --help | show this help message and exit
-c --config required | configuration file, or the name of a shipped one
-o --opt nargs=* KEY=VALUE | settings in place of the file's
-q --quiet | print only warnings, errors and results
--trust-config | run the Python code that tags of the configuration name
--trust-weights | run the Python code that a file of weights names
"""
TRAIN = """\
Train a detector of PaddleDetection with the losses of paddle_focal.
-r --resume | checkpoint to resume from, without its ending; auto: the newest complete one, or from the start
--eval | evaluate at every snapshot, and keep the best model
--skip-final-eval | do not evaluate the final weights
--seed N | seed of every random generator
--slim_config | configuration of PaddleSlim
--enable_ce | true: --seed 0
--amp | automatic mixed precision
--fleet | train with paddle.distributed.fleet
--use_vdl nargs=? | record scalars for VisualDL
--vdl_log_dir | folder of VisualDL (default: vdl_log_dir/scalar)
--use_wandb nargs=? | record to wandb
--save_prediction_only | write bbox.json, compute no AP
--profiler_options | options of the profiler: "key1=value1;key2=value2"
--save_proposals | write the training proposals
--proposals_path | file of the training proposals
--early-stop PATIENCE | stop after so many evaluations without a better value
--early-stop-metric {bbox_AP,bbox_mAP,val_loss} | the value (default: bbox_AP, or bbox_mAP of VOC's metric)
"""
EVALUATE = """\
Evaluate a detector of PaddleDetection with the losses of paddle_focal.
--output_eval | folder of bbox.json (default: the output folder of the configuration)
--json_eval | evaluate the bbox.json of --output_eval
--slim_config | configuration of PaddleSlim
--bias | add 1 to widths and heights
--classwise | AP of each class, and its curves in bbox_pr_curve/
--save_prediction_only | write bbox.json, compute no AP
--amp | automatic mixed precision
"""
CHECK_DATA = """\
Check the training and the validation set of a configuration, as training does before it begins.

Or those of a folder, in COCO's, VOC's, YOLO's or LabelMe's format, or one annotation file of COCO's format. Says
everything that is wrong at once. Errors, which make training fail or use wrong labels, end it with exit status 1;
warnings are what PaddleDetection leaves out, or what looks wrong.
path nargs=? DIR|FILE.json | a data set on its own
--image_dir DIR | folder of a file's images (default: where they are)
"""
INFER = """\
Detect objects in images.
--infer_img | an image; takes precedence over --infer_dir
--infer_dir | a folder of images
--output_dir | folder to write (default: output)
--draw_threshold | score from which a box is drawn (default: 0.5)
--visualize | draw the boxes (default: true)
--slim_config | configuration of PaddleSlim
"""
EXPORT = """\
Export a detector of PaddleDetection for paddle.inference or ONNX Runtime.
--output_dir | folder to write (default: output_inference)
--format {paddle,onnx} | format of the exported model (default: paddle)
--slim_config | configuration of PaddleSlim
"""
ANALYZE = """\
Show what focal loss does to a trained RetinaNet on its data, as figure 4 of arXiv:1708.02002.

The images go through the transforms of evaluation, without augmentation. Writes analysis.json, loss_distribution.png
and hardest_images.png into the output folder of the configuration, and prints a summary.
--dataset {train,eval} | whose images (default: train)
--images N | at most, evenly spaced (default: 200)
"""
CONVERT = """\
Make COCO JSON of a folder of images with VOC, YOLO or LabelMe annotations.

Images stay where they are. A data set that is split, by lists (ImageSets/Main, train.txt), by data.yaml or by folders
called train and val, stays so; another one is split by --val and --seed. Everything that is wrong is said at once, and
then nothing is written. At the end come the lines for a configuration.
-h --help | show this help message and exit
folder required | the data set's, or its data.yaml; dataset_dir of the configuration
--dataset_type {voc,yolo,labelme} | default: what there is
--image_dir DIR | folder of the images, in the data set's
--anno_dir DIR | folder of the annotation files, in the data set's
--label_list FILE | names of the classes in their order, one a line (default: label_list.txt, labels.txt, data.yaml, \
classes.txt or obj.names of the data set; without one, in alphabetical order)
--val SHARE | of the images for validation (default: 0.2)
--seed N | of the split (default: 0)
--output_dir DIR | for annotations/instances_*.json (default: folder)
--overwrite | replace the files if they exist
--encoding | of text files that are not UTF-8, such as gbk
--skip-bad-boxes | leave boxes without area or outside their image out, and say so
--image_input_dir | ==SUPPRESS==
--json_input_dir | ==SUPPRESS==
--voc_anno_dir | ==SUPPRESS==
--voc_label_list | ==SUPPRESS==
--val_proportion | ==SUPPRESS==
"""
CLASS_ALPHA = """\
--annotations FILE | COCO annotation file
--method {inverse_frequency,effective_number,frequency} | default: inverse_frequency
--alpha | of a class of average weight, in (0, 1) (default: 0.25)
--beta | of effective_number, in (0, 1) (default: 0.999)
--output PNG | default: class_alpha.png
"""
MAKE_DIGITS = """\
-h --help | show this help message and exit
--output | folder to write (default: dataset/digits)
--overwrite | replace the folder if it exists
--train-images N | default: 800
--val-images N | default: 200
--image-size PIXELS | default: 96
--digit-size nargs=2 PIXELS | smallest and largest side
--digits-per-image nargs=2 N | fewest and most digits drawn
--imbalance | how many times more frequent digit 0 is than digit 9
--seed |
"""
COVERAGE = """\
Say which configurations of PaddleDetection have a loss of the focal family, and which are served.

Every configuration of a source tree is loaded by PaddleDetection's own code; no model is built and no data is read.
`paddle_focal.detection.replace` serves a configuration if it replaces all its components of the focal family. Parts of
other configurations are left out, and so is what --slim_config adds.
-h --help | show this help message and exit
--paddledetection DIR | source tree (default: that of the ppdet that is installed)
--verbose | list each configuration
--json FILE | write the results; -: to standard output, instead of tables
"""
RUN = """\
Run a program in which every Python that imports PaddleDetection has its focal losses replaced.

Programs that it starts are served as well. Nothing is installed, and no configuration needs a line of its own:

  paddle-focal run python tools/train.py -c configs/ppyoloe/ppyoloe_plus_crn_s_80e_coco.yml

A Python that ignores the environment (-E, -I) or starts without its site module (-S) cannot be reached.
-h --help | show this help message and exit
--names A,B | components to replace (default: all that can be)
command required nargs=... COMMAND | program and its arguments
"""


HELP = "-h --help | show this help message and exit\n"
DOCTOR = f"""\
Say what is installed, which backend is used, and whether it computes the right numbers.

Exit status 1 if anything is wrong.
{HELP}"""
BACKEND = f"Say which backend computes the losses on each device, and why.\n{HELP}"
CONFIGS = f"""\
List the configurations that come with the package.

Every command takes them by name, and so does the _BASE_ of a configuration; paddle-focal init NAME begins one.
{HELP}"""
INIT = f"""\
Write a configuration for your own data, based on one that comes with the package.

It has the lines that need your data's paths and classes; all else is taken from NAME. No file is overwritten.
{HELP}name required NAME | of those that paddle-focal configs lists
file nargs=? FILE | to write (default: my_NAME.yml)
"""


def flags_of(parser: argparse.ArgumentParser) -> str:
    """A line for each flag. Not the whole help, which every version of Python lays out in its own way."""

    def line(action: argparse.Action) -> str:
        takes = [f"nargs={action.nargs}"] if action.nargs not in (None, 0) else []
        takes += [action.metavar] if action.metavar else []
        takes += [f"{{{','.join(action.choices)}}}"] if action.choices else []
        names = [*(action.option_strings or [action.dest]), *(["required"] if action.required else []), *takes]
        return f"{' '.join(names)} | {(action.help or '') % vars(action)}".strip()

    return "".join(f"{line(action)}\n" for action in parser._actions)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (train, TRAIN),
        (evaluate, EVALUATE),
        (check_data, CHECK_DATA),
        (infer, INFER),
        (export, EXPORT),
        (analyze, ANALYZE),
        (class_alpha, f"{class_alpha.__doc__}\n{CLASS_ALPHA}"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_commands_with_a_configuration(command, text):
    parser = command.make_parser()
    assert parser.formatter_class is argparse.RawDescriptionHelpFormatter
    shared = SHARED if command not in (check_data, class_alpha) else SHARED.replace(" required", "")
    flags = flags_of(parser)
    assert flags.startswith(shared)
    assert f"{parser.description}\n{flags.removeprefix(shared)}" == text


@pytest.mark.parametrize(
    ("command", "text"),
    [
        *((convert, CONVERT), (coverage, COVERAGE), (run, RUN), (doctor, DOCTOR), (backend, BACKEND)),
        *((configs, CONFIGS), (init, INIT), (make_digits, f"{make_digits.__doc__}\n{MAKE_DIGITS}")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_commands_without_one(command, text):
    parser = command.make_parser()
    assert parser.formatter_class is argparse.RawDescriptionHelpFormatter
    assert f"{parser.description}\n{flags_of(parser)}" == text


USAGE = """\
usage: paddle-focal COMMAND ...

Detectors:
  configs     list the configurations that come with the package
  init        begin a configuration for your own data
  train       train a detector, with PaddleDetection's options
  eval        evaluate a checkpoint, with PaddleDetection's options
  infer       detect objects in images, with PaddleDetection's options
  export      write a checkpoint for paddle.inference or ONNX Runtime
  analyze     show what focal loss does to a model and its data

Data:
  check-data  report everything that is wrong with a data set
  convert     make COCO JSON from VOC, YOLO or LabelMe annotations
  class-alpha compute alpha of each class from its frequency
  make-digits compose the demo's data set of handwritten digits

PaddleDetection's own tools and configurations:
  run         run a program with PaddleDetection's focal losses replaced
  coverage    say which configurations of PaddleDetection are served

This installation:
  backend     say which backend computes the losses, and why
  doctor      check the installation, for a bug report
  build       compile the native library
  benchmark   measure the losses beside what they replace

paddle-focal COMMAND --help says more; --version says which one this is.
eval "$(register-python-argcomplete paddle-focal)" completes commands and options, with argcomplete.
"""


def test_the_list_of_commands(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["paddle-focal"])
    for arguments in (["-h"], ["--help"], ["help"], [], None):
        assert main.main(arguments) == 0
        assert capsys.readouterr() == (USAGE, "")
    assert [*main.COMMANDS] == [name for names in main.GROUPS.values() for name in names]


def test_the_version(capsys):
    assert main.main(["--version"]) == 0
    assert capsys.readouterr() == (f"paddle_focal {__version__}\n", "")


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("trian", " Did you mean train?"),
        ("check_data", " Did you mean check-data?"),
        ("--evla", " Did you mean eval?"),
        ("xyz", ""),
    ],
)
def test_no_such_command(capsys, command, hint):
    assert main.main([command]) == 2
    said = f"usage: paddle-focal --help\npaddle-focal: there is no command {command!r}.{hint}\n"
    assert capsys.readouterr() == ("", said)


def test_every_command_shows_its_help(monkeypatch, capsys):
    """It is found, and does nothing else."""
    for command in main.COMMANDS:
        monkeypatch.setattr(sys, "argv", ["paddle-focal"])
        with pytest.raises(SystemExit) as end:
            main.main([command, "--help"])
        assert end.value.code == 0
        output, errors = capsys.readouterr()
        assert output.startswith(f"usage: paddle-focal {command} [-h]")
        assert errors == ""


@pytest.mark.parametrize("command", [*main.COMMANDS])
def test_misused_commands_end_with_status_2_and_say_so_on_standard_error(monkeypatch, capsys, command):
    monkeypatch.setattr(sys, "argv", ["paddle-focal"])
    with pytest.raises(SystemExit) as end:
        main.main([command, "--none-such"])
    assert end.value.code == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert f"paddle-focal {command}: error: " in errors.splitlines()[-1]


HEAVY = ("paddle", "ppdet", "numpy", "matplotlib", "cv2", "yaml", "sklearn", "pycocotools")
ALL_HELP = f"""
import importlib, sys
from paddle_focal.cli import main
print(main.usage())
for module, _ in main.COMMANDS.values():
    importlib.import_module(module).make_parser().print_help()
assert not {{name.partition(".")[0] for name in sys.modules}} & {{*{HEAVY}}}, sys.modules
"""


def test_help_imports_nothing_that_takes_long():
    environment = {"PYTHONPATH": str(Path(main.__file__).parents[2])}
    result = subprocess.run([sys.executable, "-c", ALL_HELP], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("usage:") == 1 + len(main.COMMANDS)
