"""Components of PaddleDetection beside their replacements: made alike, and run on the same batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

import numpy as np
import paddle
import pytest
from ppdet.core import workspace
from ppdet.modeling.shape_spec import ShapeSpec

from paddle_focal.detection import replace

CLASSES, CHANNELS = 5, 8


def create_pair(name: str, strides: Sequence[int] = (), replaced: Sequence[str] = (), own: dict | None = None, **keys):
    """PaddleDetection's component and the replacement, with the same random weights.

    Args:
        name: the component.
        strides: of the levels that it gets, if it is a head.
        replaced: other components that are replaced with it.
        own: keys that only the replacement has.
        keys: of its section.
    """
    workspace.global_config["num_classes"] = CLASSES
    if name not in workspace.global_config:
        pytest.skip(f"no {name} in ppdet")
    workspace.global_config[name].update(keys)
    shape = {"input_shape": [ShapeSpec(channels=CHANNELS, stride=stride) for stride in strides]} if strides else {}
    stock = workspace.create(name, **shape)
    replace([name, *replaced])
    workspace.global_config[name].update(own or {})
    ours = workspace.create(name, **shape)
    assert type(ours) is not type(stock)
    assert type(ours).__name__ == name
    if isinstance(stock, paddle.nn.Layer):
        with paddle.no_grad():
            for parameter in stock.parameters():
                parameter.set_value(parameter + 0.1 * paddle.randn(parameter.shape))
        assert list(ours.state_dict()) == list(stock.state_dict())
        ours.set_state_dict(stock.state_dict())
    return stock, ours


def levels(rng, strides: Sequence[int], images: int = 2, size: int = 128) -> list[np.ndarray]:
    """Features of a pyramid over images of ``size`` pixels."""
    sides = [size // stride for stride in strides]
    return [rng.normal(size=(images, CHANNELS, side, side)).astype("float32") for side in sides]


def padded_boxes(*images: Sequence[tuple[tuple[float, ...], int]]) -> dict:
    """``gt_bbox``, ``gt_class`` and ``pad_gt_mask`` of images whose boxes are (corners, class)."""
    most = max([1, *map(len, images)])
    boxes, classes = np.zeros([len(images), most, 4], "float32"), np.zeros([len(images), most, 1], "int64")
    for i, image in enumerate(images):
        for j, (box, label) in enumerate(image):
            boxes[i, j], classes[i, j] = box, label
    is_there = np.arange(most) < np.array([[len(image)] for image in images])
    mask = is_there[..., None].astype("float32")
    return {
        "gt_bbox": paddle.to_tensor(boxes),
        "gt_class": paddle.to_tensor(classes),
        "pad_gt_mask": paddle.to_tensor(mask),
        "im_id": paddle.arange(len(images)).unsqueeze(1),
    }


#: Two images with boxes, one with and one without, and none with any.
BOXES = {
    "boxes": ([((3, 4, 60, 50), 1), ((10, 10, 90, 60), 4)], [((40, 20, 128, 128), 0)]),
    "an empty image": ([((3, 4, 60, 50), 1)], []),
    "no boxes": ([], []),
}


def losses_and_gradients(layer: paddle.nn.Layer, run: Callable) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The losses that ``run(layer)`` returns, and the gradients of the parameters for ``loss``, or else their sum."""
    layer.train()
    layer.clear_gradients()
    losses = run(layer)
    (losses["loss"] if "loss" in losses else paddle.add_n([loss.sum() for loss in losses.values()])).backward()
    gradients = {name: one.grad for name, one in layer.named_parameters() if not one.stop_gradient}
    return (
        {name: float(loss) for name, loss in losses.items()},
        {name: None if grad is None else grad.numpy() for name, grad in gradients.items()},
    )


def assert_same(stock: paddle.nn.Layer, ours: paddle.nn.Layer, run: Callable) -> None:
    """Equal losses and gradients; a parameter that has no gradient in ppdet may have one of zeros."""
    expected, expected_gradients = losses_and_gradients(stock, run)
    losses, gradients = losses_and_gradients(ours, run)
    assert list(losses) == list(expected)
    np.testing.assert_allclose(list(losses.values()), list(expected.values()), rtol=1e-4)
    # Before a normalisation a gradient is a sum that cancels.
    atol = 1e-6 * max(np.abs(gradient).max() for gradient in expected_gradients.values() if gradient is not None)
    for name, gradient in expected_gradients.items():
        if gradient is None:
            assert gradients[name] is None or not gradients[name].any(), name
            continue
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-4, atol=atol, err_msg=name)


def assert_finite(ours: paddle.nn.Layer, run: Callable, unused: str | None = None) -> None:
    """Finite losses, and a finite gradient for every parameter but those with ``unused`` in their names."""
    losses, gradients = losses_and_gradients(ours, run)
    assert np.isfinite(list(losses.values())).all(), losses
    for name, gradient in gradients.items():
        if unused and unused in name:
            continue
        assert gradient is not None, name
        assert np.isfinite(gradient).all(), name


def skip_if_it_fails(run: Callable) -> None:
    """Skip the test where PaddleDetection's own code does not run: older releases mix types that Paddle 3 does not."""
    try:
        run()
    except TypeError as error:
        pytest.skip(f"ppdet itself fails: {' '.join(str(error).split())[:80]}")
