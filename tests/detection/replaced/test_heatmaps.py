"""The heads and losses of heatmaps compared with PaddleDetection's."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from replaced_components import CHANNELS, CLASSES, assert_finite, assert_same, create_pair, skip_if_it_fails

pytestmark = pytest.mark.usefixtures("workspace_copy")
SIDE, MOST = 8, 4


def heatmaps(rng, peaks: bool = True) -> paddle.Tensor:
    heatmap = rng.uniform(0, 0.9, [2, CLASSES, SIDE, SIDE]).astype("float32")
    if peaks:
        heatmap[0, 1, 2, 3] = heatmap[0, 4, 5, 5] = heatmap[1, 0, 0, 7] = 1
    return paddle.to_tensor(heatmap)


def features(rng) -> paddle.Tensor:
    return paddle.to_tensor(rng.normal(size=[2, CHANNELS, SIDE, SIDE]).astype("float32"))


class TestCenterNet:
    def create(self, **keys):
        return create_pair("CenterNetHead", strides=(4,), head_planes=4, **keys)

    def batch(self, rng, peaks=True) -> dict:
        mask = np.zeros([2, MOST], "int32")
        mask[:, : 2 * peaks] = 1
        return {
            "heatmap": heatmaps(rng, peaks),
            "index": paddle.to_tensor(rng.integers(0, SIDE * SIDE, [2, MOST])),
            "index_mask": paddle.to_tensor(mask),
            "size": paddle.to_tensor(rng.uniform(1, 5, [2, MOST, 4]).astype("float32")),
            "offset": paddle.to_tensor(rng.uniform(0, 1, [2, MOST, 2]).astype("float32")),
        }

    @pytest.mark.parametrize("peaks", [True, False])
    def test_same_as_ppdet(self, rng, peaks):
        stock, ours = self.create()
        batch, feature = self.batch(rng, peaks), features(rng)
        run = lambda head: {k: v for k, v in head(feature, batch).items() if k != "det_loss"}  # noqa: E731
        assert_same(stock, ours, run)
        assert_finite(ours, run)

    def test_predictions(self, rng):
        stock, ours = self.create()
        stock.eval(), ours.eval()
        feature = features(rng)
        for name, value in stock(feature, None).items():
            np.testing.assert_array_equal(ours(feature, None)[name].numpy(), value.numpy())

    def test_it_can_be_traced(self, rng):
        """As for an export."""
        ours = self.create()[1]
        ours.eval()
        feature = features(rng)
        traced = paddle.jit.to_static(ours, full_graph=True)
        with paddle.no_grad():
            np.testing.assert_allclose(traced(feature, None)["size"].numpy(), ours.size(feature).numpy(), rtol=1e-5)

    def test_gradients_of_large_logits(self, rng):
        stock, ours = self.create()
        batch, feature = self.batch(rng), features(rng)
        biases = []
        for head in (stock, ours):
            head.train()
            last = head.heatmap[2].conv
            last.weight.set_value(paddle.zeros_like(last.weight))
            last.bias.set_value(paddle.full_like(last.bias, 20))
            head(feature, batch)["heatmap_loss"].backward()
            biases.append(last.bias.grad.numpy())
        np.testing.assert_array_equal(biases[0], 0)
        background = ((1 - batch["heatmap"]) ** 4).sum([0, 2, 3]) / 3  # (1 - heatmap)^4 a logit, of 3 peaks
        np.testing.assert_allclose(biases[1], background.numpy(), rtol=1e-4)

    def test_own_key(self):
        assert self.create(own={"gamma": 1.5})[1].focal.gamma == 1.5


@pytest.mark.parametrize("peaks", [True, False])
@pytest.mark.parametrize("gamma", [2.0, 1.5])
def test_ct_focal_loss(rng, gamma, peaks):
    stock, ours = create_pair("CTFocalLoss", gamma=gamma, loss_weight=0.5)
    found = []
    logit, heatmap = rng.normal(size=[2, CLASSES, SIDE, SIDE]).astype("float32"), heatmaps(rng, peaks)
    for loss in (stock, ours):
        prob = paddle.to_tensor(1 / (1 + np.exp(-logit)), stop_gradient=False)
        value = loss(prob, heatmap)
        value.backward()
        found += [(float(value), prob.grad.numpy())]
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-5)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-4, atol=1e-6)


class TestTTF:
    def losses(self, head, logit, heatmap, rng):
        logit = paddle.to_tensor(logit, stop_gradient=False)
        sizes = paddle.to_tensor(rng.uniform(1, 9, [2, 4, SIDE, SIDE]).astype("float32"))
        boxes = paddle.to_tensor(np.tile(np.float32([0, 0, 20, 20]).reshape(1, 4, 1, 1), [2, 1, SIDE, SIDE]))
        weight = paddle.to_tensor(rng.uniform(0, 1, [2, 1, SIDE, SIDE]).astype("float32"))
        skip_if_it_fails(lambda: head.get_loss(logit, sizes, heatmap, boxes, weight))
        losses = head.get_loss(logit, sizes, heatmap, boxes, weight)
        losses["hm_loss"].backward()
        return {name: float(loss.sum()) for name, loss in losses.items()}, logit.grad.numpy()

    @pytest.mark.parametrize("replaced", [[], ["CTFocalLoss"]])
    def test_same_as_ppdet(self, rng, replaced):
        pair = create_pair("TTFHead", strides=(4,), replaced=replaced, hm_head_planes=4, wh_head_planes=4)
        logit, heatmap = rng.normal(size=[2, CLASSES, SIDE, SIDE]).astype("float32") * 2, heatmaps(rng)
        stock, ours = (self.losses(head, logit, heatmap, np.random.default_rng(1)) for head in pair)
        assert ours[0] == pytest.approx(stock[0], rel=1e-5)
        np.testing.assert_allclose(ours[1], stock[1], rtol=1e-4, atol=1e-7)

    def test_gradients_of_large_logits(self, rng):
        pair = create_pair("TTFHead", strides=(4,), hm_head_planes=4, wh_head_planes=4)
        logit, heatmap = np.full([2, CLASSES, SIDE, SIDE], 20, "float32"), heatmaps(rng)
        stock, ours = (self.losses(head, logit, heatmap, rng)[1] for head in pair)
        assert not stock.any()
        np.testing.assert_allclose(ours, (1 - heatmap.numpy()) ** 4 / 3, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("content", ["peaks", "no peaks", "nothing"])
def test_center_focal_loss(rng, content, is_masked):
    stock, ours = create_pair("CenterFocalLoss", loss_weight=0.5)
    heatmap = heatmaps(rng, content == "peaks") * (content != "nothing")
    mask = paddle.to_tensor(rng.integers(0, 2, heatmap.shape).astype("float32")) if is_masked else None
    prob = paddle.to_tensor(rng.uniform(0.1, 0.9, heatmap.shape).astype("float32"))
    expected = float(stock(prob, heatmap, mask=mask))
    assert float(ours(prob, heatmap, mask=mask)) == pytest.approx(expected, rel=1e-5)
