"""What the tools can do with a head, whatever its type."""

from __future__ import annotations

from paddle import nn
from ppdet.modeling.heads import RetinaHead


def gives_validation_losses(head: nn.Layer | None) -> bool:
    """Whether a head is to give the losses of the validation images, as its key ``is_inference_output`` says."""
    return bool(getattr(head, "is_inference_output", False))


def has_losses_of_anchors(head: nn.Layer | None) -> bool:
    """Whether the classification loss of a head is a sum over the anchors of several levels, as RetinaNet's is."""
    return isinstance(head, RetinaHead)
