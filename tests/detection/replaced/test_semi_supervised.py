"""The losses of a student compared with PaddleDetection's."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from replaced_components import CLASSES, create_pair

pytestmark = pytest.mark.usefixtures("workspace_copy")
CONTRAST = {"ratio": 0.2, "curr_iter": 1, "st_iter": 0, "contrast_loss": {}}


def results(loss, outputs, others, config):
    """The loss of classes and its gradient by the student's first outputs."""
    first = [paddle.to_tensor(one, stop_gradient=False) for one in outputs]
    student = [first if len(first) > 1 else first[0], *others]
    teacher = [[one.detach() * 0.9 for one in first] if len(first) > 1 else first[0].detach() * 0.9, *others]
    value = loss(student, teacher, config)["distill_loss_cls"]
    value.backward()
    return float(value), [one.grad.numpy() for one in first]


def assert_same(stock, ours):
    assert ours[0] == pytest.approx(stock[0], rel=1e-4)
    for one, other in zip(ours[1], stock[1]):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)


def test_fcos(rng):
    stock, ours = create_pair("SSODFCOSLoss")
    logits = [rng.normal(size=[2, CLASSES, side, side]).astype("float32") for side in (8, 4)]
    others = [
        [paddle.to_tensor(rng.uniform(1, 3, [2, n, side, side]).astype("float32")) for side in (8, 4)] for n in (4, 1)
    ]
    found = (results(loss, logits, others, {"ratio": 0.2}) for loss in (stock, ours))
    assert_same(*found)


def test_ppyoloe(rng):
    stock, ours = create_pair("SSODPPYOLOELoss")
    prob = [rng.uniform(0.01, 0.99, [2, 40, CLASSES]).astype("float32")]
    others = [paddle.to_tensor(rng.uniform(1, 3, [2, 40, 4]).astype("float32"))]
    others.append(paddle.nn.functional.softmax(paddle.to_tensor(rng.normal(size=[2, 40, 4, 9]).astype("float32"))))
    found = (results(loss, prob, others, CONTRAST) for loss in (stock, ours))
    assert_same(*found)


def test_own_keys():
    focal = create_pair("SSODFCOSLoss", own={"alpha": 0.25, "gamma": 1.5})[1].focal
    assert (focal.alpha, focal.gamma) == (0.25, 1.5)
