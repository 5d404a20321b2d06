r"""A small RetinaNet and its images, and the script that trains it on two ranks under Paddle's launcher.

    python -m paddle.distributed.launch --nproc_per_node 2 \
        tests/support/two_ranks.py HEAD NORMALIZER BOXES ITERATIONS FOLDER

BOXES is "3/2,0" where rank 0 always sees an image with three boxes and rank 1 in turns one with two and one with none.
Every rank writes its losses, last gradients and last parameters to FOLDER/rank{i}.npz.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import paddle
from paddle import nn
from ppdet.core import workspace

from paddle_focal.detection import register

CLASSES = 4
CHANNELS = 8
SIZE = 64
STRIDES = (8, 16, 32)
KINDS = 9  # of anchors at each place


def create_head(name: str, channels: int = CHANNELS, loss: str | None = None, **options) -> nn.Layer:
    """A RetinaHead or FocalRetinaHead for maps with ``channels`` channels at STRIDES."""
    register()
    section = {
        "conv_feat": {
            "name": "RetinaFeat",
            "feat_in": channels,
            "feat_out": channels,
            "num_convs": 1,
            "norm_type": None,
        },
        "anchor_generator": {
            "name": "RetinaAnchorGenerator",
            "octave_base_scale": 2,
            "scales_per_octave": 3,
            "aspect_ratios": [0.5, 1.0, 2.0],
            "strides": [float(stride) for stride in STRIDES],
        },
        "bbox_assigner": {"name": "MaxIoUAssigner", "positive_overlap": 0.5, "negative_overlap": 0.4},
        "loss_class": {"name": loss or ("SigmoidFocalLoss" if name == "FocalRetinaHead" else "FocalLoss")},
        "loss_bbox": {"name": "SmoothL1Loss", "beta": 0.1, "loss_weight": 1.0},
        "nms": {"name": "MultiClassNMS", "nms_top_k": 1000, "keep_top_k": 100, "score_threshold": 0.01},
        **options,
    }
    workspace.merge_config({"num_classes": CLASSES, name: section})
    return workspace.create(name)


class SmallRetinaNet(nn.Layer):
    """One convolution per level, and a head of PaddleDetection."""

    def __init__(self, head: nn.Layer) -> None:
        super().__init__()
        self.levels = nn.LayerList([nn.Conv2D(3, CHANNELS, 3, stride, 1) for stride in STRIDES])
        self.head = head

    def forward(self, inputs: dict) -> dict:
        return self.head([level(inputs["image"]) for level in self.levels], inputs)


def images(boxes: list[int], seed: int = 0) -> list[dict]:
    """Images of noise with that many boxes each, as inputs of a batch of one."""
    rng = np.random.default_rng(seed)
    result = []
    for count in boxes:
        corner, extent = rng.uniform(0, SIZE / 2, (count, 2)), rng.uniform(SIZE / 8, SIZE / 2, (count, 2))
        result.append(
            {
                "image": paddle.to_tensor(rng.normal(size=(1, 3, SIZE, SIZE)).astype("float32")),
                "gt_bbox": [paddle.to_tensor(np.concatenate([corner, corner + extent], axis=1).astype("float32"))],
                "gt_class": [paddle.to_tensor(rng.integers(0, CLASSES, (count, 1)).astype("int32"))],
            }
        )
    return result


def batch(inputs: list[dict]) -> dict:
    """One batch of several."""
    return {
        "image": paddle.concat([one["image"] for one in inputs]),
        "gt_bbox": [boxes for one in inputs for boxes in one["gt_bbox"]],
        "gt_class": [classes for one in inputs for classes in one["gt_class"]],
    }


def head_outputs(rng, images: int, dtype: str = "float32") -> list[list[paddle.Tensor]]:
    """Logits and deltas of each level, leaves that want a gradient."""

    def levels(channels, scale):
        shapes = [(images, KINDS * channels, SIZE // stride, SIZE // stride) for stride in STRIDES]
        tensors = [paddle.to_tensor(rng.normal(scale=scale, size=shape)).astype(dtype) for shape in shapes]
        for tensor in tensors:
            tensor.stop_gradient = False
        return tensors

    return [levels(CLASSES, 3.0), levels(4, 0.5)]


def gradients(model: nn.Layer) -> dict[str, np.ndarray]:
    return {name: parameter.grad.numpy() for name, parameter in model.named_parameters() if parameter.grad is not None}


def main(head: str, normalizer: str, boxes: str, iterations: str, folder: str) -> None:
    paddle.distributed.init_parallel_env()
    rank = paddle.distributed.get_rank()
    paddle.seed(0)
    options = {"normalizer": normalizer} if head == "FocalRetinaHead" else {}
    model = SmallRetinaNet(create_head(head, **options))
    inputs = [images([int(count) for count in counts.split(",")], seed=i) for i, counts in enumerate(boxes.split("/"))]
    parallel = paddle.DataParallel(model)
    optimizer = paddle.optimizer.SGD(1e-3, parameters=model.parameters())
    losses = []
    for i in range(int(iterations)):
        optimizer.clear_grad()
        loss = parallel(inputs[rank][i % len(inputs[rank])])["loss"]
        loss.backward()
        losses.append(float(loss))
        optimizer.step()
    arrays = {f"gradient {name}": gradient for name, gradient in gradients(model).items()}
    arrays.update((f"parameter {name}", parameter.numpy()) for name, parameter in model.named_parameters())
    np.savez(Path(folder, f"rank{rank}.npz"), loss=losses, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
