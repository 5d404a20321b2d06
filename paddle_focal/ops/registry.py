"""The losses of the package. A new loss needs an entry here, a formula in ``composite`` and a kernel in ``csrc``."""

from __future__ import annotations

import math
from dataclasses import replace

import paddle

from paddle_focal.ops.composite import asymmetric, gaussian, quality, sigmoid, softmax, varifocal
from paddle_focal.ops.loss import Loss, result_dtype

SIGMOID = Loss(
    name="sigmoid_focal_loss",
    number=0,
    formula=sigmoid.formula,
    composite_dtype=result_dtype,
    scales={"foreground_scale": lambda alpha: alpha, "background_scale": lambda alpha: 1.0 - alpha},
    highest_alpha=1.0,
    numbers=("gamma", "label_smoothing"),
    keeps_class_axis=True,
    has_background=True,
    devices=("cpu", "gpu"),
)
SOFTMAX = Loss(
    name="softmax_focal_loss",
    number=1,
    formula=softmax.formula,
    composite_dtype=lambda dtype: paddle.float64,  # where p_t is close to 1, the loss depends on z exponentially
    scales={"scale": lambda alpha: alpha},
    highest_alpha=math.inf,
    numbers=("gamma", "label_smoothing"),
    keeps_class_axis=False,
    has_background=False,
    devices=("cpu", "gpu"),
)
QUALITY = Loss(
    name="quality_focal_loss",
    number=2,
    formula=quality.formula,
    composite_dtype=lambda dtype: paddle.float64,  # near p = y, powers below 1 make much of the rounding of p
    scales=SIGMOID.scales,
    highest_alpha=1.0,
    numbers=("gamma",),
    keeps_class_axis=True,
    has_background=True,
    devices=("cpu", "gpu"),
    takes_score=True,
)
VARIFOCAL = Loss(
    name="varifocal_loss",
    number=3,
    formula=varifocal.formula,
    composite_dtype=result_dtype,
    scales={"foreground_scale": lambda alpha: 1.0, "background_scale": lambda alpha: alpha},
    highest_alpha=math.inf,
    numbers=("gamma", "detach_weight"),
    keeps_class_axis=True,
    has_background=True,
    devices=("cpu", "gpu"),
    takes_score=True,
)
GAUSSIAN = Loss(
    name="gaussian_focal_loss",
    number=4,
    formula=gaussian.formula,
    composite_dtype=result_dtype,
    scales={"foreground_scale": lambda alpha: 1.0, "background_scale": lambda alpha: 1.0},
    highest_alpha=1.0,
    numbers=("gamma", "beta"),
    keeps_class_axis=True,
    has_background=False,
    devices=("cpu", "gpu"),
    label="heatmap",
    takes_index=False,
)
ASYMMETRIC = Loss(
    name="asymmetric_loss",
    number=5,
    formula=asymmetric.formula,
    composite_dtype=result_dtype,
    scales=SIGMOID.scales,
    highest_alpha=1.0,
    numbers=("gamma_neg", "gamma_pos", "margin"),
    keeps_class_axis=True,
    has_background=True,
    devices=("cpu", "gpu"),
)
POLY1 = replace(SIGMOID, name="poly1_focal_loss", numbers=(*SIGMOID.numbers, "epsilon"))
LOSSES = {loss.name: loss for loss in (SIGMOID, SOFTMAX, QUALITY, VARIFOCAL, GAUSSIAN, ASYMMETRIC, POLY1)}
