"""Readers whose batches the network cannot take."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from faulty_data import Data
from ppdet.core import workspace
from ppdet.data.reader import BatchCompose, Compose

from paddle_focal.data.checks.data_report import DataReport
from paddle_focal.data.checks.reader_check import _sides_lost, check_reader

NO_PAD = "[{Decode: {}}, {Resize: {target_size: [192, 256], keep_ratio: true}}, {Permute: {}}]"
FIXED = "[{Decode: {}}, {Resize: {target_size: [64, 100], keep_ratio: false}}, {Permute: {}}]"
BY_CHANCE = "[{Decode: {}}, {RandomResize: {target_size: [[64, 100], [33, 40]]}}, {Permute: {}}]"
CURE = "add to the configuration\nTrainReader:\n  batch_transforms:\n    - PadBatch: {pad_to_stride: 32}"


@pytest.fixture
def config(workspace_copy, tmp_path):
    data = Data(tmp_path)
    return lambda *options: data.config(*options)


def errors(config, *sizes) -> list[str]:
    report = DataReport()
    check_reader(config, "TrainReader", sizes, report.about("TrainDataset"))
    assert not report.warnings
    return report.errors


UNPADDED = "TrainReader.batch_transforms=[]"


def test_images_of_different_sizes(config):
    (error,) = errors(config(UNPADDED), (64, 64), (96, 64), (96, 64))
    assert error == (
        "TrainDataset: TrainReader makes batches of images of different sizes, which do not fit together: 64x64 "
        f"becomes 64x64, 96x64 becomes 96x64; {CURE}"
    )


def test_sides_that_do_not_come_back(config):
    (error,) = errors(config(UNPADDED), (100, 75))
    assert error == (
        "TrainDataset: TrainReader makes images with sides of 75, 100 pixels, which are another length after they were "
        f"halved in the backbone and doubled in the neck; {CURE}"
    )


def test_images_of_which_nothing_is_left(config):
    """256 / 1200 of two pixels."""
    (error,) = errors(config(f"TrainReader.sample_transforms={NO_PAD}"), (640, 480), (1200, 2), (1200, 3))
    assert error == (
        "TrainDataset: TrainReader would leave less than half a pixel of a side of images of 1200x2 pixels: take them "
        "out, or cut them into pieces"
    )


@pytest.mark.parametrize(
    ("options", "sizes", "count"),
    [
        ((), [(64, 64), (100, 75), (1, 1)], 0),  # the demo's readers pad
        ((UNPADDED,), [(64, 96), (64, 96)], 0),
        ((UNPADDED, f"TrainReader.sample_transforms={NO_PAD}"), [(640, 480), (320, 240)], 0),  # both 256 x 192
        ((UNPADDED, f"TrainReader.sample_transforms={NO_PAD}"), [(150, 100)], 1),
        ((UNPADDED, f"TrainReader.sample_transforms={NO_PAD}"), [(640, 480), (480, 640)], 1),
        ((UNPADDED, f"TrainReader.sample_transforms={FIXED}"), [(640, 480), (480, 640)], 1),  # 100 x 64 all
        ((f"TrainReader.sample_transforms={FIXED}",), [(640, 480), (480, 640)], 0),
        ((UNPADDED, f"TrainReader.sample_transforms={BY_CHANCE}"), [(640, 480), (480, 640)], 0),  # who knows
        (
            ("TrainReader.batch_transforms=[{BatchRandomResize: {target_size: [33], keep_ratio: false}}]",),
            [(50, 50), (60, 60)],
            0,
        ),
        (("TrainReader.batch_transforms=[{PadBatch: {}}]",), [(64, 64), (96, 64)], 0),  # to the largest
        (("TrainReader.batch_transforms=[{PadBatch: {}}]",), [(64, 64), (100, 64)], 1),
        (("TrainReader.batch_transforms=[{PadBatch: {pad_to_stride: 16}}]",), [(64, 64), (75, 64)], 1),
        (("TrainReader.batch_transforms=[{PadBatch: {pad_to_stride: 16}}, {PadGT: {}}]",), [(60, 60)], 0),
        ((UNPADDED, "TrainReader.batch_size=1"), [(64, 64), (96, 64)], 0),
        ((UNPADDED, "TrainReader.batch_size=1"), [(64, 64), (90, 64)], 0),  # 12, 6 and 3 add up by luck
        ((UNPADDED, "TrainReader.batch_size=1"), [(64, 64), (100, 64)], 1),
        ((UNPADDED, "RetinaNet.neck=null"), [(75, 75)], 0),
    ],
)
def test_what_a_reader_makes_of_sizes(config, options, sizes, count):
    assert len(errors(config(*options), *sizes)) == count


def test_what_is_said_of_sizes_after_transforms(config):
    options = (UNPADDED, f"TrainReader.sample_transforms={NO_PAD}")
    (error,) = errors(config(*options), (150, 100))  # 1.7067 times
    assert error.startswith("TrainDataset: TrainReader makes images with sides of 171 pixels, which are another length")
    (error,) = errors(config(*options), (480, 640), (640, 480), (320, 240))
    assert error.endswith(f"together: 320x240 becomes 256x192, 480x640 becomes 192x256; {CURE}")
    (error,) = errors(config(UNPADDED, "TrainReader.batch_size=1"), (100, 75), (75, 33), (300, 75), (40, 75))
    assert "with sides of 33, 40, 75, ... pixels" in error


def test_transforms_that_keep_the_size(config):
    names = ["Decode", "RandomFlip", "RandomDistort", "AugmentHSV", "NormalizeImage", "Permute"]
    kept = ", ".join(f"{{{name}: {{}}}}" for name in names) + ", {Lighting: {eigval: [1], eigvec: [1]}}"
    batch = "TrainReader.batch_transforms=[{PadGT: {}}, {PadRGT: {}}]"
    for option in (f"TrainReader.sample_transforms=[{kept}]", batch):
        assert len(errors(config(UNPADDED, option), (100, 75))) == 1
    padded = f"TrainReader.sample_transforms=[{kept}, {{Pad: {{size: [96, 128]}}}}]"
    assert errors(config(UNPADDED, padded), (100, 75)) == []


def test_sides_that_a_pyramid_loses(config):
    """As the network itself finds out."""
    loaded = config()
    backbone, neck = workspace.create("ResNet"), None
    neck = workspace.create("FPN", input_shape=backbone.out_shape)
    backbone.eval()

    def fails(side: int) -> bool:
        try:
            neck(backbone({"image": paddle.zeros([1, 3, side, 64])}))
        except ValueError:
            return True
        return False

    sides = range(9, 100)  # below, levels of one pixel are spread over the larger ones
    lost = _sides_lost(loaded, sides)
    assert {side for side in sides if fails(side)} == lost
    assert 75 in lost
    assert 96 not in lost


def test_what_the_check_passes_can_be_read(config):
    """Through ppdet's own transforms, for the demo's readers."""
    loaded = config()
    for name in ("TrainReader", "EvalReader"):
        reader = loaded[name]
        samples = []
        for i, (width, height) in enumerate([(100, 75), (64, 96), (33, 47)]):
            sample = {"image": np.zeros((height, width, 3), np.uint8), "im_id": np.array([i])}
            sample |= {"gt_bbox": np.zeros((0, 4), np.float32), "im_file": ""}
            samples.append(
                Compose(reader["sample_transforms"][1:])(sample | {"scale_factor": np.ones(2), "im_shape": 0})
            )
        batch = BatchCompose(reader["batch_transforms"], collate_batch=False)(samples)
        assert all(side % 32 == 0 for side in batch["image"].shape[2:])


def test_names_of_parameters_are_not_used_up(config):
    with paddle.utils.unique_name.guard():
        errors(config(UNPADDED), (100, 75))
        assert paddle.nn.Linear(1, 1).weight.name == "linear_0.w_0"


def test_before_a_run(config, tmp_path):
    data = Data(tmp_path / "whole") if (tmp_path / "whole").mkdir() is None else None
    data.write()
    report = data.check("TrainReader.batch_transforms=[]", "EvalReader.batch_transforms=[]", "EvalReader.batch_size=1")
    train, evaluation = report.errors
    assert train.startswith("TrainDataset: TrainReader makes images with sides of 10, 20 pixels")
    assert evaluation.startswith("EvalDataset: EvalReader makes images with sides of 48 pixels")
    assert not data.check().errors
