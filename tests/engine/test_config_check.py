"""Mistakes in configurations: each is said in words before anything else happens."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("ppdet")

from ppdet.core.config.schema import SchemaDict
from small_runs import CONFIG, STEPS, SmallRuns

from paddle_focal.cli import train as command
from paddle_focal.engine import config_check, runtime
from paddle_focal.errors import ConfigurationError


@pytest.fixture
def load(workspace_copy, tmp_path, monkeypatch):
    """Loads the demo's configuration with settings on the command line."""
    monkeypatch.setattr(runtime, "use_all_cores", lambda: None)

    def load(*options: str, config: str = str(CONFIG)):
        flags = command.parse_arguments(["-c", config, "-o", f"save_dir={tmp_path}", *options])
        return runtime.load_config(flags)

    return load


def mistakes_of(load, *options: str, **how) -> list[str]:
    with pytest.raises(ConfigurationError) as error:
        load(*options, **how)
    heading, *lines = str(error.value).splitlines()
    assert heading.startswith(f"{len(lines)} mistake{'s'[: len(lines) > 1]} in the configuration, for ppdet ")
    return [line.removeprefix("- ").removeprefix("in -o, ") for line in lines]


@pytest.mark.parametrize(
    ("option", "mistake"),
    [
        ("architecture=RetinaNett", "architecture 'RetinaNett' is not known; did you mean RetinaNet?"),
        ("architecture=null", "architecture names no model"),
        (
            "RetinaNet.head=FocalRetinaHed",
            "RetinaNet.head is 'FocalRetinaHed', which is no component; did you mean FocalRetinaHead?",
        ),
        ("RetinaNet.neck={name: Qq}", "RetinaNet.neck is 'Qq', which is no component"),
        ("TranReader.batch_size=2", "there is no section TranReader; did you mean TrainReader?"),
        ("gamma_shedule={}", "there is no section gamma_shedule; did you mean gamma_schedule?"),
        ("TrainReader=5", "TrainReader must be a section with keys, but is 5"),
        (
            "FPN.out_chanel=64",
            "FPN has no key 'out_chanel'; did you mean out_channel? Its keys are in_channels, out_channel, "
            "spatial_scales, has_extra_convs, extra_stage, use_c5, norm_type, norm_decay, freeze_norm, "
            "relu_before_extra_convs",
        ),
        ("FPN.extra_stage=many", "FPN.extra_stage must be a number, but is 'many'"),
        (
            "LearningRate.base_lr=1e-3",
            "LearningRate.base_lr must be a number, but is '1e-3', which is text to YAML: write 0.001",
        ),
        ("TrainReader.batch_size=abc", "TrainReader.batch_size must be a whole number >= 1, but is 'abc'"),
        ("EvalReader.batch_size=0", "EvalReader.batch_size must be a whole number >= 1, but is 0"),
        ("epoch=2.5", "epoch must be a whole number >= 1, but is 2.5"),
        ("worker_num=-1", "worker_num must be a whole number >= 0, but is -1"),
        ("num_classes=true", "num_classes must be a whole number >= 1, but is True"),
        (
            "TrainReader.sample_transforms=[{Decod: {}}]",
            "TrainReader.sample_transforms: there is no transform Decod; did you mean Decode?",
        ),
        (
            "EvalReader.batch_transforms=[{PadBatch: {pad_to: 32}}]",
            "EvalReader.batch_transforms: PadBatch: got an unexpected keyword argument 'pad_to'; did you mean "
            "pad_to_stride?",
        ),
        (
            "TestReader.sample_transforms=[{Decode: null}]",
            "TestReader.sample_transforms: Decode takes a section of options, {} if there are none, but got None",
        ),
        (
            "TrainReader.sample_transforms=null",
            "TrainReader.sample_transforms must be a list of transforms, such as [Decode: {}, Permute: {}], but is "
            "None",
        ),
        (
            "TrainReader.sample_transforms=[Decode]",
            "TrainReader.sample_transforms must be a list of transforms, such as [Decode: {}, Permute: {}], but is "
            "['Decode']",
        ),
        (
            "EvalDataset.name=CocoData",
            "EvalDataset.name is 'CocoData', which is no data set; did you mean COCODataSet?",
        ),
        (
            "EvalDataset.anno_pth=a.json",
            "EvalDataset: got an unexpected keyword argument 'anno_pth'; did you mean anno_path?",
        ),
        (
            "LearningRate.schedulers=[{name: CosinDecay}]",
            "LearningRate.schedulers: there is no schedule CosinDecay; did you mean CosineDecay?",
        ),
        (
            "LearningRate.schedulers=[{name: CosineDecay, max_epoch: 3}]",
            "LearningRate.schedulers: CosineDecay: got an unexpected keyword argument 'max_epoch'; did you mean "
            "max_epochs?",
        ),
        (
            "LearningRate.schedulers=[{name: LinearWarmup}, {name: CosineDecay}]",
            "LearningRate.schedulers must begin with a decay, which a warm-up may follow, but is LinearWarmup, "
            "CosineDecay",
        ),
        (
            "LearningRate.schedulers=[]",
            "LearningRate.schedulers must be a list of a decay and, if wanted, a warm-up, but is []",
        ),
    ],
)
def test_a_mistake(load, option, mistake):
    assert mistakes_of(load, option) == [mistake]


