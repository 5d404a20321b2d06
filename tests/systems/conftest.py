"""The systems themselves have an environment of their own: `make test-systems`. Nothing is collected elsewhere."""

from __future__ import annotations

import os
from importlib.util import find_spec

SYSTEMS = ("keras", "kornia", "monai", "optax", "segmentation_models_pytorch", "timm", "torchvision", "transformers")
collect_ignore_glob = [] if all(map(find_spec, SYSTEMS)) else ["*"]

if not collect_ignore_glob:
    os.environ["KERAS_BACKEND"] = "torch"
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        # PyPI's is built for CUDA: beside a torch without it, its operators are missing, two of which it insists on.
        _operators = torch.library.Library("torchvision", "DEF")
        for _name in ("nms", "qnms"):
            _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
