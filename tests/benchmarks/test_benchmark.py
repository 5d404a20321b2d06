from __future__ import annotations

import gc
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import oracle
import pytest

from paddle_focal.benchmarks import __main__ as benchmark
from paddle_focal.benchmarks import cases, contenders, figure, loss, measuring, report, truth
from paddle_focal.benchmarks.cases import Case
from paddle_focal.benchmarks.result import Result, Statistics, statistics

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("--cases", "tiny", "--threads", "1", "--rounds", "2")


def run(output, *arguments):
    benchmark.main(["loss", *QUICK, "--output", str(output), *arguments])


def test_command_line(tmp_path):
    command = [sys.executable, "tools/benchmark.py", "loss", "--cases", "sweep1e4", "--threads", "1", "2"]
    options = ["--rounds", "2", "--contenders", "composite", "memcpy", "--output", str(tmp_path / "out")]
    result = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "sweep1e4, float32: [125, 80], gamma 2, threads: 2" in result.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["loss.json", "loss.md", "loss.png"]

    document = json.loads((tmp_path / "out/loss.json").read_text())
    assert document["environment"].keys() >= {"date", "cpu", "cores", "python", "paddle", "numpy", "backends", "rounds"}
    rows = {(row["threads"], row["contender"]): row for row in document["results"]}
    assert set(rows) == {(threads, name) for threads in (1, 2) for name in ("composite", "memcpy")}
    for row in rows.values():
        assert row["skipped"] is row["wrong"] is None
        for passes in ("forward_ms", "backward_ms", "both_ms"):
            assert 0 < row[passes]["p20"] <= row[passes]["median"] <= row[passes]["p80"]
        assert row["peak_extra_per_logits"] >= (1 if row["contender"] == "composite" else 0)

    markdown = (tmp_path / "out/loss.md").read_text()
    assert "Logits [125, 80], 0.0381 MiB; gamma 2." in markdown
    tables = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(tables) == (2 + 2) + (2 + 4)  # a header and a rule above each table's rows
    assert cv2.imread(str(tmp_path / "out/loss.png")).std() > 5


def test_statistics():
    assert statistics([0.001, 0.002, 0.003, 0.004, 0.011]) == Statistics(
        pytest.approx(3), pytest.approx(1.8), pytest.approx(5.4)
    )


