"""The plugin's entry point: it registers names in PaddleDetection's workspace."""

from __future__ import annotations

from collections.abc import Sequence

from ppdet.core import workspace
from ppdet.core.config.schema import SchemaDict
from ppdet.utils.logger import setup_logger

import paddle_focal
from paddle_focal.detection.heads.retina_head import FocalRetinaHead
from paddle_focal.detection.losses import GaussianFocalLoss, SigmoidFocalLoss, SoftmaxFocalLoss
from paddle_focal.detection.replacement import take_over

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


def replace(names: Sequence[str] | None = None) -> str:
    """Put the plugin's components in the place of PaddleDetection's, under PaddleDetection's names.

    Every configuration that trains with a loss of the focal family then runs unchanged: with the same parameters,
    checkpoints, predictions and exports, and the same losses wherever PaddleDetection's are right. A configuration
    calls it while it is parsed, with the line::

        paddle_focal: !!python/object/apply:paddle_focal.detection.replace []

    or, for some components only, ``replace [[PPYOLOEHead]]``. It also does what :func:`register` does. A second call
    does nothing; only a new process undoes it. The log says once what was replaced.

    Args:
        names: the components, or None for all that this PaddleDetection has.

    Returns:
        str: the version of paddle_focal, a plain value that is left in the configuration.

    Raises:
        TypeError: ``names`` is not a list of strings.
        ValueError: a name that cannot be replaced, with those that can.
    """
    if names is not None and (isinstance(names, str) or not all(isinstance(name, str) for name in names)):
        raise TypeError(f"names must be None or a list of names of components, but got {names!r}")
    version = register()
    taken = take_over(names)
    if taken:
        setup_logger("paddle_focal").info("Focal losses of paddle_focal in %s", ", ".join(taken))
    return version
