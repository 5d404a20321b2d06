"""Detectors whose stages refine a set of boxes: Sparse R-CNN and QueryInst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import paddle
from paddle import Tensor
from paddle.metric import accuracy

from paddle_focal import losses
from paddle_focal.detection.replaced.levels import zero_of
from paddle_focal.detection.replaced.matches import in_float32
from paddle_focal.detection.replacement import Replacement, replaces

Matches = Sequence[tuple[Tensor, Tensor]]


class _OfMatches(Replacement):
    """The classification loss takes class indices, which are put in their places in one call.

    Own keys: ``alpha``, also one for each class, and ``gamma``. None: ``focal_loss_alpha`` and ``focal_loss_gamma``,
    which the matcher's costs have, too.
    """

    OWN_KEYS: ClassVar[dict[str, Any]] = {"alpha": None, "gamma": None}

    def configure(self, alpha, gamma) -> None:
        if alpha is None and self.focal_loss_alpha >= 0:
            alpha = self.focal_loss_alpha
        self.focal = losses.SigmoidFocalLoss(alpha=alpha, gamma=self.focal_loss_gamma if gamma is None else gamma)
        self.matcher.register_forward_pre_hook(lambda _, inputs: tuple(in_float32(inputs)))

    def _class_loss(self, logits: Tensor, targets: Sequence[dict], indices: Matches, divisor: Tensor):
        """The loss, the rows of the logits that are matched, and their classes; None where there are none."""
        rows = classes = None
        label = paddle.full([logits.shape[0] * logits.shape[1]], self.num_classes, "int64")
        if _have_boxes(targets):
            image, query = self._get_src_permutation_idx(indices)
            rows = image * logits.shape[1] + query
            matched = [paddle.gather(target["labels"], box, axis=0) for target, (_, box) in zip(targets, indices)]
            classes = paddle.concat(matched).astype("int64")
            label = paddle.scatter(label, rows, classes)
        loss = self.focal(logits, label.reshape(logits.shape[:2]), avg_factor=divisor)
        return loss.reshape([1]), rows, classes


def _have_boxes(targets: Sequence[dict]) -> bool:
    return any(len(target["labels"]) for target in targets)


@replaces("SparseRCNNLoss")
class SparseRCNNLoss(_OfMatches):
    __doc__ = _OfMatches.__doc__

    def get_loss(self, loss, outputs, targets, indices, num_boxes, **kwargs) -> dict[str, Tensor]:
        return super().get_loss(loss, outputs, targets, indices, num_boxes.clip(min=1), **kwargs)

    def loss_labels(self, outputs, targets, indices, num_boxes, log=True) -> dict[str, Tensor]:
        logits = outputs["pred_logits"]
        loss, rows, classes = self._class_loss(logits, targets, indices, num_boxes)
        found = {"loss_ce": loss}
        if log:
            matched = None if rows is None else paddle.gather(logits.flatten(0, 1), rows)
            found["acc"] = paddle.zeros([]) if rows is None else accuracy(matched, classes.unsqueeze(-1))
        return found

    def loss_boxes(self, outputs, targets, indices, num_boxes) -> dict[str, Tensor]:
        if not _have_boxes(targets):
            return dict.fromkeys(("loss_giou", "loss_bbox"), zero_of(outputs["pred_boxes"]).reshape([1]))
        return super().loss_boxes(outputs, targets, indices, num_boxes)


@replaces("QueryInstLoss")
class QueryInstLoss(_OfMatches):
    __doc__ = _OfMatches.__doc__

    def loss_classes(self, class_logits, targets, indices, avg_factor) -> dict[str, Tensor]:
        loss, *_ = self._class_loss(class_logits, targets, indices, avg_factor)
        return {"loss_cls": loss * self.loss_weights["loss_cls"]}