def test_peak_memory_sees_an_allocation():
    kept = []
    assert measuring.peak_extra_mib(lambda: kept.append(np.ones(8 * 2**20))) == pytest.approx(64, abs=4)
    assert measuring.peak_extra_mib(lambda: np.ones(8 * 2**20).sum()) == pytest.approx(64, abs=4)
    assert measuring.peak_extra_mib(lambda: None) == pytest.approx(0, abs=1)


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
@pytest.mark.parametrize(("shape", "axis"), [((40, 3), -1), ((2, 3, 4, 5), 2)])
def test_truth(gamma, shape, axis):
    inputs = cases.make_inputs(Case("", shape, axis, gamma), "float64", foreground=0.3)
    target, _ = oracle.one_hot(inputs.label, inputs.case.classes, axis)
    assert target.sum() == round(0.3 * inputs.label.size)
    expected_loss, expected_gradient = oracle.loss_and_gradient(inputs.logit, target, 0.25, gamma)
    assert truth.true_loss(inputs) == pytest.approx(expected_loss.sum() / 7, rel=1e-12)
    np.testing.assert_allclose(truth.true_gradient(inputs), expected_gradient / 7, rtol=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_truth_of_softmax(gamma):
    inputs = cases.make_inputs(Case("", (2, 4, 5), 1, gamma, loss="softmax"), "float64", foreground=0.5)
    assert inputs.label.max() == 3  # the background is the last class
    rows = np.moveaxis(inputs.logit, 1, -1).reshape(-1, 4)
    loss, gradient = oracle.softmax_loss_and_gradient(rows, inputs.label.flatten(), gamma)
    assert truth.true_loss(inputs) == pytest.approx(loss.sum() / 7, rel=1e-12)
    expected = np.moveaxis(gradient.reshape(2, 5, 4), -1, 1) / 7
    np.testing.assert_allclose(truth.true_gradient(inputs), expected, rtol=1e-9)


@pytest.mark.parametrize("dtype", cases.ITEM_SIZE)
def test_contenders_are_right(dtype):
    """Ours in every dtype, on all layouts; the others where they can serve."""
    layouts = [{"shape": (2, 3, 5, 100), "axis": 2, "gamma": 1.5}, {"shape": (2, 5, 3, 100), "axis": 1, "gamma": 1.5}]
    others = [Case("", **layout, loss=name) for layout in layouts for name in ("sigmoid", "softmax")]
    for case in (Case("", (500, 7)), *others):
        for contender in contenders.CONTENDERS.values():
            if contender.compiled or dtype not in contender.dtypes or case.loss not in contender.losses:
                continue
            try:
                measuring.check_sample(contender, case, dtype, threads=1)
            except (ImportError, RuntimeError):
                assert contender.name != "composite"


def spoil(monkeypatch, name, factor):
    """Makes a contender's loss, and its gradient with it, ``factor`` times what it should be."""
    right = contenders.CONTENDERS[name]

    def prepare(inputs, threads):
        run = right.prepare(inputs, threads)
        function = run._function
        run._function = lambda *tensors: function(*tensors) * factor
        return run

    monkeypatch.setitem(contenders.CONTENDERS, name, replace(right, prepare=prepare))


def test_own_backend_that_is_wrong_stops_the_run(tmp_path, monkeypatch):
    spoil(monkeypatch, "composite", 1.01)
    with pytest.raises(SystemExit, match="composite is WRONG on tiny, float32: relative error of the loss") as stop:
        run(tmp_path, "--contenders", "composite", "memcpy")
    assert stop.value.code not in (0, None)  # Python's exit code for a message is 1
    assert "- composite: WRONG, relative error of the loss 0.01, allowed 1e-06" in (tmp_path / "loss.md").read_text()


def test_other_contender_that_is_wrong_is_reported(tmp_path, monkeypatch):
    spoil(monkeypatch, "composite", 1.001)
    wrong = replace(contenders.CONTENDERS["composite"], ours=False)
    monkeypatch.setitem(contenders.CONTENDERS, "composite", wrong)
    run(tmp_path, "--contenders", "composite", "memcpy")
    composite, memcpy = json.loads((tmp_path / "loss.json").read_text())["results"]
    assert composite["wrong"].startswith("relative error of the loss 0.001")
    assert composite["both_ms"] is None
    assert memcpy["both_ms"]["median"] > 0


def test_gate_sees_a_wrong_gradient():
    case = Case("", (500, 7))
    right = contenders.CONTENDERS["composite"]

    def prepare(inputs, threads):
        run = right.prepare(inputs, threads)
        gradient = run._as_array
        run._as_array = lambda tensor: gradient(tensor) * np.float32(1.0001)
        return run

    with pytest.raises(measuring.WrongError, match="relative error of the gradient"):
        measuring.check_sample(replace(right, prepare=prepare), case, "float32", threads=1)


def test_gate_takes_nan_for_wrong():
    class NotANumber(contenders.CopyRun):
        def loss(self):
            return float("nan")

    run = NotANumber(np.zeros(4), threads=1)
    with pytest.raises(measuring.WrongError, match="nan"):
        measuring.check_loss(contenders.CONTENDERS["ppdet"], "float32", run, 1.0)


def test_who_cannot_serve_is_skipped_with_the_reason(tmp_path, monkeypatch, capsys):
    def prepare(inputs, threads):
        raise RuntimeError("no native operator")

    fused = replace(contenders.CONTENDERS["fused"], prepare=prepare)
    monkeypatch.setitem(contenders.CONTENDERS, "fused", fused)
    run(tmp_path, "--contenders", "fused", "ppdet", "--dtypes", "float16")
    assert "skipped: no native operator" in capsys.readouterr().out
    markdown = (tmp_path / "loss.md").read_text()
    assert "- ppdet: skipped: does not compute float16 on the CPU\n- fused: skipped: no native operator" in markdown


def test_case_that_does_not_fit_the_memory_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "available_bytes", lambda: 2**20)
    run(tmp_path, "--contenders", "ppdet", "memcpy")
    ppdet, memcpy = json.loads((tmp_path / "loss.json").read_text())["results"]
    assert ppdet["skipped"] == "needs about 4 MiB of memory, 1 MiB are available"
    assert memcpy["both_ms"]


