"""RetinaNet and its head for the benchmarks of the loss stage and of a training step, on images of noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import paddle

from paddle_focal.detection.compatibility import import_ppdet

import_ppdet()

from ppdet.core import workspace

from paddle_focal import configurations

CONFIG = configurations.find("retinanet_r50_fpn_1x_coco")
STRIDES = (8, 16, 32, 64, 128)
ANCHORS = 9  # at each place
FLOOR = "floor"

#: The contenders, each a head and its loss. The floor's loss stage costs next to nothing: the mean of the outputs.
CONTENDERS = {
    "stock": ("RetinaHead", "FocalLoss"),
    "drop-in": ("RetinaHead", "SigmoidFocalLoss"),
    "FocalRetinaHead": ("FocalRetinaHead", "SigmoidFocalLoss"),
    FLOOR: ("RetinaHead", "FocalLoss"),
}


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

    @property
    def maps(self) -> list[tuple[int, int]]:
        """Height and width of each level."""
        return [(-(-self.height // stride), -(-self.width // stride)) for stride in STRIDES]

    @property
    def logits_mib(self) -> float:
        return self.images * sum(h * w for h, w in self.maps) * ANCHORS * self.classes * 4 / 2**20

    def targets(self) -> dict:
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

    def head_outputs(self) -> list[list[paddle.Tensor]]:
        """Logits like those of a detector that calls nearly everything background, and small deltas."""
        rng = np.random.default_rng(0)

        def level(channels: int, mean: float, deviation: float, shape: tuple[int, int]) -> paddle.Tensor:
            values = rng.standard_normal((self.images, ANCHORS * channels, *shape), np.float32)
            return paddle.to_tensor(values * np.float32(deviation) + np.float32(mean), stop_gradient=False)

        logits = [level(self.classes, -4, 2, shape) for shape in self.maps]
        deltas = [level(4, 0, 0.1, shape) for shape in self.maps]
        return [logits, deltas]


def mean_of_outputs(head_outputs: Sequence[Sequence[paddle.Tensor]], _) -> dict[str, paddle.Tensor]:
    return {"loss": paddle.add_n([output.mean() for outputs in head_outputs for output in outputs])}


def configure(contender: str, classes: int) -> None:
    """Puts the COCO configuration with the contender's head and loss into ppdet's workspace."""
    head, loss = CONTENDERS[contender]
    workspace.load_config(CONFIG)
    options = {"num_classes": classes, "pretrain_weights": None, "RetinaNet": {"head": head}}
    workspace.merge_config({**options, head: {"loss_class": {"name": loss}}})


def create_head(contender: str, classes: int) -> paddle.nn.Layer:
    configure(contender, classes)
    head = workspace.create(CONTENDERS[contender][0])
    if contender == FLOOR:
        head.get_loss = mean_of_outputs
    return head