def test_keys_of_a_component_inside_another(load):
    (mistake,) = mistakes_of(load, "RetinaHead.loss_class.gama=3")
    assert mistake.startswith("RetinaHead.loss_class has no key 'gama'; did you mean gamma? Its keys are use_sigmoid,")


def test_all_mistakes_at_once(load):
    assert len(mistakes_of(load, "architecture=RetinaNett", "epoch=abc", "FPN.out_chanel=64")) == 3


@pytest.mark.parametrize("path", sorted(CONFIG.parent.glob("*.yml")), ids=lambda path: path.stem)
def test_the_shipped_ones_have_none(load, workspace_copy, caplog, path):
    if path.stem.startswith("rtdetr") and "RTDETRTransformer" not in workspace_copy:
        with pytest.raises(ConfigurationError, match=r"for ppdet 2[.]6(.|\n)*DETR has no key 'neck'"):
            load(config=str(path))
        return
    load(config=str(path))
    assert [record.getMessage() for record in caplog.records if "Nothing reads" in record.getMessage()] == []


def config_of(folder: Path, text: str) -> str:
    """The demo's configuration with more text."""
    path = folder / "config.yml"
    path.write_text(f"_BASE_: ['{CONFIG}']\n{text}")
    return str(path)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("epochs: 5", "nothing reads the setting epochs; did you mean epoch?"),
        ("RetinaHed: {nms_pre: 5}", "there is no section RetinaHed; did you mean RetinaHead?"),
        ("save_dirr: [1]", "nothing reads the setting save_dirr; did you mean save_dir?"),
        ("gamma_shedule: {kind: step}", "there is no section gamma_shedule; did you mean gamma_schedule?"),
    ],
)
def test_a_name_that_nothing_reads(load, tmp_path, text, mistake):
    assert mistakes_of(load, config=config_of(tmp_path, text)) == [mistake]
    with pytest.raises(ConfigurationError, match=rf"\n- in -o, {mistake[:-1]}"):
        load(text.replace(": ", "=", 1))


def test_names_of_the_users_own(load, tmp_path, caplog):
    """Variables, names unlike any other, and a section like one that this model does not have."""
    load(config=config_of(tmp_path, "epochs: &epochs 5\nepoch: *epochs\nmine: 3\nours: {a: 1}\nYOLOFHed: {}\n"))
    assert caplog.messages == ["The configuration: there is no section YOLOFHed; did you mean YOLOFHead?"]
    caplog.clear()
    load("mine=3", "TrainReader.zzz=1")
    first, second = sorted(caplog.messages)
    assert first.startswith("The configuration: in -o, TrainReader has no key 'zzz'. Its keys are sample_transforms,")
    assert second == "The configuration: in -o, nothing reads the setting mine"