def test_an_interrupted_run_leaves_what_was_measured(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(loss, "_memory_in_fresh_process", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "--contenders", "memcpy")
    (row,) = json.loads((tmp_path / "loss.json").read_text())["results"]
    assert row["both_ms"]["median"] > 0
    assert row["peak_extra_mib"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loss.json", "loss.md", "loss.png"]


def test_contenders_take_turns_by_chance(monkeypatch):
    turns = []
    monkeypatch.setattr(measuring, "_wake", lambda run: turns.append(run))
    monkeypatch.setattr(measuring, "_time_once", lambda run: (1.0, 2.0))
    seconds = measuring.interleave(dict(zip("abc", "abc")), rounds=20, settle=0)
    assert seconds == {name: [(1.0, 2.0)] * 20 for name in "abc"}
    rounds = {"".join(turns[i : i + 3]) for i in range(0, 60, 3)}
    assert len(rounds) > 2
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert gc.isenabled()


def test_memory_is_that_of_the_most_threads(tmp_path, monkeypatch):
    measured = []
    monkeypatch.setattr(loss, "_memory_in_fresh_process", lambda *arguments: measured.append(arguments) or 1.0)
    run(tmp_path, "--contenders", "memcpy", "--threads", "1", "2")
    assert measured == [("memcpy", cases.CASES["tiny"], "float32", 2)]


def test_a_sample_has_all_classes():
    assert Case("", (40, 30, 20), 1).shrunk(8).shape == (8, 30, 8)
    assert Case("", (40, 30)).shrunk(8).shape == (8, 30)


def test_the_main_case_is_drawn_where_it_was_measured():
    time = Statistics(2.0, 1.0, 3.0)

    def title(*names):
        results = [Result(n, [9, 80], -1, 2.0, "float32", 1, "fused", None, None, time, time, time) for n in names]
        return figure.draw(results).axes[0].get_title()

    assert title("tiny", "batch2") == "Time, batch2 [9, 80], float32"
    assert title("tiny", "batch1") == "Time, tiny [9, 80], float32"


def test_a_panel_says_that_nothing_was_measured():
    time = Statistics(2.0, 1.0, 3.0)
    result = Result("tiny", [9, 80], -1, 2.0, "float32", 1, "fused", None, None, time, time, time)
    for results, said in (([], [True, True, True]), ([result], [False, True, True])):
        texts = [[text.get_text() for text in panel.texts] for panel in figure.draw(results).axes]
        assert ["not measured" in text for text in texts] == said


def test_ratios_are_within_a_setting():
    def result(contender, threads, milliseconds):
        time = Statistics(milliseconds, milliseconds, milliseconds)
        return Result("tiny", [4842, 10], -1, 2.0, "float32", threads, contender, None, None, time, time, time)

    results = [result("fused", 1, 4.0), result("ppdet", 1, 8.0), result("fused", 2, 2.0), result("ppdet", 2, 1.0)]
    results += [replace(result("composite", 1, 1.0), wrong="it is", both_ms=None)]
    markdown = report.markdown(results, {})
    assert "| tiny | float32 | 1 | 4 | 2 | WRONG |" in markdown
    assert "| tiny | float32 | 2 | 2 | **0.5** | - |" in markdown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required"),
        (["loss", "--cases", "huge"], "argument --cases: invalid choice: 'huge' (choose from "),
        (["loss", "--contenders", "jax"], "argument --contenders: invalid choice: 'jax'"),
        (["loss", "--dtypes", "int8"], "argument --dtypes: invalid choice: 'int8'"),
        (["loss", "--rounds", "0"], "argument --rounds: must be at least 1, but got 0"),
        (["loss", "--threads", "0"], "argument --threads: must be at least 1, but got 0"),
        (["loss", "--all", "--cases", "tiny"], "not allowed with argument"),
    ],
)
def test_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit):
        benchmark.parse_arguments(arguments)
    assert message in capsys.readouterr().err


def test_every_case_and_help(capsys):
    assert set(benchmark.parse_arguments(["loss", "--all"]).cases) == set(cases.CASES)
    assert list(benchmark.parse_arguments(["loss"]).cases) == list(cases.DEFAULT_CASES)
    with pytest.raises(SystemExit):
        benchmark.parse_arguments(["--help"])
    assert "memory" not in capsys.readouterr().out.split("\n\n")[0]


SMALL = ("--images", "1", "--size", "128", "160", "--classes", "5", "--boxes", "3", "--rounds", "1")


