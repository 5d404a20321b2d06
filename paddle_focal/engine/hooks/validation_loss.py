"""The losses of the validation images, in addition to their AP."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import paddle
from paddle import Tensor
from ppdet.engine.callbacks import Callback
from pycocotools.coco import COCO

from paddle_focal.data.annotations import ground_truth
from paddle_focal.detection.abilities import gives_validation_losses
from paddle_focal.engine.logs import logger


class ValidationLoss(Callback):
    """Computes the losses of every image that is evaluated, from the same outputs as its predictions.

    The ground truth comes from the annotations of the validation set, without crowds, as in ppdet's training. The
    losses of each image are divided by its own foreground count, so the mean does not depend on the batches.

    Args:
        trainer: ppdet's, with a head that gives its losses in evaluation, too.

    Attributes:
        results: the means over the images of the latest evaluation: ``val_loss_cls``, ``val_loss_reg``, ``val_loss``.
    """

    def __init__(self, trainer) -> None:
        super().__init__(trainer)
        self.results: dict[str, float] = {}
        self._losses: list[list[float]] = []
        self._outputs: list[list[Tensor]] = []
        self._head = trainer.model.head
        self._head.register_forward_post_hook(self._keep_outputs)
        trainer.model.register_forward_post_hook(self._add_batch)

    @cached_property
    def _truth(self) -> COCO:
        return ground_truth(self.model.cfg.EvalDataset)  # ppdet makes the data set when it evaluates

    @cached_property
    def _classes(self) -> dict[int, int]:
        return {category: i for i, category in enumerate(self._truth.getCatIds())}

    def _keep_outputs(self, head: paddle.nn.Layer, _, outputs) -> None:
        if not head.training:
            self._outputs = outputs

    @paddle.no_grad()
    def _add_batch(self, model: paddle.nn.Layer, inputs: tuple[dict], _) -> None:
        if model.training:
            return
        (batch,) = inputs
        for i, image in enumerate(batch["im_id"].flatten().tolist()):
            outputs = [[level[i : i + 1] for level in levels] for levels in self._outputs]
            losses = self._head.get_loss(outputs, self._targets(image, batch["scale_factor"][i]))
            self._losses.append([float(losses[name]) for name in ("loss_cls", "loss_reg", "loss")])

    def _targets(self, image: int, scale: Tensor) -> dict:
        annotations = self._truth.loadAnns(self._truth.getAnnIds(imgIds=[image], iscrowd=False))
        height, width = scale.tolist()  # factors from the file to the input of the network
        boxes = [annotation["bbox"] for annotation in annotations]
        corners = [(x * width, y * height, (x + w) * width, (y + h) * height) for x, y, w, h in boxes]
        classes = [[self._classes[annotation["category_id"]]] for annotation in annotations]
        return {
            "gt_bbox": [paddle.to_tensor(np.array(corners, "float32").reshape(-1, 4))],
            "gt_class": [paddle.to_tensor(np.array(classes, "int32").reshape(-1, 1))],
        }

    def on_epoch_end(self, status: dict) -> None:
        if status["mode"] != "eval" or not self._losses:
            return
        means = np.mean(self._losses, axis=0).tolist()
        self.results = dict(zip(("val_loss_cls", "val_loss_reg", "val_loss"), means))
        logger.info("%d images: %s", len(self._losses), ", ".join(f"{n} {v:.4f}" for n, v in self.results.items()))
        self._losses = []


def validation_loss_of(trainer) -> ValidationLoss | None:
    """The callback if the model's head is to give its losses in an evaluation of boxes, else None."""
    head = getattr(trainer.model, "head", None)
    is_wanted = gives_validation_losses(head) and trainer.cfg.metric in ("COCO", "VOC")
    return ValidationLoss(trainer) if is_wanted else None