@pytest.mark.parametrize(
    ("option", "start"),
    [
        ("TrainReader.batch_siz=2", "TrainReader has no key 'batch_siz'; did you mean batch_size? Its keys are "),
        ("TrainReader.mixup_epochs=2", "TrainReader has no key 'mixup_epochs'; did you mean mixup_epoch? Its keys"),
        (
            "OptimizerBuilder.optimizer.epsilo=0.9",
            "OptimizerBuilder.optimizer has no key 'epsilo'; did you mean epsilon? Its keys are learning_rate,",
        ),
        (
            "OptimizerBuilder.optimizer={type: Momentun}",
            "OptimizerBuilder.optimizer.type is 'Momentun', which is no optimizer; did you mean Momentum?",
        ),
        (
            "OptimizerBuilder.regularizer={type: L2, facto: 1.0}",
            "OptimizerBuilder.regularizer has no key 'facto'; did you mean factor? Its keys are type, factor",
        ),
        (
            "export.post_proces=true",
            "export has no key 'post_proces'; did you mean post_process? Its keys are post_process, nms, benchmark,",
        ),
        (
            "gamma_schedule={kind: step, gammas: [1], epoch: [0]}",
            "gamma_schedule: got an unexpected keyword argument 'epoch'; did you mean epochs?",
        ),
        (
            "gamma_schedule={kind: linar, gammas: [1], epochs: [0]}",
            "gamma_schedule: kind must be one of constant, step, linear, cosine, but got 'linar'",
        ),
        ("gamma_schedule=linear", "gamma_schedule must be a section with kind, gammas and epochs, but is 'linear'"),
        (
            "FocalRetinaHead.normalizer=locl",
            "FocalRetinaHead.normalizer must be one of ('local', 'sync', 'ema'), but got 'locl'",
        ),
        (
            "FocalRetinaHead.is_inference_output=2",
            "FocalRetinaHead.is_inference_output must be true or false, but got 2",
        ),
        (
            "RetinaHead.loss_class.gamma=two",
            "RetinaHead.loss_class.gamma must be a finite number >= 0, but got 'two' (str)",
        ),
        (
            "RetinaHead.loss_class.gamma=2e0",
            "RetinaHead.loss_class.gamma must be a finite number >= 0, but got '2e0' (str), which is text to YAML: "
            "write 2.",
        ),
        (
            "SigmoidFocalLoss.alpha=[0.25, x]",
            "SigmoidFocalLoss.alpha must be None, a number in [0, 1] or a list of one such number per class, but got "
            "'x' (str)",
        ),
        (
            "SigmoidFocalLoss.loss_weight=-1",
            "SigmoidFocalLoss.loss_weight must be a finite number >= 0, but got -1",
        ),
    ],
)
def test_keys_and_values(load, option, start):
    (mistake,) = mistakes_of(load, option)
    assert mistake.startswith(start)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("LearningRate: {schedulers: [!CosinDecay {}]}", "could not determine a constructor for the tag '!CosinDecay'"),
        ("a: !CosineDecay {max_epoch: 3}", "got an unexpected keyword argument 'max_epoch'"),
    ],
)
def test_tags_that_cannot_be_read(load, tmp_path, text, message):
    path = tmp_path / "config.yml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=rf"^The configuration {path} cannot be loaded: (.|\n)*{message}"):
        load(config=str(path))


TAGGED = "LearningRate:\n  schedulers: [!PiecewiseDecay {gamma: 0.5, milestones: [1]}]\n"


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("{name: PiecewiseDecay, gamma: 0.5, milestones: [1]}", [0.002] * STEPS + [0.001] * STEPS),
        ("{name: CosineDecay, max_epochs: 2}", [0.002, 0.0018660, 0.0015, 0.001, 0.0005, 0.00013397]),
        ("a tag", [0.002] * STEPS + [0.001] * STEPS),
    ],
)
def test_a_schedule_without_warm_up(small_runs: SmallRuns, tmp_path, schedule, expected):
    if schedule == "a tag":
        path = Path(tmp_path, f"{CONFIG.stem}.yml")
        path.write_text(f"_BASE_: ['{CONFIG}']\n{TAGGED}")
        tagged = [option for option in small_runs.arguments() if "schedulers" not in option]
        with small_runs._process():
            command.main(["-c", str(path), "--skip_final_eval", *tagged[2:]])
    else:
        small_runs.train(f"LearningRate.schedulers=[{schedule}]")
    lines = (small_runs.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["learning_rate"] for line in lines] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1e-3", ", which is text to YAML: write 0.001"),
        ("2.5E4", ", which is text to YAML: write 25000."),
        ("1e-10", ", which is text to YAML: write 0.0000000001"),
        ("12", ""),
        ("one", ""),
    ],
)
def test_numbers_that_yaml_takes_for_text(text, words):
    assert config_check._number_in(text) == words


def test_hints():
    known = ["Abcde", "Vwxyz", 5]
    for name, hint in (("abcPQ", "Abcde"), ("ABCDE", "Abcde"), ("vwxyzz", "Vwxyz"), (55, "5")):  # 0.6 of the letters
        assert config_check._hint(name, known) == f"; did you mean {hint}?"
    assert config_check._hint("abcPQR", known) == config_check._hint("abcde_", known, 0.95) == ""


def schedules_of(*schedulers) -> dict:
    section = SchemaDict()
    section["schedulers"] = [*schedulers]
    return {"LearningRate": section}


def test_only_a_schedule_alone_goes_without_warm_up():
    alone, given, tagged = {"name": "CosineDecay"}, {"use_warmup": True}, SimpleNamespace(use_warmup=True)
    other, two = SimpleNamespace(), ({}, {})
    for schedulers in ((alone,), (given,), (tagged,), (other,), two, ()):
        config_check.allow_schedule_alone(schedules_of(*schedulers))
    assert alone == {"name": "CosineDecay", "use_warmup": False}
    assert given == {"use_warmup": True}
    assert tagged.use_warmup is False
    assert vars(other) == {}
    assert two == ({}, {})
    config_check.allow_schedule_alone({"LearningRate": SimpleNamespace()})