class TestRetinaNet:
    @pytest.fixture(autouse=True)
    def needs_ppdet(self):
        pytest.importorskip("ppdet")

    def run(self, tmp_path, *arguments):
        output = tmp_path / "of/benchmarks"  # which is not there yet
        command = [sys.executable, "tools/benchmark.py", *arguments, *SMALL, "--output", str(output)]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr[-3000:]
        document = json.loads((output / f"{arguments[0]}.json").read_text())
        assert "1 x 128 x 160, 5 classes, 3 boxes an image" in document["environment"]["batch"]
        table = [line for line in (output / f"{arguments[0]}.md").read_text().splitlines() if line.startswith("|")]
        return document["results"], table

    def test_head(self, tmp_path):
        rows, table = self.run(tmp_path, "head", "--threads", "1")
        assert [row["contender"] for row in rows] == ["stock", "drop-in", "FocalRetinaHead", "floor"]
        for row in rows:
            assert row["forward_ms"]["median"] + row["backward_ms"]["median"] == pytest.approx(row["both_ms"]["median"])
            assert row["peak_extra_per_logits"] >= 1
        assert len(table) == 2 + 4

    def test_step(self, tmp_path):
        rows, table = self.run(tmp_path, "step", "--steps", "1", "--contenders", "FocalRetinaHead", "floor")
        for row in rows:
            assert list(row["stage_ms"]) == ["backbone", "neck", "head", "loss", "backward", "optimizer"]
            assert sum(row["stage_ms"].values()) == pytest.approx(row["step_ms"]["median"])
            assert row["peak_mib"] > 300
        assert rows[1]["stage_ms"]["loss"] < rows[0]["stage_ms"]["loss"]
        assert "| floor | " in table[-1]

    @pytest.mark.parametrize(
        ("contender", "classes"),
        [
            ("stock", ("RetinaHead", "FocalLoss")),
            ("drop-in", ("RetinaHead", "SigmoidFocalLoss")),
            ("FocalRetinaHead", ("FocalRetinaHead", "SigmoidFocalLoss")),
        ],
    )
    def test_contenders_are_a_head_and_a_loss(self, workspace_copy, contender, classes):
        from paddle_focal.benchmarks import retina

        head = retina.create_head(contender, 3)
        assert (type(head).__name__, type(head.loss_class).__name__) == classes

    @pytest.mark.parametrize("name", ["head", "step"])
    def test_a_process_of_its_own_measures_the_same(self, monkeypatch, name):
        from paddle_focal.benchmarks import head, step

        options = benchmark.parse_arguments([name, *SMALL])
        if name == "step":
            options.threads, options.steps, options.device = 3, 4, "gpu"
            arguments = ["step", "--worker", *step._arguments("floor", options)]
        else:
            called = []
            monkeypatch.setattr(measuring, "last_line_of_fresh_process", lambda *line: called.append(line) or "1.5")
            assert head._memory_in_fresh_process("floor", options) == 1.5
            (arguments,) = called
        passed = benchmark.parse_arguments(list(arguments))
        assert head.batch_of(passed) == head.batch_of(options)
        assert passed.contenders == ["floor"]
        if name == "step":
            assert (passed.worker, passed.threads, passed.steps, passed.device) == (True, 3, 4, "gpu")
        else:
            assert passed.only_memory

    def test_boxes_are_the_same_every_time(self):
        from paddle_focal.benchmarks import retina

        batch = retina.Batch(2, 128, 160, 5, 3)
        first, second = ({k: np.stack(v) for k, v in batch.targets().items()} for _ in range(2))
        for key in ("gt_bbox", "gt_class"):
            np.testing.assert_array_equal(first[key], second[key])

    def test_a_step_takes_as_long_as_its_stages_together(self, monkeypatch, tmp_path, capsys):
        from paddle_focal.benchmarks import step

        turn = json.dumps({"seconds": [dict.fromkeys(step.STAGES, 0.5)], "peak_mib": 1234.4})
        monkeypatch.setattr(measuring, "last_line_of_fresh_process", lambda *_: turn)
        arguments = ["step", *SMALL, "--contenders", "floor", "--output", str(tmp_path)]
        step.run(benchmark.parse_arguments(arguments))
        assert " 3.00 s, peak 1,234 MiB\n" in capsys.readouterr().out
        (row,) = json.loads((tmp_path / "step.json").read_text())["results"]
        assert row["step_ms"]["median"] == pytest.approx(3000)

    def test_ratios(self):
        from paddle_focal.benchmarks import head, step

        def stage(name, milliseconds):
            times = dict.fromkeys(("forward_ms", "backward_ms", "both_ms"), Statistics(*[milliseconds] * 3))
            return {"contender": name, "threads": 1, **times, "peak_extra_mib": 8.0, "peak_extra_per_logits": 2.0}

        _, *table = head._table([stage("stock", 8.0), stage("FocalRetinaHead", 2.0)])
        assert [row[5] for row in table] == ["1", "4"]  # times as fast as ppdet's

        def whole(name, milliseconds, peak):
            stages = dict.fromkeys(step.STAGES, milliseconds / len(step.STAGES))
            return {"contender": name, "step_ms": {"median": milliseconds}, "stage_ms": stages, "peak_mib": peak}

        _, *table = step._table([whole("stock", 3000.0, 500.0), whole("floor", 2000.0, 400.0)])
        assert [row[1:5] for row in table] == [["3.00", "1.500", "500", "1.250"], ["2.00", "1.000", "400", "1.000"]]

    def test_a_wrong_loss_stage_stops_the_benchmark(self, workspace_copy):
        from paddle_focal.benchmarks import head, retina

        batch = retina.Batch(1, 128, 128, 3, 2)
        outputs, targets = batch.head_outputs(), batch.targets()
        names = ("stock", "FocalRetinaHead")
        heads = {name: retina.create_head(name, batch.classes) for name in names}
        heads["FocalRetinaHead"].loss_class.gamma = 2.01
        with pytest.raises(SystemExit, match=r"FocalRetinaHead is WRONG: relative error 0.0"):
            head._check({name: head.StageRun(heads[name], outputs, targets) for name in names})
