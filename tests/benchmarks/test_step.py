"""The benchmark of a training step."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from paddle_focal.benchmarks import __main__ as benchmark
from paddle_focal.benchmarks import detectors, measuring, step, tables
from paddle_focal.benchmarks.architectures import ARCHITECTURES, Architecture
from paddle_focal.benchmarks.detectors import workspace

SMALL = ("--images", "1", "--size", "128", "160", "--classes", "5", "--boxes", "3", "--rounds", "1")


@pytest.mark.slow
def test_step(tmp_path):
    names = ["--contenders", "FocalRetinaHead", "floor"]
    benchmark.main(["step", *SMALL, "--steps", "1", *names, "--output", str(tmp_path / "not/there")])
    rows = json.loads((tmp_path / "not/there/step.json").read_text())["results"]
    for row in rows:
        assert list(row["stage_ms"]) == ["backbone", "neck", "head", "loss", "backward", "optimizer"]
        assert sum(row["stage_ms"].values()) == pytest.approx(row["step_ms"]["median"])
        assert row["peak_mib"] > 300
    assert rows[1]["stage_ms"]["loss"] < rows[0]["stage_ms"]["loss"]
    assert "| floor | " in (tmp_path / "not/there/step.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "component"), [("picodet", "PicoHeadV2"), ("ppyoloe", "PPYOLOEHead"), ("rtdetr", "DINOLoss")]
)
def test_contenders_are_the_same_detector(workspace_copy, name, component):
    """With PaddleDetection's component and with ours, from the same weights and on the same batch."""
    if name == "rtdetr" and "RTDETRTransformer" not in workspace_copy:
        pytest.skip("no RT-DETR in ppdet")
    small = replace(ARCHITECTURES[name], config=f"{name}_digits")
    losses = {}
    for contender in ("stock", "floor", "plugin"):  # what is replaced stays so
        run = step.TrainingStep(small, contender, step.Batch(2, 96, 96, 5, 3))
        module = workspace.global_config[component].pymodule.__name__
        assert module.startswith("paddle_focal" if contender == "plugin" else "ppdet"), contender
        seconds = run()
        assert list(seconds) == list(step.STAGES)
        assert min(seconds.values()) > 0
        paddle.seed(1)
        losses[contender] = float(run._model(run._inputs)["loss"])
    assert losses["plugin"] == pytest.approx(losses["stock"], rel=1e-3)
    assert losses["floor"] != pytest.approx(losses["stock"], rel=1e-3)


def test_targets_are_those_of_the_recipe(workspace_copy):
    batch = detectors.Batch(2, 96, 64, 5, 3)
    boxes, classes = (np.stack(list(map(np.asarray, of_images))) for of_images in batch.targets().values())
    for name, epochs in {"picodet": 300, "ppyoloe": 80, "retinanet": 12, "rtdetr": 72}.items():
        detectors.configure(ARCHITECTURES[name], "stock", 5)
        inputs = batch.inputs()
        assert (inputs["image"].shape, inputs["image"].dtype) == ([2, 3, 96, 64], paddle.float32)
        assert abs(float(inputs["image"].std()) - 1) < 0.3
        assert inputs["im_shape"].tolist() == [[96, 64]] * 2
        assert inputs["scale_factor"].tolist() == [[1, 1]] * 2
        assert inputs["epoch_id"] == epochs - 1
        found = np.stack([one.numpy() for one in inputs["gt_bbox"]])
        corners, ends = np.split(boxes / [64, 96, 64, 96], 2, axis=2)
        centers = np.concatenate([(corners + ends) / 2, ends - corners], axis=2)
        np.testing.assert_allclose(found, centers if name == "rtdetr" else boxes, rtol=1e-5)
        np.testing.assert_array_equal(np.stack([one.numpy() for one in inputs["gt_class"]]), classes)
        if name in ("picodet", "ppyoloe"):
            assert inputs["pad_gt_mask"].tolist() == [[[1]] * 3] * 2
        else:
            assert isinstance(inputs["gt_bbox"], list)


def test_a_process_of_its_own_measures_the_same():
    options = benchmark.parse_arguments(["step", *SMALL, "--architecture", "ppyoloe"])
    options.threads, options.steps, options.device = 3, 4, "gpu"
    passed = benchmark.parse_arguments(["step", "--worker", *step._arguments("floor", options)])
    assert step._batch_of(passed) == step.Batch(1, 128, 160, 5, 3)
    assert (passed.architecture, passed.contenders, passed.worker) == ("ppyoloe", ["floor"], True)
    assert (passed.threads, passed.steps, passed.device) == (3, 4, "gpu")