def test_a_schedule_of_its_own_kinds():
    """Names that are none of ppdet's; a tag's object names itself."""
    said = list(config_check._schedule(schedules_of({"name": "LinearWarmup", "steps": 3}, SimpleNamespace()), []))
    assert said == [
        "LearningRate.schedulers: there is no schedule SimpleNamespace",
        "LearningRate.schedulers must begin with a decay, which a warm-up may follow, but is LinearWarmup, "
        "SimpleNamespace",
    ]
    assert list(config_check._schedule(schedules_of({"name": "LRScheduler"}), [])) == [
        "LearningRate.schedulers: there is no schedule LRScheduler"
    ]
    assert list(config_check._schedule({"LearningRate": SchemaDict()}, [])) == []


def test_sections_that_are_none():
    config = {"Part": SimpleNamespace(), "Other": 3, "Text": "a"}
    assert list(config_check._sections(config, ["Part", "Other", "Text"])) == [
        "Other must be a section with keys, but is 3",
        "Text must be a section with keys, but is 'a'",
    ]


def test_where_numbers_are_counts():
    counts = {"epoch": 1, "num_classes": 1, "snapshot_epoch": 1, "log_iter": 1, "worker_num": 0}
    readers = dict.fromkeys(("TrainReader", "EvalReader", "TestReader"))
    assert list(config_check._counts({**readers, **counts}, [])) == []
    assert list(config_check._counts(readers, [])) == []
    lower = {name: least - 1 for name, least in counts.items()}
    for name in readers:
        readers[name] = SchemaDict()
        readers[name]["batch_size"] = 0
    assert list(config_check._counts({**readers, **lower}, [])) == [
        *(f"{name} must be a whole number >= {least}, but is {least - 1}" for name, least in counts.items()),
        *(f"{name}.batch_size must be a whole number >= 1, but is 0" for name in readers),
    ]


def test_the_exit_status(workspace_copy, tmp_path, caplog):
    with pytest.raises(SystemExit) as end:
        command.main(["-c", str(CONFIG), "-o", f"save_dir={tmp_path}/new", "epochs=1"])
    assert end.value.code == 2
    assert caplog.messages[-1].endswith("\n- in -o, nothing reads the setting epochs; did you mean epoch?")
    assert not (tmp_path / "new").exists()


def test_what_paddleslim_adds(load, tmp_path):
    config = load()

    def findings(text: str) -> list[str]:
        (tmp_path / "slim.yml").write_text(text)
        return config_check.slim_findings(f"{tmp_path}/slim.yml", config, runtime.workspace.get_registered_modules())

    assert findings("slim: QAT\nQAT: {print_model: true}\nepoch: 3\nLearningRate: {base_lr: 0.1}") == []
    assert findings("slim: QAT\nLearnigRate: {base_lr: 0.1}") == [
        "there is no section LearnigRate; did you mean LearningRate?"
    ]
    assert findings("QAT: {}") == [f"{tmp_path}/slim.yml has no setting slim, which names the method of compression"]


def test_what_has_no_effect(load, tmp_path, caplog):
    text = f"_BASE_: [{CONFIG}]\nSigmoidFocalLoss: {{gamma: 1.0}}\nSoftmaxFocalLoss: {{gamma: 1.0}}\nepohc: 3\n"
    (mistake,) = mistakes_of(load, config=config_of(tmp_path, text))
    assert mistake == "nothing reads the setting epohc; did you mean epoch?"
    assert sorted(caplog.messages) == [
        "The configuration: SigmoidFocalLoss.gamma has no effect, because RetinaHead.loss_class says gamma itself",
        "The configuration: nothing uses the section SoftmaxFocalLoss",
    ]


def test_the_size_of_an_exported_model(load):
    size = "TestReader.inputs_def.image_shape=[3,64,96]"
    assert mistakes_of(load, size) == [
        "TestReader.inputs_def.image_shape is [3, 64, 96], but TestReader's Resize has a target_size of [96, 96]: an "
        "exported model would resize images to [64, 96]; set it to [3, 96, 96]"
    ]
    load("TestReader.inputs_def.image_shape=[3,-1,-1]")
    assert mistakes_of(load, size, "TestReader.sample_transforms=5") == [
        "TestReader.sample_transforms must be a list of transforms, such as [Decode: {}, Permute: {}], but is 5"
    ]
