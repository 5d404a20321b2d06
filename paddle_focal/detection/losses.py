"""The losses as PaddleDetection components: what a configuration adds to the layers."""

from __future__ import annotations

from difflib import get_close_matches

from ppdet.core import workspace
from ppdet.core.config.schema import SchemaDict
from ppdet.modeling.heads import RetinaHead, YOLOFHead

from paddle_focal import layers

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
        _check_keys(config)
        if config["normalizer"] is not None:
            _check_divided_once(config)
        return {}


def _check_keys(config: SchemaDict) -> None:
    for key in config.find_extra_keys():
        close = get_close_matches(key, config.schema, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{config.name} has no key {key!r}{hint} Its keys are {', '.join(config.schema)}.")


def _check_divided_once(config: SchemaDict) -> None:
    for name, head in workspace.get_registered_modules().items():
        component = getattr(head.pymodule, name)
        if not (isinstance(component, type) and issubclass(component, DIVIDING_HEADS)):
            continue
        loss = head["loss_class"]
        if (loss.get("name") if isinstance(loss, dict) else loss) == config.name:
            raise ValueError(
                f"{config.name}.normalizer is {config['normalizer']!r}, but {name} itself divides the classification "
                f"loss by the number of foreground anchors: it would be divided twice. Remove normalizer from the "
                f"loss_class of {name}."
            )
