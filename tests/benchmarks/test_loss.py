"""The whole loss benchmark on the smallest case."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from paddle_focal.benchmarks import __main__ as benchmark
from paddle_focal.benchmarks import cases, contenders, loss, measuring

QUICK = ("--cases", "tiny", "--threads", "1", "--rounds", "2")


def run(output, *arguments):
    benchmark.main(["loss", *QUICK, "--output", str(output), *arguments])


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


def test_who_cannot_serve_is_skipped_with_the_reason(tmp_path, monkeypatch, capsys):
    def prepare(inputs, threads):
        raise RuntimeError("no native library")

    native = replace(contenders.CONTENDERS["native"], prepare=prepare)
    monkeypatch.setitem(contenders.CONTENDERS, "native", native)
    run(tmp_path, "--contenders", "native", "ppdet", "--dtypes", "float16")
    assert "skipped: no native library" in capsys.readouterr().out
    markdown = (tmp_path / "loss.md").read_text()
    assert "- ppdet: skipped: does not compute float16 on the CPU\n- native: skipped: no native library" in markdown


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


def test_memory_is_that_of_the_most_threads(tmp_path, monkeypatch):
    measured = []
    monkeypatch.setattr(loss, "_memory_in_fresh_process", lambda *arguments: measured.append(arguments) or 1.0)
    run(tmp_path, "--contenders", "memcpy", "--threads", "1", "2")
    assert measured == [("memcpy", cases.CASES["tiny"], "float32", 2)]


def test_times_are_those_of_the_calls(tmp_path, monkeypatch, capsys):
    calls, settled = [(0.001, 0.003), (0.002, 0.008), (0.003, 0.004)], []

    def interleave(runs, rounds, settle):
        settled.append((list(runs), rounds, settle))
        return {name: calls for name in runs}

    monkeypatch.setattr(measuring, "interleave", interleave)
    monkeypatch.setattr(loss, "_memory_in_fresh_process", lambda *_: 0.75)
    run(tmp_path, "--contenders", "memcpy", "--threads", "1", "2", "--rounds", "3")
    first, second = json.loads((tmp_path / "loss.json").read_text())["results"]
    for row, threads in ((first, 1), (second, 2)):
        assert row["threads"] == threads
        medians = [row[name]["median"] for name in ("forward_ms", "backward_ms", "both_ms")]
        assert medians == pytest.approx([2, 4, 7])
        assert row["peak_extra_mib"] == 0.75
        assert row["peak_extra_per_logits"] == pytest.approx(0.75 * 2**20 / (48_420 * 4))
    # Threads that wait for work keep a core busy, so the others' turn comes a little later.
    assert settled == [(["memcpy"], 3, measuring.SETTLE)] * 2
    assert "peak memory 0.8 MiB above the inputs, 4.06 x logits" in capsys.readouterr().out
    settled.clear()
    run(tmp_path, "--contenders", "memcpy")
    assert settled == [(["memcpy"], 2, 0)]


def test_the_bar_says_what_is_measured(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(loss.tqdm, "set_description", lambda bar, text: said.append((bar.n, bar.total, text)))
    monkeypatch.setattr(measuring, "interleave", lambda runs, *_: {name: [(1.0, 1.0)] for name in runs})
    monkeypatch.setattr(loss, "_memory_in_fresh_process", lambda *_: None)
    run(tmp_path, "--contenders", "memcpy", "--cases", "tiny", "--threads", "1", "2", "--dtypes", "float32", "float64")
    assert said == [
        (0, 4, "tiny float32 threads=1"),
        (1, 4, "tiny float32 threads=2"),
        (2, 4, "tiny float32 memory"),
        (2, 4, "tiny float64 threads=1"),
        (3, 4, "tiny float64 threads=2"),
        (4, 4, "tiny float64 memory"),
    ]


def test_memory_that_could_not_be_measured(tmp_path, monkeypatch, capsys):
    def killed(*arguments):
        assert arguments == ("memory", "memcpy", "tiny", "float32", "1")
        raise RuntimeError("exit code -9: Killed")

    monkeypatch.setattr(measuring, "last_line_of_fresh_process", killed)
    run(tmp_path, "--contenders", "memcpy")
    assert "memory was not measured, exit code -9: Killed" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "loss.json").read_text())["results"]
    assert row["both_ms"]
    assert row["peak_extra_mib"] is row["peak_extra_per_logits"] is None


def test_who_takes_part(tmp_path, monkeypatch):
    """Contenders without the loss, or whom the case leaves out, are not in the results."""
    monkeypatch.setattr(measuring, "available_bytes", lambda: 0)  # so that nobody is timed
    run(tmp_path, "--cases", "softmax", "sweep1e8", "tiny")
    rows = json.loads((tmp_path / "loss.json").read_text())["results"]
    names = {
        case: [row["contender"] for row in rows if row["case"] == case] for case in ("softmax", "sweep1e8", "tiny")
    }
    others = ["composite", "native", "memcpy", "torch-eager", "torch-compile"]
    assert names == {"softmax": ["textbook", *others], "sweep1e8": ["native", "memcpy"], "tiny": ["ppdet", *others]}


def test_memory_needed(tmp_path, monkeypatch):
    """The inputs, a copy for each contender, and what one call needs."""
    logits = cases.CASES["tiny"].bytes("float32")
    needed = (1 + 2 + contenders.CONTENDERS["composite"].footprint) * logits
    for available, skipped in ((needed - 1, True), (needed, False)):
        monkeypatch.setattr(measuring, "available_bytes", lambda available=available: available)
        run(tmp_path, "--contenders", "composite", "memcpy")
        composite, _ = json.loads((tmp_path / "loss.json").read_text())["results"]
        assert (composite["skipped"] is not None) == skipped


def test_a_sample_is_checked_once_for_each_number_of_threads(tmp_path, monkeypatch):
    checked = []
    monkeypatch.setattr(measuring, "check_sample", lambda *arguments: checked.append(arguments[1:]))
    monkeypatch.setattr(measuring, "check_loss", lambda *_: None)
    monkeypatch.setattr(measuring, "interleave", lambda runs, *_: {name: [(1.0, 1.0)] for name in runs})
    monkeypatch.setattr(loss, "_memory_in_fresh_process", lambda *_: None)
    run(tmp_path, "--contenders", "memcpy", "--cases", "tiny", "sweep1e5", "sweep1e6", "--threads", "1", "2")
    samples = [cases.CASES["tiny"].shrunk(2000), cases.CASES["sweep1e5"].shrunk(2000)]
    sweep1e6 = cases.CASES["sweep1e6"].shrunk(2000)
    assert checked == [(sample, "float32", n) for sample in (*samples, sweep1e6) for n in (1, 2)]


def test_a_loss_that_is_wrong_on_the_whole_case_only(tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "check_sample", lambda *_: None)
    spoil(monkeypatch, "composite", 1.01)
    with pytest.raises(SystemExit, match=r"composite is WRONG on tiny, float32: relative error of the loss 0\.01"):
        run(tmp_path, "--contenders", "composite", "memcpy")
    composite, memcpy = json.loads((tmp_path / "loss.json").read_text())["results"]
    assert composite["both_ms"] is None
    assert memcpy["both_ms"]
