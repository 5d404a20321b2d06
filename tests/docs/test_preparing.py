"""What the scripts of the pages make of a picture, against ppdet's own transforms."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import yaml
from tutorial import blocks_of, configuration, read

pytest.importorskip("ppdet")

from ppdet.data.transform import operators
from ppdet.data.transform.batch_operators import PadBatch

TUTORIAL = blocks_of(read("train_your_own_data.md"))
PREPARE, *_ = (block for kind, block in blocks_of(read("deployment.md")) if kind == "python")
CONFIG = yaml.safe_load(configuration())
PICTURE = "dataset/cells/images/BloodImage_00007.jpg"

#: Width and height: as the tutorial's pictures, upright, odd, narrow, low, smaller than the target.
SIZES = [(640, 480), (480, 640), (333, 211), (9, 300), (1200, 50), (61, 61)]


def by_tutorial(path: str) -> dict[str, np.ndarray]:
    (script,) = (block for kind, block in TUTORIAL if kind == "python")
    script = script[script.index("image = ") : script.index("for name in ")]
    assert PICTURE in script
    found = {"cv2": cv2, "np": np}
    exec(script.replace(PICTURE, path), found)
    return found["inputs"]


def by_prepare(path: str) -> dict[str, np.ndarray]:
    """By steps as ``infer_cfg.yml`` has them."""
    steps = [{"type": name, **options} for step in CONFIG["TestReader"]["sample_transforms"][1:]
             for name, options in step.items()]  # fmt: skip
    steps[0]["interp"] = cv2.INTER_LINEAR
    found = {}
    exec(PREPARE, found)
    return found["prepare"](cv2.imread(path), [*steps, {"type": "PadStride", "stride": 32}])


@pytest.mark.parametrize("by_script", [by_tutorial, by_prepare])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_as_in_training(tmp_path, rng, by_script, size):
    path = str(tmp_path / "1.png")
    cv2.imwrite(path, rng.integers(0, 255, (*size[::-1], 3), dtype=np.uint8))
    sample = {"im_file": path, "im_id": np.array([1]), "curr_iter": 0}
    for step in CONFIG["TestReader"]["sample_transforms"]:
        for name, options in step.items():
            sample = getattr(operators, name)(**options)(sample)
    (sample,) = PadBatch(pad_to_stride=32)([sample])
    inputs = by_script(path)
    np.testing.assert_allclose(inputs["image"], sample["image"][None], atol=1e-5)
    np.testing.assert_allclose(inputs["scale_factor"], sample["scale_factor"][None], rtol=1e-6)
    np.testing.assert_allclose(inputs["im_shape"], sample["im_shape"][None], atol=0.5)
