"""Hugging Face transformers: RT-DETR's varifocal loss, and the focal loss of its DETRs."""

from __future__ import annotations

import numpy as np
import paddle
import torch
from accuracy import run
from systems import assert_same, run_torch
from transformers import RTDetrConfig
from transformers.loss.loss_for_object_detection import sigmoid_focal_loss
from transformers.loss.loss_rt_detr import RTDetrLoss

from paddle_focal import varifocal_loss


def test_transformers_rt_detr(backend, rng):
    """There the weight is a constant for the gradient, and the score of a box is its IoU, not differentiated."""
    x = rng.normal(scale=2, size=(1, 4, 3))
    target = {"class_labels": torch.tensor([2, 0]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.3, 0.4, 0.2, 0.1]])}
    boxes = torch.full((1, 4, 4), 0.1)
    boxes[0, [1, 3]] = target["boxes"] + torch.tensor([[0.05, 0, 0, 0], [0, 0, 0, 0]])  # one moved by 1/4 of its width
    matched = [(torch.tensor([1, 3]), torch.tensor([0, 1]))]
    loss = RTDetrLoss(RTDetrConfig(num_labels=3))
    assert (loss.alpha, loss.gamma) == (0.75, 2.0)

    def theirs(x):
        outputs = {"logits": x, "pred_boxes": boxes.double()}
        return loss.loss_labels_vfl(outputs, [target], matched, num_boxes=2)["loss_vfl"]

    label, score = np.array([[3, 2, 3, 0]]), np.array([[0, (1 - 1 / 4) / (1 + 1 / 4), 0, 1.0]])
    arguments = {"score": paddle.to_tensor(score), "normalizer": 2.0, "detach_weight": True, "backend": backend}
    ours = run(x, label, "float64", function=varifocal_loss, **arguments)
    assert_same(ours, run_torch(x, theirs), "float32")  # as are their boxes


def test_transformers_detr(backend, rng):
    """Deformable DETR's and others': a mean over the queries, which they multiply by their number, over the boxes."""
    x, y = rng.normal(scale=2, size=(2, 6, 3)), rng.random((2, 6, 3)).round()
    ours = run(x, y, "float64", alpha=0.3, gamma=1.5, normalizer=5.0, backend=backend)
    assert_same(ours, run_torch(x, lambda x: sigmoid_focal_loss(x, torch.tensor(y), 5.0, 0.3, 1.5) * 6))
