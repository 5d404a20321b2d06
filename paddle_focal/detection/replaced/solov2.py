"""SOLOv2."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import Tensor

from paddle_focal import losses
from paddle_focal.detection.replaced.levels import zero_of
from paddle_focal.detection.replacement import Replacement, replaces


@replaces("SOLOv2Loss")
class SOLOv2Loss(Replacement):
    """Takes class indices, and is finite without instances. ``focal_loss_alpha`` may be one for each class."""

    def configure(self) -> None:
        self.focal = losses.SigmoidFocalLoss(alpha=self.focal_loss_alpha, gamma=self.focal_loss_gamma)

    def __call__(self, ins_pred_list, ins_label_list, cate_preds, cate_labels, num_ins) -> tuple[Tensor, Tensor]:
        """Of masks ``[M, H, W]`` on each level, or None, and of labels whose 0 is the background."""
        background = cate_preds.shape[1]
        loss_cate = self.focal(cate_preds, (cate_labels - 1) % (background + 1), avg_factor=num_ins + 1.0)
        dices, counts = [paddle.zeros([1])], [paddle.zeros([1])]
        for pred, label in zip(ins_pred_list, ins_label_list):
            if pred is not None:
                label = label.astype("float32").reshape(pred.shape)
                is_there = (label.sum([1, 2]) > 0).astype("float32")
                dices.append(self._dice_loss(F.sigmoid(pred), label) * is_there)
                counts.append(is_there)
        loss_ins = paddle.concat(dices).sum() / paddle.concat(counts).sum().clip(min=1)
        return loss_ins * self.ins_loss_weight, loss_cate


@replaces("SOLOv2Head")
class SOLOv2Head(Replacement):
    """Gives every parameter a gradient, also without instances."""

    def get_loss(self, cate_preds, kernel_preds, ins_pred, *args, **kwargs) -> dict[str, Tensor]:
        found = super().get_loss(cate_preds, kernel_preds, ins_pred, *args, **kwargs)
        return {**found, "loss_ins": found["loss_ins"] + zero_of(*kernel_preds, ins_pred)}
