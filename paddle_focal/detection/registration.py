"""The plugin's entry point: it registers names in PaddleDetection's workspace."""

from __future__ import annotations

from ppdet.core import workspace
from ppdet.core.config.schema import SchemaDict

import paddle_focal
from paddle_focal.detection.heads.retina_head import FocalRetinaHead
from paddle_focal.detection.losses import GaussianFocalLoss, SigmoidFocalLoss, SoftmaxFocalLoss

COMPONENTS = (SigmoidFocalLoss, SoftmaxFocalLoss, GaussianFocalLoss, FocalRetinaHead)


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
        # A section of this name that was merged earlier is set aside: ppdet refuses to register a name that is there.
        section = workspace.global_config.pop(name, None) or {}
        workspace.register(component)
        workspace.global_config[name].update(section)
    return paddle_focal.__version__
