"""The losses as PaddleDetection components: what a configuration adds to the layers."""

from __future__ import annotations

from ppdet.core.config.schema import SchemaDict
from ppdet.modeling.heads import RetinaHead, YOLOFHead

from paddle_focal.detection.sections import check_keys, name_of, sections_in_use
from paddle_focal.losses import base as layers

#: Heads that divide the sum their ``loss_class`` returns by the number of foreground anchors.
DIVIDING_HEADS = (RetinaHead, YOLOFHead)


class SigmoidFocalLoss(layers.SigmoidFocalLoss):
    """:class:`paddle_focal.SigmoidFocalLoss` as the ``loss_class`` of a PaddleDetection head.

    .. code-block:: yaml

        loss_class: {name: SigmoidFocalLoss, alpha: 0.25, gamma: 2.0, loss_weight: 1.0}
    """

    @classmethod
    def from_config(cls, config: SchemaDict) -> dict:
        """Check the section of the configuration; ppdet calls it before it creates the component.

        Raises:
            ValueError: an unknown key, or a normalizer under a head that divides by itself.
        """
        check_keys(config)
        if config["normalizer"] is not None:
            _check_divided_once(config)
        return {}


class SoftmaxFocalLoss(layers.SoftmaxFocalLoss):
    """:class:`paddle_focal.SoftmaxFocalLoss` as a component of PaddleDetection."""

    @classmethod
    def from_config(cls, config: SchemaDict) -> dict:
        """Check the section of the configuration; ppdet calls it before it creates the component.

        Raises:
            ValueError: an unknown key.
        """
        check_keys(config)
        return {}


def _check_divided_once(config: SchemaDict) -> None:
    for section in sections_in_use():
        component = getattr(section.pymodule, section.name)
        if not (isinstance(component, type) and issubclass(component, DIVIDING_HEADS)):
            continue
        if name_of(section["loss_class"]) == config.name:
            raise ValueError(
                f"{config.name}.normalizer is {config['normalizer']!r}, but {section.name} itself divides the "
                f"classification loss by the number of foreground anchors: it would be divided twice. Remove "
                f"normalizer from the loss_class of {section.name}."
            )
