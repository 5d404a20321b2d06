"""The plugin's entry: names in PaddleDetection's workspace."""

from __future__ import annotations

from ppdet.core import workspace
from ppdet.core.config.schema import SchemaDict

import paddle_focal
from paddle_focal.detection.heads.retina_head import FocalRetinaHead
from paddle_focal.detection.losses import SigmoidFocalLoss, SoftmaxFocalLoss

COMPONENTS = (SigmoidFocalLoss, SoftmaxFocalLoss, FocalRetinaHead)


def register() -> str:
    """Register the components in PaddleDetection; a second call does nothing.

    A configuration calls it while it is parsed, with the line::

        paddle_focal: !!python/object/apply:paddle_focal.detection.register []

    Returns:
        str: the version of paddle_focal, a plain value that is left in the configuration.
    """
    for component in COMPONENTS:
        name = component.__name__
        if isinstance(workspace.global_config.get(name), SchemaDict):
            continue
        # A section of this name that was merged before is set aside: ppdet registers a name only once.
        section = workspace.global_config.pop(name, None) or {}
        workspace.register(component)
        workspace.global_config[name].update(section)
    return paddle_focal.__version__
