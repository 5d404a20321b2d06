"""Detectors with queries: DETR, Deformable DETR, DINO, RT-DETR, Mask DINO."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import paddle
from paddle import Tensor

from paddle_focal import losses
from paddle_focal.detection.replaced.levels import zero_of
from paddle_focal.detection.replaced.matches import in_float32
from paddle_focal.detection.replacement import Replacement, replaces


@replaces("DETRLoss", "DINOLoss", "MaskDINOLoss")
class DETRLoss(Replacement):
    """The classification loss takes class indices and scores; no one-hot labels are made.

    Without ``use_focal_loss`` it is PaddleDetection's softmax cross entropy.

    Own keys: ``alpha`` (None: 0.75 for the varifocal loss, else 0.25), ``gamma``, ``detach_weight`` (of the varifocal
    loss: False, as in PaddleDetection; RT-DETR in PyTorch detaches it).
    """

    OWN_KEYS: ClassVar[dict[str, Any]] = {"alpha": None, "gamma": 2.0, "detach_weight": False}
    HIGHEST_ALPHA = math.inf

    def configure(self, alpha, gamma, detach_weight) -> None:
        if getattr(self, "use_vfl", False):
            alpha = 0.75 if alpha is None else alpha
            self.focal = losses.VarifocalLoss(alpha=alpha, gamma=gamma, detach_weight=detach_weight)
        else:
            self.focal = losses.SigmoidFocalLoss(alpha=0.25 if alpha is None else alpha, gamma=gamma)

    def _get_loss_class(
        self,
        logits: Tensor | None,
        gt_class: Sequence[Tensor],
        match_indices: Sequence[tuple[Tensor, Tensor]],
        bg_index: int,
        num_gts: Tensor,
        postfix: str = "",
        iou_score: Tensor | None = None,
        gt_score: Tensor | None = None,
    ) -> dict[str, Tensor]:
        if not self.use_focal_loss or logits is None:
            return super()._get_loss_class(logits, gt_class, match_indices, bg_index, num_gts, postfix)
        images, queries = logits.shape[:2]
        target = paddle.full([images * queries], bg_index, "int64")
        if any(len(classes) for classes in gt_class):
            rows, classes = self._get_index_updates(queries, gt_class, match_indices)
            target = paddle.scatter(target, rows, classes.flatten().astype("int64"))
        target = target.reshape([images, queries])
        if isinstance(self.focal, losses.VarifocalLoss) and iou_score is not None:
            scores = iou_score if gt_score is None else iou_score * gt_score
            score = paddle.scatter(paddle.zeros([images * queries]), rows, scores.flatten().astype("float32"))
            target = target, score.reshape([images, queries])
        loss = self.focal(logits, target, avg_factor=num_gts)
        return {"loss_class" + postfix: self.loss_coeff["class"] * loss.reshape([1])}

    def _get_src_target_assign(self, src, target, match_indices) -> tuple[Tensor, Tensor]:
        """The matched rows, of boxes or masks; PaddleDetection fails at masks of which an image has none."""
        matched = [(*images, *match) for *images, match in zip(src, target, match_indices) if len(match[0])]
        sources = [paddle.gather(image, rows, axis=0) for image, _, rows, _ in matched]
        targets = [paddle.gather(image, rows, axis=0) for _, image, _, rows in matched]
        return paddle.concat(sources), paddle.concat(targets)

    def _get_loss_bbox(self, boxes: Tensor | None, *args, **kwargs) -> dict[str, Tensor]:
        return _with_gradients(super()._get_loss_bbox(boxes, *args, **kwargs), boxes)

    def _get_loss_mask(self, masks: Tensor | None, *args, **kwargs) -> dict[str, Tensor]:
        return _with_gradients(super()._get_loss_mask(masks, *args, **kwargs), masks)


def _with_gradients(found: dict[str, Tensor], prediction: Tensor | None) -> dict[str, Tensor]:
    """Losses of which those that are constants, for want of boxes, have a gradient of zeros."""
    if prediction is None:
        return found
    return {name: loss + zero_of(prediction) if loss.stop_gradient else loss for name, loss in found.items()}


@replaces("HungarianMatcher")
class HungarianMatcher(Replacement):
    """The costs are computed in float32, where they are finite for every logit.

    In float16 PaddleDetection's ``log(1 - p + 1e-8)`` is infinite from a logit of 8.4 on.
    """

    def forward(self, *args, **kwargs) -> list[tuple[Tensor, Tensor]]:
        if kwargs.get("gt_mask") is not None:  # of images without boxes the reader leaves masks without sides
            kwargs["gt_mask"] = [mask for mask in kwargs["gt_mask"] if len(mask)]
        with paddle.amp.auto_cast(enable=False):
            return super().forward(*in_float32(args), **in_float32(kwargs))
