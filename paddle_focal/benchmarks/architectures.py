"""What is measured of which detector; the head benchmark measures RetinaNet's only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FLOOR, PLUGIN = "floor", "plugin"


@dataclass(frozen=True)
class Architecture:
    """One detector, as a configuration of the package describes it.

    Attributes:
        title: what reports call it.
        config: the name of the configuration.
        images: of a batch.
        size: height and width of the images.
        loss_stage: the method of the model that computes its losses from the outputs of its head.
        contenders: what each of them sets in the configuration. The plugin is the configuration as it is, with its
            replacements; all others have PaddleDetection's components. The loss stage of the floor costs next to
            nothing: it is the mean of the outputs.
    """

    title: str
    config: str
    images: int
    size: tuple[int, int]
    loss_stage: str
    contenders: Mapping[str, dict] = field(default_factory=lambda: {"stock": {}, PLUGIN: {}, FLOOR: {}})


def _with_head(head: str, loss: str) -> dict:
    return {"RetinaNet": {"head": head}, head: {"loss_class": {"name": loss}}}


ARCHITECTURES = {
    "retinanet": Architecture(
        "RetinaNet R50-FPN",
        "retinanet_r50_fpn_1x_coco",
        2,
        (800, 1344),
        "head.get_loss",
        {
            "stock": _with_head("RetinaHead", "FocalLoss"),
            "drop-in": _with_head("RetinaHead", "SigmoidFocalLoss"),
            "FocalRetinaHead": _with_head("FocalRetinaHead", "SigmoidFocalLoss"),
            FLOOR: _with_head("RetinaHead", "FocalLoss"),
        },
    ),
    "ppyoloe": Architecture("PP-YOLOE+ s", "ppyoloe_plus_crn_s_80e_coco", 8, (640, 640), "yolo_head.get_loss"),
    "picodet": Architecture("PicoDet s", "picodet_s_320_coco_lcnet", 32, (320, 320), "head.get_loss"),
    "rtdetr": Architecture("RT-DETR R18", "rtdetr_r18vd_6x_coco", 4, (640, 640), "detr_head.loss.forward"),
}
