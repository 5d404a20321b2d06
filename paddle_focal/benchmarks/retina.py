"""RetinaNet's head for the benchmark of the loss stage, and what its convolutions might hand to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle

from paddle_focal.benchmarks import detectors
from paddle_focal.benchmarks.architectures import ARCHITECTURES, FLOOR
from paddle_focal.benchmarks.detectors import workspace

STRIDES = (8, 16, 32, 64, 128)
ANCHORS = 9  # at each place


@dataclass(frozen=True)
class Batch(detectors.Batch):
    __doc__ = detectors.Batch.__doc__

    @property
    def maps(self) -> list[tuple[int, int]]:
        """Height and width of each level."""
        return [(-(-self.height // stride), -(-self.width // stride)) for stride in STRIDES]

    @property
    def logits_mib(self) -> float:
        return self.images * sum(h * w for h, w in self.maps) * ANCHORS * self.classes * 4 / 2**20

    def head_outputs(self) -> list[list[paddle.Tensor]]:
        """Logits like those of a detector that calls nearly everything background, and small deltas."""
        rng = np.random.default_rng(0)

        def level(channels: int, mean: float, deviation: float, shape: tuple[int, int]) -> paddle.Tensor:
            values = rng.standard_normal((self.images, ANCHORS * channels, *shape), np.float32)
            return paddle.to_tensor(values * np.float32(deviation) + np.float32(mean), stop_gradient=False)

        logits = [level(self.classes, -4, 2, shape) for shape in self.maps]
        deltas = [level(4, 0, 0.1, shape) for shape in self.maps]
        return [logits, deltas]


def create_head(contender: str, classes: int) -> paddle.nn.Layer:
    detectors.configure(ARCHITECTURES["retinanet"], contender, classes)
    head = workspace.create(workspace.global_config["RetinaNet"]["head"])
    if contender == FLOOR:
        head.get_loss = detectors.mean_of_outputs
    return head