def test_a_step_takes_as_long_as_its_stages_together(monkeypatch, tmp_path, capsys):
    turn = json.dumps({"seconds": [dict.fromkeys(step.STAGES, 0.5)], "peak_mib": 1234.4})
    monkeypatch.setattr(measuring, "last_line_of_fresh_process", lambda *_: turn)
    arguments = ["step", *SMALL, "--contenders", "floor", "--output", str(tmp_path)]
    step.run(benchmark.parse_arguments(arguments))
    assert " 3.00 s, peak 1,234 MiB\n" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "step.json").read_text())["results"]
    assert row["step_ms"]["median"] == pytest.approx(3000)


def whole(name, milliseconds, peak):
    stages = dict.fromkeys(step.STAGES, milliseconds / len(step.STAGES))
    return {"contender": name, "step_ms": {"median": milliseconds}, "stage_ms": stages, "peak_mib": peak}


def test_ratios_to_the_floor():
    _, *table = step._table([whole("stock", 3000.0, 500.0), whole("floor", 2000.0, 400.0)])
    assert [row[1:5] for row in table] == [["3.00", "1.500", "500", "1.250"], ["2.00", "1.000", "400", "1.000"]]
    assert list(step._table([whole("stock", 2000.0, 5.0)]))[1][:5] == ["stock", "2.00", "-", "5", "-"]
    assert list(step._table([whole("floor", 3000.0, 12345.6)])) == [
        ["contender", "step s", "of the floor", "peak MiB", "of the floor", *step.STAGES],
        ["floor", "3.00", "1.000", "12,346", "1.000", *["16.7%"] * 6],
    ]


STEP_MARKDOWN = """\
# A training step of RetinaNet R50-FPN

Seconds are medians, and of each stage its share. The floor has the mean of the head's outputs for its loss. Peak \
memory is that of the whole process, or on a GPU that of Paddle's allocator.

- cpu: of a test
- detector: RetinaNet R50-FPN
- batch: 1 x 128 x 160, 5 classes, 3 boxes an image
- threads: 4
- device: cpu
- steps: 6

| contender | step s | of the floor | peak MiB | of the floor | backbone | neck | head | loss | backward | optimizer |
|---|---|---|---|---|---|---|---|---|---|---|
| stock | 4.00 | 1.600 | 1,500 | 1.500 | 12.5% | 12.5% | 12.5% | 50.0% | 7.5% | 5.0% |
| floor | 2.50 | 1.000 | 1,000 | 1.000 | 20.0% | 20.0% | 20.0% | 20.0% | 12.0% | 8.0% |
"""


def test_what_the_step_benchmark_writes(monkeypatch, tmp_path, capsys):
    turns = []

    def fresh_process(*arguments):
        options = benchmark.parse_arguments(list(arguments))
        (name,) = options.contenders
        turns.append(name)
        rest = {"backbone": 0.5, "neck": 0.5, "head": 0.5, "backward": 0.3, "optimizer": 0.2}
        seconds = {stage: rest.get(stage, {"stock": 2.0, "floor": 0.5}[name]) for stage in step.STAGES}
        peak = {"stock": 1300.0, "floor": 800.0}[name] + 100 * turns.count(name)
        return json.dumps({"seconds": [seconds] * options.steps, "peak_mib": peak})

    monkeypatch.setattr(measuring, "last_line_of_fresh_process", fresh_process)
    monkeypatch.setattr(tables, "environment", lambda: {"cpu": "of a test"})
    arguments = ["--rounds", "3", "--steps", "2", "--threads", "4", "--contenders", "stock", "floor"]
    folder = tmp_path / "not/there"
    step.run(benchmark.parse_arguments(["step", *SMALL, *arguments, "--output", str(folder)]))
    assert sorted(turns) == ["floor"] * 3 + ["stock"] * 3
    assert all(set(turns[i : i + 2]) == {"stock", "floor"} for i in (0, 2, 4))
    assert (folder / "step.md").read_text() == STEP_MARKDOWN
    document = json.loads((folder / "step.json").read_text())
    batch = "1 x 128 x 160, 5 classes, 3 boxes an image"
    facts = {"cpu": "of a test", "detector": "RetinaNet R50-FPN", "batch": batch}
    assert document["environment"] == {**facts, "threads": 4, "device": "cpu", "steps": 6}
    stock, floor = document["results"]
    assert stock["step_ms"] == pytest.approx({"median": 4000, "p20": 4000, "p80": 4000})
    assert stock["stage_ms"] == pytest.approx(
        {"backbone": 500, "neck": 500, "head": 500, "loss": 2000, "backward": 300, "optimizer": 200}
    )
    assert (floor["contender"], floor["peak_mib"]) == ("floor", 1000)
    text = capsys.readouterr().out
    assert text.startswith(f"RetinaNet R50-FPN, {batch}, threads: 4\n")
    assert "  stock            4.00, 4.00 s, peak 1,400 MiB\n" in text
    assert text.endswith(STEP_MARKDOWN[STEP_MARKDOWN.index("| contender") :])


