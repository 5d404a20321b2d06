"""The loss stage of FocalRetinaHead as it is on a GPU, whose box loss takes all anchors."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

import two_ranks
from surroundings import on_another_device
from two_ranks import STRIDES, create_head, head_outputs

from paddle_focal.detection.heads import retina_head
from paddle_focal.ops import devices

pytestmark = pytest.mark.usefixtures("workspace_copy")


@pytest.fixture
def all_anchors(monkeypatch):
    monkeypatch.setattr(retina_head, "kind", lambda tensor: "gpu")


def losses_and_gradients(head, outputs, targets) -> tuple[dict[str, float], list[np.ndarray]]:
    leaves = [*outputs[0], *outputs[1]]
    losses = head.get_loss(outputs, targets)
    gradients = paddle.grad([losses["loss"]], leaves)
    return {name: float(loss) for name, loss in losses.items()}, [g.astype("float64").numpy() for g in gradients]


@pytest.mark.parametrize("delta", [np.inf, -np.inf, 3e38])
def test_a_delta_of_background_does_not_matter(all_anchors, rng, delta):
    head, outputs = create_head("FocalRetinaHead"), head_outputs(rng, 2)
    targets = two_ranks.batch(two_ranks.images([3, 2]))
    expected = losses_and_gradients(head, outputs, targets)
    background = [np.argwhere(gradient == 0)[-1] for gradient in expected[1][len(STRIDES) :]]
    for tensor, place in zip(outputs[1], background):
        values = tensor.numpy()
        values[tuple(place)] = delta
        tensor.set_value(values)
    actual = losses_and_gradients(head, outputs, targets)
    assert actual[0] == expected[0]
    for one, other in zip(actual[1], expected[1]):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_out_of_reach_of_auto_cast(all_anchors, rng, dtype):
    """With logits of up to 60, whose losses add up to more than float16 can tell, and another current device."""
    outputs = head_outputs(rng, 2)
    for i, tensor in enumerate(outputs[0]):
        outputs[0][i] = paddle.to_tensor((tensor.numpy() * 40).clip(-60, 60), stop_gradient=False)
    targets = two_ranks.batch(two_ranks.images([3, 2]))
    expected = losses_and_gradients(create_head("FocalRetinaHead", normalizer="ema"), outputs, targets)
    assert expected[0]["loss_cls"] * 100 > 65504
    cast = [[paddle.to_tensor(one.numpy().astype(dtype), stop_gradient=False) for one in kind] for kind in outputs]
    head = create_head("FocalRetinaHead", normalizer="ema")
    with on_another_device():
        actual = losses_and_gradients(head, cast, targets)
    for name, loss in expected[0].items():
        assert actual[0][name] == pytest.approx(loss, rel=2e-3 if dtype == "float16" else 1e-6)
    for one, other in zip(actual[1], expected[1]):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(
            one, other, rtol=0.02 if dtype == "float16" else 1e-6, atol=2e-3 * np.abs(other).max()
        )


def test_boxes_on_another_device_are_copied(all_anchors, rng, monkeypatch):
    head, outputs = create_head("FocalRetinaHead"), head_outputs(rng, 2)
    targets = two_ranks.batch(two_ranks.images([3, 2]))
    expected = losses_and_gradients(head, outputs, targets)
    apart = {tensor.data_ptr() for tensor in (*targets["gt_bbox"], *targets["gt_class"])}
    copied, copy = [], paddle.Tensor._copy_to
    monkeypatch.setattr(devices, "_is_cpu_only", lambda: False)
    monkeypatch.setattr(devices, "name", lambda tensor: "gpu:0" if tensor.data_ptr() in apart else "cpu")
    monkeypatch.setattr(
        paddle.Tensor, "_copy_to", lambda *arguments: copied.append(arguments[0].data_ptr()) or copy(*arguments)
    )
    assert losses_and_gradients(head, outputs, targets)[0] == expected[0]
    assert set(copied) == apart
