"""Data as users bring them, through the command lines: pictures of any size, damaged files, what converters write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

pytest.importorskip("ppdet")

from evaluation_faults import EVALUATION_ERRORS
from faulty_data import ERRORS, Data
from small_runs import BATCH, SmallRuns
from tutorial import blocks_of, read

#: Width and height: narrow, low, odd, and more than a stride of 32 apart.
SIZES = ((9, 300), (260, 12), (101, 77), (64, 64), (33, 47), (150, 100))


@pytest.fixture
def data(small_runs: SmallRuns, tmp_path):
    """Three training images of 20 x 10; the small runs use them once they are written."""
    small_runs.data = tmp_path / "own"
    small_runs.data.mkdir()
    return Data(small_runs.data)


def add_images(data: Data, sizes, split: str = "train") -> list[Path]:
    """Images with a box over half of each."""
    paths = []
    for number, (width, height) in enumerate(sizes, 100):
        name = f"{number}.png"
        data.draw(f"{split}/{name}", width, height)
        document = getattr(data, split)
        document["images"].append({"id": number, "file_name": name, "width": width, "height": height})
        box = {"bbox": [width // 4, height // 4, width // 2, height // 2], "area": (width // 2) * (height // 2)}
        document["annotations"].append({"id": number, "image_id": number, "category_id": 5, "iscrowd": 0, **box})
        paths.append(data.folder / split / name)
    return paths


def last_words(caplog, run, *options: str) -> str:
    """The error with which a command line ends."""
    with pytest.raises(SystemExit) as end:
        run("num_classes=3", *options)
    assert end.value.code == 1
    return caplog.messages[-1]


def readers_of_the_tutorial() -> list[str]:
    blocks = (yaml.safe_load(text) for kind, text in blocks_of(read("train_your_own_data.md")) if kind == "yaml")
    config = next(block for block in blocks if "sample_transforms" in block.get("TrainReader", {}))
    return [
        f"{name}.sample_transforms={json.dumps(config[name]['sample_transforms'])}"
        for name in ("TrainReader", "EvalReader", "TestReader")
    ]


class TestSizes:
    @pytest.fixture(autouse=True)
    def images(self, data):
        add_images(data, SIZES)
        add_images(data, SIZES, "val")
        data.train["images"] = data.train["images"][3:]
        data.train["annotations"] = [box for box in data.train["annotations"] if box["image_id"] >= 100]
        data.write()

    @pytest.mark.parametrize("readers", [list, readers_of_the_tutorial], ids=["demo", "tutorial"])
    def test_all_are_trained_and_evaluated_on(self, small_runs: SmallRuns, caplog, tmp_path, readers):
        options = "num_classes=3", "epoch=1", "TrainReader.batch_size=3", "EvalReader.batch_size=3", *readers()
        small_runs.check_data(*options)
        small_runs.train(*options, "RetinaHead.nms.score_threshold=0.0", final_eval=True)
        assert sorted(number for batch in small_runs.images for number in batch) == list(range(100, 106))
        found = json.loads((small_runs.folder / "bbox.json").read_text())
        assert {one["image_id"] for one in found} == {7, *range(100, 106)}

        pictures = ["--infer_dir", str(small_runs.data / "val"), "--output_dir", str(tmp_path / "drawn")]
        weights = f"weights={small_runs.folder}/model_final"
        small_runs.infer(*options, weights, "RetinaHead.nms.score_threshold=0.0", flags=pictures)
        boxes = json.loads((tmp_path / "drawn/predictions.json").read_text())
        assert {Path(box["file_name"]).name for box in boxes} == {"7.png", *(f"{i}.png" for i in range(100, 106))}

    @pytest.mark.parametrize("size", [SIZES, [(100, 75)]], ids=["several", "one"])
    def test_readers_that_do_not_pad_are_told_how_to(self, small_runs: SmallRuns, data, caplog, size):
        """With what the error says to add, the run works."""
        data.train["images"], data.train["annotations"] = [], []
        add_images(data, list(size) * (BATCH if len(size) == 1 else 1))
        data.write()
        said = last_words(caplog, small_runs.train, "TrainReader.batch_transforms=[]")
        assert said == last_words(caplog, small_runs.check_data, "TrainReader.batch_transforms=[]")
        assert small_runs.images == []
        (section,) = yaml.safe_load(said[said.index("TrainReader:") :]).items()
        assert section == ("TrainReader", {"batch_transforms": [{"PadBatch": {"pad_to_stride": 32}}]})
        small_runs.train("num_classes=3", "epoch=1", f"{section[0]}.batch_transforms={section[1]['batch_transforms']}")
        assert len(small_runs.images) == 1


class TestDamagedImages:
    """Among more than are decoded before a run."""

    @pytest.fixture
    def picture(self, data):
        paths = add_images(data, [(20, 10)] * 60)
        data.write()
        return paths[0]

    def test_an_empty_file(self, small_runs: SmallRuns, picture, caplog):
        picture.write_bytes(b"")
        for run in (small_runs.check_data, small_runs.train):
            said = last_words(caplog, run)
            expected = "TrainDataset: 1 of 63 image files are no images, or damaged: 100.png"
            assert said == f"1 error in the data:\n- {expected}"
        assert small_runs.images == []

    @pytest.mark.parametrize("workers", [0, 2])
    def test_damage_in_the_midst_of_a_file(self, small_runs: SmallRuns, picture, caplog, workers):
        """Which the check does not see."""
        content = picture.read_bytes()
        picture.write_bytes(content[:43] + bytes(len(content) - 59) + content[-16:])
        small_runs.check_data("num_classes=3")
        said = last_words(caplog, small_runs.train, f"worker_num={workers}")
        assert said.startswith(f"{picture} cannot be decoded: it is no image, or a damaged one ({len(content)} bytes)")
        assert len(small_runs.images) <= 15


@pytest.mark.parametrize("fault", ["hollow segmentation", "image id of a fraction", "annotation id of text"])
def test_what_converters_write(small_runs: SmallRuns, data, caplog, fault):
    make, text = {**ERRORS, **EVALUATION_ERRORS}[fault]
    make(data)
    data.write()
    for run in (small_runs.check_data, lambda *options: small_runs.train(*options, flags=["--eval"])):
        said = last_words(caplog, run, "TrainReader.batch_size=3")
        section = "" if text.startswith("TrainDataset") else "EvalDataset: "
        assert said == f"1 error in the data:\n- {section}{text}"
    assert small_runs.images == []
