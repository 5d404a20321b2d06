"""The losses as PaddleDetection components: what a configuration adds to the layers."""

from __future__ import annotations

from ppdet.core.config.schema import SchemaDict
from ppdet.modeling.heads import RetinaHead, YOLOFHead

from paddle_focal import losses
from paddle_focal.detection.components import component
from paddle_focal.detection.sections import name_of, sections_in_use

#: Heads that divide the sum their ``loss_class`` returns by the number of foreground anchors.
DIVIDING_HEADS = (RetinaHead, YOLOFHead)


def _check_divided_once(config: SchemaDict) -> None:
    """Raises ValueError for a normalizer under a head that divides the loss itself."""
    for section in sections_in_use() if config["normalizer"] is not None else ():
        head = getattr(section.pymodule, section.name)
        if not (isinstance(head, type) and issubclass(head, DIVIDING_HEADS)):
            continue
        if name_of(section["loss_class"]) == config.name:
            raise ValueError(
                f"{config.name}.normalizer is {config['normalizer']!r}, but {section.name} itself divides the "
                f"classification loss by the number of foreground anchors: it would be divided twice. Remove "
                f"normalizer from the loss_class of {section.name}."
            )


@component(check=_check_divided_once)
class SigmoidFocalLoss(losses.SigmoidFocalLoss):
    """:class:`paddle_focal.SigmoidFocalLoss` as the ``loss_class`` of a PaddleDetection head.

    .. code-block:: yaml

        loss_class: {name: SigmoidFocalLoss, alpha: 0.25, gamma: 2.0, loss_weight: 1.0}
    """


@component()
class GaussianFocalLoss(losses.GaussianFocalLoss):
    """:class:`paddle_focal.GaussianFocalLoss` as a component of PaddleDetection.

    As the ``hm_loss`` of a head that hands in probabilities:

    .. code-block:: yaml

        hm_loss: {name: GaussianFocalLoss, activated: true, normalizer: peaks, reduction: sum}
    """


@component()
class SoftmaxFocalLoss(losses.SoftmaxFocalLoss):
    """:class:`paddle_focal.SoftmaxFocalLoss` as a component of PaddleDetection."""
