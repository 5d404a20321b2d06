"""The check of a data set: one fault at a time and all at once, and ppdet's own reading of the same files."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("ppdet")

from evaluation_faults import EVALUATION_ERRORS, EVALUATION_WARNINGS
from faulty_data import CONFIG, ERRORS, WARNINGS, Data
from ppdet.core import workspace

from paddle_focal.cli import train as training
from paddle_focal.data.checks import preflight
from paddle_focal.engine import logs
from paddle_focal.errors import ToolError

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("workspace_copy")


@pytest.fixture
def data(tmp_path):
    return Data(tmp_path)


def test_nothing_is_wrong(data):
    data.write()
    report = data.check()
    assert gc.isenabled()
    assert (report.errors, report.warnings) == ([], [])
    assert report.notes == [
        "TrainDataset: 3 images, 0 of them without boxes, 3 boxes of 3 classes, 1 crowds (left out)",
        "EvalDataset: 1 images, 0 of them without boxes, 1 boxes of 3 classes, 0 crowds",
    ]


@pytest.mark.parametrize("fault", ERRORS)
def test_error(data, fault):
    make, text = ERRORS[fault]
    make(data)
    data.write()
    errors = data.check().errors
    assert text in errors
    assert len(errors) == (2 if fault == "num_classes" else 1)  # of both data sets


@pytest.mark.parametrize("fault", WARNINGS)
def test_warning(data, fault):
    make, text = WARNINGS[fault]
    make(data)
    data.write()
    report = data.check()
    assert report.errors == []
    assert [text.format(folder=data.folder)] == [
        warning.replace("TrainDataset: ", "") for warning in report.warnings if not warning.startswith("EvalDataset")
    ]


@pytest.mark.parametrize("fault", [*EVALUATION_ERRORS, *EVALUATION_WARNINGS])
def test_only_in_evaluation(data, fault):
    is_error = fault in EVALUATION_ERRORS
    make, text = (EVALUATION_ERRORS if is_error else EVALUATION_WARNINGS)[fault]
    make(data)
    data.write()
    report = data.check()
    assert report.errors == ([f"EvalDataset: {text}"] if is_error else [])
    assert f"EvalDataset: {text}" in report.errors + report.warnings
    assert not [line for line in report.warnings if line.startswith("TrainDataset")]


def uncounted(lines: list[str]) -> str:
    """The report without their counts and what stands in parentheses."""
    return "\n".join(re.sub(r"\b\d+( of \d+)? |\(.*?\)", "", line) for line in lines)


def test_everything_is_said_at_once(data):
    for make, _ in [*WARNINGS.values(), *ERRORS.values()]:
        make(data)
    data.write()
    report = data.check()
    errors, warnings = uncounted(report.errors), uncounted(report.warnings)
    for _, text in ERRORS.values():
        what = uncounted([text]).split(": ")[1]
        assert what in errors
    for _, text in WARNINGS.values():
        assert uncounted([text.format(folder=data.folder)]).split(": ")[0] in warnings
    with pytest.raises(ToolError) as stopped:
        preflight.stop_on_errors(report)
    message = str(stopped.value)
    assert message.startswith(f"{len(report.errors)} errors in the data:\n- TrainDataset: ")
    assert all(f"\n- {error}" in message for error in report.errors)


def ppdet_dataset(data, section: str = "TrainDataset"):
    data.config()
    dataset = workspace.create(section)()
    dataset.parse_dataset()
    return dataset


@pytest.mark.parametrize(
    "options", [(), ("TrainDataset.allow_empty=true",), ("TrainDataset.load_crowd=true",)], ids=str
)
def test_what_is_left_out_is_what_ppdet_leaves_out(data, options):
    for make, _ in WARNINGS.values():
        make(data)
    data.options.extend(options)
    data.write()
    report = data.check()
    assert report.errors == []
    records = ppdet_dataset(data).roidbs
    images, empty, boxes = (
        int(re.search(rf"(\d+) {what}", report.notes[0]).group(1)) for what in ("images", "of them", "boxes of")
    )
    missing = int(re.search(r"(\d+) of \d+ image files are missing", "".join(report.warnings)).group(1))
    assert missing == 5
    assert ("images have no boxes: " in "".join(report.warnings)) == (empty > 0 and "allow_empty" not in str(options))
    assert boxes == sum(len(record["gt_class"]) for record in records)
    assert images - missing - (0 if "allow_empty" in str(options) else empty) == len(records)


@pytest.mark.parametrize(
    "fault",
    [
        "no area key",
        "no iscrowd key",
        "no file name",
        "category",
        "three numbers",
        "text",
        "category id of a fraction",
        "track id of text",
    ],
)
def test_errors_end_ppdet(data, fault):
    ERRORS[fault][0](data)
    data.write()
    with pytest.raises((KeyError, ValueError, TypeError)):
        ppdet_dataset(data)


@pytest.mark.parametrize("fault", ["image id twice", "annotation id twice", "hollow segmentation"])
def test_errors_give_ppdet_wrong_labels(data, fault):
    ERRORS[fault][0](data)
    data.write()
    classes = {Path(r["im_file"]).name: r["gt_class"].ravel().tolist() for r in ppdet_dataset(data).roidbs}
    assert classes != {"1.png": [0], "2.png": [1], "3.png": [2]}


def test_hollow_segmentations_do_no_harm_where_empty_images_are_kept(data):
    ERRORS["hollow segmentation"][0](data)
    data.options.append("TrainDataset.allow_empty=true")
    data.write()
    assert data.check().errors == []
    assert sum(len(record["gt_class"]) for record in ppdet_dataset(data).roidbs) == 4


def test_boxes_of_missing_images_do_not_count(data):
    (data.folder / "train/3.png").unlink()
    data.write()
    report = data.check("TrainReader.batch_size=2")
    assert report.warnings[1:] == ["TrainDataset: 1 classes have no boxes: cow"]
    assert "3 images, 0 of them without boxes, 2 boxes of 3 classes" in report.notes[0]


def test_every_file_is_opened_and_some_are_decoded(data):
    """Beside the samples, an empty file is found, but not damage in the midst of a file."""
    for number in range(100):
        data.add_box(1, 1, 2, 2, image=data.add(f"more{number}.png"))
    folder = data.folder / "train"
    (folder / "more1.png").write_bytes(b"")
    for name in ("more2.png", "more99.png"):  # the last one is in every sample
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:43] + bytes(len(content) - 59) + content[-16:])
    data.write()
    for _ in range(2):
        assert data.check().errors == [
            "TrainDataset: 2 of 103 image files are no images, or damaged: more1.png, more99.png"
        ]


def test_a_cut_off_file_is_found_anywhere(data):
    for number in range(100):
        data.add_box(1, 1, 2, 2, image=data.add(f"more{number}.jpg"))
    cut = data.folder / "train/more1.jpg"
    cut.write_bytes(cut.read_bytes()[:-30])
    data.write()
    assert data.check().errors == ["TrainDataset: 1 of 103 image files are no images, or damaged: more1.jpg"]


class TestTraining:
    @pytest.fixture
    def trained(self, monkeypatch):
        runs = []
        monkeypatch.setattr("paddle_focal.engine.training.train", lambda config, flags: runs.append(config))
        monkeypatch.setattr(training, "summary", lambda *given: "")
        monkeypatch.setattr(logs, "log_to_file", lambda path: None)
        return runs

    def main(self, data, *flags: str) -> None:
        """The tool's, without its translation of errors."""
        training.main.__wrapped__(["-c", str(CONFIG), *flags, "-o", *data.settings])

    def test_starts_on_sound_data_only(self, data, trained):
        data.write()
        self.main(data)
        assert len(trained) == 1
        ERRORS["category"][0](data)
        data.write()
        with pytest.raises(ToolError, match="1 error in the data:\n- TrainDataset: 1 of 5 annotations are of cat"):
            self.main(data)
        assert len(trained) == 1

    def test_a_validation_set_is_checked_where_it_is_used(self, data, trained):
        data.val["categories"].append({"id": 50, "name": "yak"})
        data.write()
        for flags in ((), ("--eval",)):
            with pytest.raises(ToolError, match="num_classes is 3, but there are 4 categories"):
                self.main(data, *flags)
        self.main(data, "--skip_final_eval")
        (data.folder / "annotations/instances_val.json").unlink()
        self.main(data)
        assert len(trained) == 2
        with pytest.raises(ToolError, match=r"no such annotation file: .*instances_val\.json"):
            self.main(data, "--eval")

    @pytest.mark.parametrize(("rank", "logged"), [(0, 2), (1, 0)])
    def test_every_rank_stops_and_one_speaks(self, monkeypatch, rank, logged):
        lines = []
        monkeypatch.setattr(preflight.distributed, "get_rank", lambda: rank)
        logger = SimpleNamespace(info=lines.append, warning=lines.append)
        monkeypatch.setattr(preflight, "logger", logger)
        report = preflight.DataReport(errors=["wrong"], warnings=["odd"], notes=["there"])
        with pytest.raises(ToolError, match="1 error in the data:\n- wrong"):
            preflight.stop_on_errors(report)
        assert len(lines) == logged


def test_tool(data):
    ERRORS["category"][0](data)
    WARNINGS["outside"][0](data)
    data.write()
    command = [sys.executable, str(ROOT / "tools/check_data.py"), "-c", str(CONFIG), "-o", *data.settings]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1
    assert "1 error in the data:\n- TrainDataset: 1 of 7 annotations are of categories" in result.stderr
    assert "WARNING: TrainDataset: 2 of 6 boxes lie outside" in result.stdout


def test_digits(digits, data):
    data.options = [f"{section}.dataset_dir={digits}" for section in preflight.SECTIONS]
    report = data.check("num_classes=10")
    assert (report.errors, report.warnings) == ([], [])