@pytest.mark.parametrize(("device", "peak"), [("cpu", 7.5), ("gpu", 3.0)])
def test_a_worker(monkeypatch, capsys, device, peak):
    calls = []

    class TrainingStep:
        def __init__(self, architecture, contender, batch):
            calls.append((architecture.config, contender, str(batch)))

        def __call__(self):
            calls.append("step")
            return {"loss": float(calls.count("step"))}

    monkeypatch.setattr(step, "TrainingStep", TrainingStep)
    monkeypatch.setattr(paddle, "set_device", lambda name: calls.append(name))
    monkeypatch.setattr(step.runtime, "use_all_cores", lambda: calls.append("all cores"))
    monkeypatch.setattr(paddle.base.core, "set_num_threads", lambda count: calls.append(count))
    monkeypatch.setattr(paddle.device.cuda, "max_memory_allocated", lambda: 3 * 2**20)
    monkeypatch.setattr(measuring, "peak_mib", lambda: 7.5)
    arguments = ["--contenders", "floor", "stock", "--device", device, "--threads", "5", "--steps", "2"]
    benchmark.main(["step", "--worker", "--architecture", "picodet", *arguments])
    batch = "32 x 320 x 320, 80 classes, 10 boxes an image"
    assert calls == [device, "all cores", 5, ("picodet_s_320_coco_lcnet", "floor", batch), "step", "step", "step"]
    assert json.loads(capsys.readouterr().out) == {"seconds": [{"loss": 2}, {"loss": 3}], "peak_mib": peak}


@pytest.mark.parametrize(("contender", "loss"), [("stock", 6.0), ("floor", 3.0)])
def test_a_training_step(monkeypatch, contender, loss):
    """Of a model of one weight, 2, whose head doubles it; its loss is that again, and the floor's half."""
    model = paddle.nn.Layer()
    model.backbone, model.neck, model.head = (paddle.nn.Layer() for _ in range(3))
    model.weight = model.create_parameter([], default_initializer=paddle.nn.initializer.Constant(3.0))
    model.backbone.forward = model.neck.forward = lambda x: x
    model.head.get_loss = lambda outputs, targets: {"loss": 2 * outputs[0][0]}
    inputs, losses, made = [], [], {"Detector": model}

    def forward(batch):
        inputs.append(batch)
        losses.append(model.head.get_loss([[model.neck(model.backbone(model.weight))]], batch)["loss"])
        return {"loss": losses[-1]}

    def optimizer(schedule, of):
        assert (schedule, of) == ("schedule of 1000", model)
        return paddle.optimizer.SGD(0.5, parameters=model.parameters())

    model.forward = forward
    model.eval()
    made["LearningRate"], made["OptimizerBuilder"] = lambda steps: f"schedule of {steps}", optimizer
    configured = []
    monkeypatch.setattr(step.detectors, "configure", lambda *arguments: configured.append(arguments))
    monkeypatch.setattr(step.workspace, "create", made.get)
    monkeypatch.setitem(step.workspace.global_config, "architecture", "Detector")
    monkeypatch.setattr(step.Batch, "inputs", lambda batch: {"batch": batch})
    described = Architecture("A detector", "its_configuration", 1, (6, 4), "head.get_loss")
    run = step.TrainingStep(described, contender, step.Batch(2, 6, 4, 5, 3))
    assert configured == [(described, contender, 5)]
    assert model.training
    for _ in range(2):
        assert list(run()) == list(step.STAGES)
        assert model.weight.grad is None or float(model.weight.grad) == 0
    slope = loss / 3
    assert [float(one) for one in losses] == [loss, slope * (3 - 0.5 * slope)]
    assert inputs == [{"batch": step.Batch(2, 6, 4, 5, 3)}] * 2


def test_a_stopwatch():
    watch = step.Stopwatch()
    times = iter([10.0, 11.5, 14.0, 20.0, 20.25])
    watch._now = lambda: next(times)
    watch.start()
    watch.stop("first")
    watch.stop("second")
    assert watch.seconds == {"first": 1.5, "second": 2.5}
    watch.start()
    watch.stop("first")
    assert watch.seconds == {"first": 0.25}


@pytest.mark.parametrize(("device", "waits"), [("cpu", 0), ("gpu:0", 1)])
def test_a_stopwatch_waits_for_the_device(monkeypatch, device, waits):
    calls = []
    monkeypatch.setattr(paddle, "get_device", lambda: device)
    monkeypatch.setattr(paddle.device, "synchronize", lambda: calls.append(device))
    step.Stopwatch._now()
    assert len(calls) == waits
