from __future__ import annotations

import json
import os
import platform
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import paddle
from benchmark_results import result, spread

import paddle_focal
from paddle_focal.benchmarks import report, tables

AXIS2 = {"case": "axis2", "shape": [2, 9, 80, 22_400], "axis": 2, "gamma": 1.5}
RESULTS = [
    result("ppdet", 8.0, peak_extra_mib=3.0, peak_extra_per_logits=16.25),
    result("native", 4.0, peak_extra_mib=0.25, peak_extra_per_logits=1.354),
    result("torch-eager", skipped="no torch"),
    result("ppdet", 1.0, threads=2, peak_extra_mib=3.0, peak_extra_per_logits=16.25),
    result("native", 2.0, threads=2),
    result("torch-eager", threads=2, skipped="no torch"),
    result("ppdet", dtype="float16", wrong="relative error of the loss 0.5, allowed 1e-02"),
    result("native", 1234.5, dtype="float16"),
    result("composite", 40.0, **AXIS2, dtype="bfloat16"),
]
MARKDOWN = """\
# The focal loss, forward and backward

Milliseconds are medians [20th, 80th percentile]. `memcpy` copies the logits into a buffer that is there already, the \
floor, and counts as forward. Peak memory is above that of the inputs; it includes the gradient.

- cpu: of a test
- backends: Paddle; cpu: native

## Time relative to native

Above 1: slower than native. Bold, below 1: faster.

| case | dtype | threads | native ms | ppdet | composite | torch-eager |
|---|---|---|---|---|---|---|
| tiny | float32 | 1 | 4 | 2 | - | - |
| tiny | float32 | 2 | 2 | **0.5** | - | - |
| tiny | float16 | 1 | 1,234 | WRONG | - | - |
| axis2 | bfloat16 | 1 | - | - | - | - |

## tiny, float32

Logits [4842, 10], 0.185 MiB; gamma 2.

| contender | threads | forward ms | backward ms | both ms | x native | peak MiB | x logits |
|---|---|---|---|---|---|---|---|
| ppdet | 1 | 2 [1.8, 2.4] | 6 [5.4, 7.2] | 8 [7.2, 9.6] | 2 | 3 | 16.25 |
| native | 1 | 1 [0.9, 1.2] | 3 [2.7, 3.6] | 4 [3.6, 4.8] | 1 | 0.25 | 1.35 |
| ppdet | 2 | 0.25 [0.225, 0.3] | 0.75 [0.675, 0.9] | 1 [0.9, 1.2] | **0.5** | 3 | 16.25 |
| native | 2 | 0.5 [0.45, 0.6] | 1.5 [1.35, 1.8] | 2 [1.8, 2.4] | 1 | - | - |

- torch-eager: skipped: no torch

## tiny, float16

Logits [4842, 10], 0.0924 MiB; gamma 2.

| contender | threads | forward ms | backward ms | both ms | x native | peak MiB | x logits |
|---|---|---|---|---|---|---|---|
| native | 1 | 309 [278, 370] | 926 [833, 1,111] | 1,234 [1,111, 1,481] | 1 | - | - |

- ppdet: WRONG, relative error of the loss 0.5, allowed 1e-02

## axis2, bfloat16

Logits [2, 9, 80, 22400], class axis 2, 61.5 MiB; gamma 1.5.

| contender | threads | forward ms | backward ms | both ms | x native | peak MiB | x logits |
|---|---|---|---|---|---|---|---|
| composite | 1 | 10 [9, 12] | 30 [27, 36] | 40 [36, 48] | - | - | - |
"""


def test_the_whole_report():
    assert report.markdown(RESULTS, {"cpu": "of a test", "backends": "Paddle\ncpu: native"}) == MARKDOWN


def test_a_case_on_which_nobody_could_be_measured():
    markdown = report.markdown([result("native", skipped="no memory")], {})
    assert markdown.endswith("Logits [4842, 10], 0.185 MiB; gamma 2.\n\n- native: skipped: no memory\n")
    assert "| tiny | float32 | 1 | - |\n" in markdown


def test_rows_in_the_order_of_threads():
    results = [result(name, 4.0, threads=threads) for threads in (2, 1) for name in ("native", "memcpy")]
    _, *rows = report._measured_rows(results, results)
    assert [row[:2] for row in rows] == [["native", "1"], ["memcpy", "1"], ["native", "2"], ["memcpy", "2"]]


def test_a_time_in_words():
    row = result("native", 4.0)
    assert report.time_in_words(row) == "4 [3.6, 4.8] ms = forward 1 + backward 3"
    assert report.time_in_words(replace(row, skipped="of a test")) == "skipped: of a test"
    assert report.time_in_words(replace(row, wrong="by far")) == "WRONG, by far"


def test_the_files(tmp_path):
    folder = tmp_path / "not/there"
    report.write(RESULTS, 11, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["loss.json", "loss.md", "loss.png"]
    document = json.loads(text := (folder / "loss.json").read_text())
    assert (text[:4], text[-2:]) == ('{\n "', "}\n")
    assert document["environment"]["rounds"] == 11
    assert len(document["results"]) == len(RESULTS)
    assert document["results"][0] == {
        "case": "tiny",
        "shape": [4842, 10],
        "axis": -1,
        "gamma": 2.0,
        "dtype": "float32",
        "threads": 1,
        "contender": "ppdet",
        "skipped": None,
        "wrong": None,
        "forward_ms": vars(spread(2.0)),
        "backward_ms": vars(spread(6.0)),
        "both_ms": vars(spread(8.0)),
        "peak_extra_mib": 3.0,
        "peak_extra_per_logits": 16.25,
    }
    markdown = (folder / "loss.md").read_text()
    assert "- rounds: 11\n" in markdown
    assert "- cpu: " in markdown
    assert markdown.endswith(MARKDOWN[MARKDOWN.index("## Time relative") :])
    picture = cv2.imread(str(folder / "loss.png"))
    assert picture.std() > 5
    assert picture.shape == (528, 1650, 3)
    report.write(RESULTS[:1], 1, folder)  # over what is there
    assert len(json.loads((folder / "loss.json").read_text())["results"]) == 1


def test_the_environment():
    facts = tables.environment()
    assert facts["cores"] == len(os.sched_getaffinity(0))
    assert facts["cpu"] in os.popen("grep 'model name' /proc/cpuinfo").read()
    assert "model name" not in facts["cpu"]
    assert facts["cpu"]
    assert facts["python"] == platform.python_version()
    assert facts["system"] == platform.platform()
    assert (facts["paddle"], facts["numpy"]) == (paddle.__version__, np.__version__)
    assert facts["paddle_focal"] == paddle_focal.__version__
    assert facts["backends"] == paddle_focal.backend_report()
    assert facts["date"].startswith("20")
    assert facts["date"].endswith("+00:00")
    assert len(facts["date"]) == len("2026-01-02T03:04:05+00:00")


def test_a_processor_of_which_linux_says_no_name(monkeypatch):
    monkeypatch.setattr(tables, "Path", lambda _: SimpleNamespace(read_text=lambda: "processor\t: 0\n"))
    assert tables.environment()["cpu"] == platform.machine()


def test_numbers():
    values = {0.0123456: "0.0123", 1.0: "1", 12.345: "12.3", 99.96: "100", 100.4: "100", 1234567.0: "1,234,567"}
    assert {value: tables.number(value) for value in values} == values
