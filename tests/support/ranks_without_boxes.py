r"""Small detectors, and the script that trains them on two ranks of which the second hardly ever has boxes.

    python -m paddle.distributed.launch --nproc_per_node 2 tests/support/ranks_without_boxes.py FOLDER ARCHITECTURE...

Every rank writes the losses and the last parameters of each to FOLDER/ARCHITECTURE-rank{i}.npz.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import paddle
from ppdet.core import workspace

from paddle_focal import configurations

CLASSES, SIZE, IMAGES, ITERATIONS = 10, 96, 2, 10
#: The boxes of each image; those of FCOS are never none, which its reader refuses, but lie between all places.
BOXES = [[8, 8, 72, 72], [30, 40, 60, 60]]
NONE = {"fcos": [[5, 5, 7, 7]]}
BACKBONE = {"CSPDarkNet": {"depth_mult": 0.1, "width_mult": 0.125}}
#: What makes the detector of ARCHITECTURE_digits.yml smaller.
ARCHITECTURES = {
    "ppyoloe": {},
    "picodet": {},
    "fcos": {"FCOS": {"backbone": "CSPDarkNet"}, **BACKBONE},
    "rtdetr": {"DETR": {"backbone": "CSPDarkNet"}, **BACKBONE},
}


def batch(reader, boxes: list, seed: int) -> dict:
    """Images of noise with these boxes, through the transforms of the configuration."""
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(IMAGES):
        sample = {
            "im_id": np.array([i]),
            "image": rng.integers(0, 256, (SIZE, SIZE, 3), "uint8"),
            "gt_bbox": np.array(boxes, "float32").reshape(-1, 4),
            "gt_class": rng.integers(0, CLASSES, (len(boxes), 1)).astype("int32"),
        }
        samples.append(reader._sample_transforms(sample))
    return {
        name: [paddle.to_tensor(one) for one in value] if isinstance(value, list) else paddle.to_tensor(value)
        for name, value in reader._batch_transforms(samples).items()
    }


def train(name: str, rank: int) -> tuple[list[float], dict[str, np.ndarray]]:
    """The losses and the last parameters. The first rank has boxes but at the end, the second in one iteration."""
    keys = workspace.load_config(configurations.find(f"{name}_digits"))
    workspace.merge_config(ARCHITECTURES[name])
    paddle.seed(0)
    model = workspace.create(keys["architecture"])
    model.train()
    parallel = paddle.DataParallel(model, find_unused_parameters=keys.get("find_unused_parameters", False))
    optimizer = workspace.create("OptimizerBuilder")(1e-3, model)
    reader = workspace.create("TrainReader")
    losses = []
    for i in range(ITERATIONS):
        has_boxes = i == 5 or (rank == 0 and i < ITERATIONS - 1)
        inputs = batch(reader, BOXES if has_boxes else NONE.get(name, []), seed=i)
        loss = parallel({**inputs, "epoch_id": i})["loss"]  # epoch 3 is the first with the other assigner
        loss.backward()
        losses.append(float(loss))
        optimizer.step()
        optimizer.clear_grad()
    trained = {key: one.numpy() for key, one in model.named_parameters() if not one.stop_gradient}
    return losses, trained


def main(folder: str, *names: str) -> None:
    paddle.distributed.init_parallel_env()
    rank = paddle.distributed.get_rank()
    sections = dict(workspace.global_config)
    for name in names:
        workspace.global_config.clear()  # of what the configuration before has said
        workspace.global_config.update((key, copy.copy(section)) for key, section in sections.items())
        losses, parameters = train(name, rank)
        arrays = {f"parameter {key}": value for key, value in parameters.items()}
        np.savez(Path(folder, f"{name}-rank{rank}.npz"), loss=losses, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
