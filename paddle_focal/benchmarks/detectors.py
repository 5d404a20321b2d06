"""Detectors of the package's configurations, as a contender has them, and batches of noise."""

from __future__ import annotations

from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import paddle
from paddle import Tensor

from paddle_focal import detection
from paddle_focal.benchmarks.architectures import PLUGIN, Architecture
from paddle_focal.detection.compatibility import import_ppdet
from paddle_focal.detection.replaced.levels import for_any_release

import_ppdet()

from ppdet.core import workspace

from paddle_focal import configurations

#: The transforms of a reader that make the targets which a model takes.
_OF_TARGETS = ("NormalizeBox", "BboxXYXY2XYWH", "Permute", "PadGT")


@dataclass(frozen=True)
class Batch:
    """The size of a batch: ``images`` of ``height`` x ``width`` pixels with ``boxes`` objects of ``classes`` each."""

    images: int
    height: int
    width: int
    classes: int
    boxes: int

    def __str__(self) -> str:
        return f"{self.images} x {self.height} x {self.width}, {self.classes} classes, {self.boxes} boxes an image"

    def targets(self) -> dict[str, list[Tensor]]:
        """Boxes and classes of each image, the same every time."""
        rng = np.random.default_rng(0)
        size = np.array([self.width, self.height])
        boxes = []
        for _ in range(self.images):
            extent = rng.uniform(0.05, 0.4, (self.boxes, 2)) * size
            corner = rng.uniform(0, 1, (self.boxes, 2)) * (size - extent)
            boxes.append(np.concatenate([corner, corner + extent], axis=1).astype("float32"))
        return {
            "gt_bbox": [paddle.to_tensor(image) for image in boxes],
            "gt_class": [
                paddle.to_tensor(rng.integers(0, self.classes, (self.boxes, 1)).astype("int32"))
                for _ in range(self.images)
            ],
        }

    def inputs(self) -> dict:
        """Images of noise with their targets, as the reader of the configuration hands them over, in its last epoch."""
        section = workspace.global_config["TrainReader"]
        transforms = [*section["sample_transforms"], *section["batch_transforms"]]
        of_targets = [one for one in transforms if set(one) & set(_OF_TARGETS)]
        workspace.merge_config({"TrainReader": {"sample_transforms": [], "batch_transforms": of_targets}})
        rng = np.random.default_rng(0)
        samples = [
            {
                "im_id": np.array([i]),
                "image": rng.standard_normal((self.height, self.width, 3), np.float32),
                "im_shape": np.array([self.height, self.width], "float32"),
                "scale_factor": np.ones(2, "float32"),
                "gt_bbox": box.numpy(),
                "gt_class": label.numpy(),
            }
            for i, (box, label) in enumerate(zip(*self.targets().values()))
        ]
        read = workspace.create("TrainReader")._batch_transforms(samples)
        tensors = {
            name: [paddle.to_tensor(one) for one in value] if isinstance(value, list) else paddle.to_tensor(value)
            for name, value in read.items()
        }
        return {**for_any_release(tensors), "epoch_id": workspace.global_config["epoch"] - 1}


def configure(architecture: Architecture, contender: str, classes: int) -> None:
    """Puts the configuration into ppdet's workspace, as the contender has it."""
    replace = detection.replace if contender == PLUGIN else detection.register
    with patch.object(detection, "replace", replace):  # which configurations call
        workspace.load_config(configurations.find(architecture.config))
    options = {"num_classes": classes, "pretrain_weights": None}
    workspace.merge_config({**options, **architecture.contenders[contender]})


def mean_of_outputs(*arguments, **others) -> dict[str, Tensor]:
    """The floor's loss: the mean of each argument that has a gradient."""
    values = paddle.utils.flatten([arguments, others])
    return {"loss": paddle.add_n([one.mean() for one in values if paddle.is_tensor(one) and not one.stop_gradient])}
