"""RetinaNet's head with its loss stage rebuilt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn
from ppdet.modeling.heads import RetinaHead

from paddle_focal.detection.assigners.anchor_targets import AnchorTargets, assign
from paddle_focal.detection.assigners.max_iou import assigner_for
from paddle_focal.detection.components import component
from paddle_focal.detection.heads import box_loss
from paddle_focal.detection.heads.anchors import AnchorGrid, Anchors, centred
from paddle_focal.losses import ForegroundNormalizer, SigmoidFocalLoss
from paddle_focal.losses.normalizer import MODES
from paddle_focal.ops import devices
from paddle_focal.ops.devices import kind
from paddle_focal.ops.label_range import is_wanted_everywhere


@component(inherits="RetinaHead")
class FocalRetinaHead(RetinaHead):
    """RetinaHead with the same parameters, predictions and losses, and a loss stage that costs next to nothing.

    .. code-block:: yaml

        RetinaNet:
          head: FocalRetinaHead

    What differs from PaddleDetection's RetinaHead:

    - The classification loss reads each convolution's output in place: no transposed copy, no concatenation, no
      gather; its gradient is written in the same order. Ignored anchors get the loss's ``ignore_index``. All levels are
      one step of autograd.
    - The box loss looks at foreground anchors only.
    - The anchors of a size are computed once, and MaxIoUAssigner's assignment needs no matrix of all pairs, but two
      passes of the native library over the anchors.
    - Images without boxes are no special case: every parameter gets a gradient, of zeros if need be, so that several
      ranks stay in step without ``find_unused_parameters``.
    - ``normalizer`` divides both losses by the foreground count of this rank, or of all ranks.

    Nothing waits for a GPU, except the anchors of a size that has not been seen before (ppdet's generator waits). On a
    GPU the box loss takes all anchors and masks those that are not foreground, because counting the foreground would
    have to wait. The assignment and both losses of five levels, forward and backward, then launch less than 60 kernels,
    however many images there are.

    The section ``RetinaHead`` supplies each key that this section lacks, so a configuration switches from one head to
    the other by changing only the name.

    Args:
        num_classes: C, without background.
        conv_feat, anchor_generator, bbox_assigner, nms, prior_prob, nms_pre, weights: RetinaHead's own.
        loss_bbox: RetinaHead's own, called with ``reduction="none"``, which SmoothL1Loss accepts.
        loss_class: a :class:`paddle_focal.SigmoidFocalLoss` without a normalizer of its own.
        normalizer: 'local', 'sync' or 'ema', the mode of a :class:`paddle_focal.ForegroundNormalizer`, which
            the attribute holds.
        is_inference_output: whether this package's tools compute the losses of the validation images, too.

    Raises:
        TypeError: ``loss_class`` is another loss, which could not read the classes along an arbitrary axis;
            ``is_inference_output`` is not a bool.
        ValueError: ``loss_class`` has a normalizer: the loss would be divided twice.
    """

    def __init__(
        self,
        num_classes=80,
        conv_feat="RetinaFeat",
        anchor_generator="RetinaAnchorGenerator",
        bbox_assigner="MaxIoUAssigner",
        loss_class="SigmoidFocalLoss",
        loss_bbox="SmoothL1Loss",
        nms="MultiClassNMS",
        prior_prob=0.01,
        nms_pre=1000,
        weights=(1.0, 1.0, 1.0, 1.0),
        normalizer="local",
        is_inference_output=False,
    ):
        _check_loss_class(loss_class)
        _check_normalizer(normalizer)
        _check_is_inference_output(is_inference_output)
        super().__init__(
            num_classes=num_classes,
            conv_feat=conv_feat,
            anchor_generator=anchor_generator,
            bbox_assigner=bbox_assigner,
            loss_class=loss_class,
            loss_bbox=loss_bbox,
            nms=nms,
            prior_prob=prior_prob,
            nms_pre=nms_pre,
            weights=list(weights),
        )
        self.normalizer = ForegroundNormalizer(normalizer)
        self.is_inference_output = is_inference_output
        self._anchors = Anchors(anchor_generator, weights)
        self._assigner = assigner_for(bbox_assigner)

    @classmethod
    def checks(cls) -> dict[str, Callable[[Any], None]]:
        """The checks of its own keys, by their names, which are made before anything else is."""
        return {"normalizer": _check_normalizer, "is_inference_output": _check_is_inference_output}

    def get_loss(self, head_outputs: Sequence[Sequence[Tensor]], targets: dict) -> dict[str, Tensor]:
        """The losses of a batch of N images.

        Args:
            head_outputs: logits ``[N, A * C, H, W]`` and box deltas ``[N, A * 4, H, W]`` of each level.
            targets: ``gt_bbox``, float32 ``[G_i, 4]`` for each image, corners in pixels; ``gt_class``, integer
                ``[G_i, 1]``. G_i may be 0.

        Returns:
            dict: the scalars ``loss_cls``, ``loss_reg`` and their sum ``loss``.

        Raises:
            ValueError: ``gt_class`` has a class that the head lacks; on a GPU checked only if ``PADDLE_FOCAL_CHECK=1``.
        """
        logits, deltas = head_outputs
        _check_classes(targets["gt_class"], self.num_classes)
        with devices.at_home(logits[0]):
            return self._losses(logits, deltas, targets)

    def _losses(self, logits: Sequence[Tensor], deltas: Sequence[Tensor], targets: dict) -> dict[str, Tensor]:
        grid = self._anchors(logits)
        target = assign(
            self._assigner,
            grid.boxes,
            [devices.moved(boxes, logits[0]) for boxes in targets["gt_bbox"]],
            [devices.moved(classes, logits[0]) for classes in targets["gt_class"]],
            self.num_classes,
            self.loss_class.ignore_index,
        )
        divisor = self.normalizer(target.is_foreground.sum())
        loss_cls = self.loss_class.sum_of(logits, grid.split(target.label), self.num_classes) / divisor
        box_loss_of = _box_loss_of_foreground if kind(logits[0]) == "cpu" else _box_loss_of_all
        loss_reg = box_loss_of(self.loss_bbox, deltas, grid, target) / divisor
        return {"loss_cls": loss_cls, "loss_reg": loss_reg, "loss": loss_cls + loss_reg}


def _check_normalizer(normalizer: str) -> None:
    if normalizer not in MODES:
        raise ValueError(f"normalizer must be one of {MODES}, but got {normalizer!r}")


def _check_is_inference_output(is_inference_output: bool) -> None:
    if not isinstance(is_inference_output, bool):
        raise TypeError(f"is_inference_output must be true or false, but got {is_inference_output!r}")


def _check_loss_class(loss_class) -> None:
    if not isinstance(loss_class, SigmoidFocalLoss):
        raise TypeError(
            "FocalRetinaHead needs loss_class: {name: SigmoidFocalLoss}, which reads the classes along any axis, but "
            f"got {type(loss_class).__name__}; with another loss_class use RetinaHead"
        )
    if loss_class.normalizer is not None:
        raise ValueError(
            f"the normalizer of loss_class is {loss_class.normalizer!r}, but FocalRetinaHead itself divides the losses "
            "by the number of foreground anchors: set the normalizer of FocalRetinaHead instead"
        )


def _check_classes(gt_class: Sequence[Tensor], num_classes: int) -> None:
    """Raises ValueError for a class out of range; the loss itself would take ``num_classes`` as background."""
    classes = [one for one in gt_class if len(one)]
    if not classes or not (kind(classes[0]) == "cpu" or is_wanted_everywhere()):
        return
    highest = int(paddle.concat([one.flatten() for one in classes]).max())
    if highest >= num_classes:
        raise ValueError(
            f"gt_class must be in [0, {num_classes - 1}], but it contains {highest}: the data set has more categories "
            f"than num_classes, which is {num_classes}"
        )


def _box_loss_of_all(loss: nn.Layer, deltas: Sequence[Tensor], grid: AnchorGrid, target: AnchorTargets) -> Tensor:
    """The box loss where counting the foreground would wait: of all anchors, of which the background predicts itself.

    Multiplied by 0 instead, an infinite delta would be NaN, as would its gradient.
    """
    images, kinds = len(target.label), len(grid.boxes) // sum(grid.levels)
    expected = grid.encode(F.embedding(target.row, centred(target.boxes)))  # [N, M, 4]
    expected = expected.reshape([images, kinds, -1, 4]).transpose([0, 1, 3, 2])
    predicted = paddle.concat([delta.reshape([images, kinds, 4, -1]) for delta in deltas], axis=3)
    is_foreground = target.is_foreground.reshape([images, kinds, 1, -1])
    return box_loss.sum_of(loss, paddle.where(is_foreground, predicted.astype(expected.dtype), expected), expected)


def _box_loss_of_foreground(
    loss: nn.Layer, deltas: Sequence[Tensor], grid: AnchorGrid, target: AnchorTargets
) -> Tensor:
    """The box loss of the foreground alone."""
    locations, start = sum(grid.levels), 0
    predicted, indices = [], []
    for delta, is_foreground, count in zip(deltas, grid.split(target.is_foreground), grid.levels):
        index = is_foreground.flatten().nonzero().flatten()
        if not len(index):
            index = paddle.zeros([1], "int64")  # one stands in, so that parameters get gradients
        predicted.append(_gather_deltas(delta.astype(grid.boxes.dtype), index, count))
        indices.append(index // count * locations + index % count + start)
        start += count
    index = paddle.concat(indices)
    expected = grid.encode(centred(target.boxes)[target.row.flatten()[index]], index % len(grid.boxes))
    is_foreground = target.is_foreground.flatten()[index].unsqueeze(1)
    return box_loss.sum_of(loss, paddle.where(is_foreground, paddle.concat(predicted), expected), expected)


def _gather_deltas(delta: Tensor, index: Tensor, locations: int) -> Tensor:
    """The deltas ``[P, 4]`` of anchors by their index in ``[N * A, H * W]``, from ``[N, A * 4, H, W]``."""
    first = index // locations * (4 * locations) + index % locations
    flat = first.unsqueeze(1) + paddle.arange(4, dtype=first.dtype) * locations
    return delta.flatten().gather(flat.flatten()).reshape([-1, 4])
