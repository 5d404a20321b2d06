"""What focal loss does to a model: distributions against sorted samples, losses against the definition."""

from __future__ import annotations

import json

import cv2
import numpy as np
import oracle
import paddle
import pytest

pytest.importorskip("ppdet")

import two_ranks
from test_tools import run_tool
from two_ranks import CLASSES, create_head

from paddle_focal.detection.loss_analysis import GAMMAS, LossAnalysis
from paddle_focal.detection.loss_distribution import LossHistogram

pytestmark = pytest.mark.usefixtures("workspace_copy")


class TestLossHistogram:
    def test_equal_samples_share_equally(self):
        histogram = LossHistogram()
        histogram.add(np.full(50, 0.3))
        histogram.add(np.full((5, 10), 0.3))
        assert (histogram.count, histogram.total) == (100, pytest.approx(30))
        assert histogram.share_of_hardest(0.01) == pytest.approx(0.01)

    def test_one_sample_has_nearly_all(self):
        histogram = LossHistogram()
        histogram.add(np.append(np.full(99, 1e-3), 9.9))
        # 99 samples of 0.001 and one of 9.9: the hardest 1 % carry 9.9 / 9.999.
        assert histogram.share_of_hardest(0.01) == pytest.approx(9.9 / 9.999)
        fractions, shares = histogram.cumulative()
        np.testing.assert_allclose(fractions, [0, 0.99, 1])
        np.testing.assert_allclose(shares, [0, 0.099 / 9.999, 1])

    def test_against_sorted_samples(self, rng):
        losses = np.exp(rng.normal(scale=4, size=20000))
        histogram = LossHistogram()
        histogram.add(losses)
        ordered = np.sort(losses)
        for fraction in (0.5, 0.1, 0.01):
            exact = ordered[round(len(losses) * (1 - fraction)) :].sum() / losses.sum()
            assert histogram.share_of_hardest(fraction) == pytest.approx(exact, abs=2e-3)

    def test_without_any_loss(self):
        histogram = LossHistogram()
        histogram.add(np.zeros(3))
        with pytest.raises(ValueError, match="nobody has a share"):
            histogram.cumulative()


class Detector(paddle.nn.Layer):
    """The parts of ppdet's RetinaNet: backbone, neck and head."""

    def __init__(self):
        super().__init__()
        self.backbone = lambda batch: batch["image"]
        self.levels = two_ranks.SmallRetinaNet(create_head("FocalRetinaHead")).levels
        self.neck = lambda image: [level(image) for level in self.levels]
        self.head = create_head("FocalRetinaHead", prior_prob=0.2)


class TestLossAnalysis:
    def test_losses_of_every_anchor(self):
        model = Detector()
        model.eval()
        analysis = LossAnalysis(model)
        (batch,) = two_ranks.images([3])
        analysis.add({**batch, "im_id": paddle.to_tensor([[4]])})
        # Independently: ppdet's anchors in ppdet's order, its assigner, and the definition.
        outputs = model.head(model.neck(batch["image"]))[0]
        anchors = paddle.concat(model.head.anchor_generator(outputs))
        match, kind = model.head.bbox_assigner(anchors, batch["gt_bbox"][0])
        logits = [level.transpose([0, 2, 3, 1]).reshape([-1, CLASSES]).numpy() for level in outputs]
        logits, kind = np.concatenate(logits), kind.numpy()
        label = np.where(kind == 1, batch["gt_class"][0].numpy().ravel()[match.numpy()], CLASSES)
        target = np.eye(CLASSES + 1)[label][:, :CLASSES]
        assert (analysis.foreground[2.0].count, analysis.background[2.0].count, analysis.ignored) == (
            (kind == 1).sum(),
            (kind == 0).sum(),
            (kind == -1).sum(),
        )
        chosen = np.flatnonzero(kind == 1)
        for gamma in (0.0, 2.0):
            truth = oracle.loss_and_gradient(logits[chosen], target[chosen], 0.25, gamma)[0]
            assert analysis.foreground[gamma].total == pytest.approx(truth.sum(), rel=1e-5)
        np.testing.assert_array_equal(analysis.foreground_anchors, np.bincount(label[chosen], minlength=CLASSES))
        assert set(analysis.foreground) == set(GAMMAS)

    def test_images_with_the_highest_loss_come_first(self):
        model = Detector()
        model.eval()
        analysis = LossAnalysis(model)
        for i, image in enumerate(two_ranks.images([2, 1, 4])):
            analysis.add({**image, "im_id": paddle.to_tensor([[i]])})
        losses = [image["loss"] for image in analysis.hardest_images()]
        assert losses == sorted(losses, reverse=True)
        assert sorted(image["image_id"] for image in analysis.hardest_images()) == [0, 1, 2]
        for image in analysis.images:
            assert image["loss"] == pytest.approx(image["loss_cls"] + image["loss_reg"], rel=1e-6)

    def test_another_head(self):
        with pytest.raises(ValueError, match=r"must be a RetinaNet .* but got Linear with no head"):
            LossAnalysis(paddle.nn.Linear(2, 2))


@pytest.mark.slow
def test_the_tool(tmp_path, digits):
    settings = ("epoch=1", "snapshot_epoch=1")
    run_tool("train", tmp_path, digits, *settings, flags=("--skip_final_eval",))
    folder = tmp_path / "retinanet_r18_fpn_digits"
    result = run_tool("analyze", tmp_path, digits, f"weights={folder / 'model_final'}", flags=("--images", "15"))
    analysis = json.loads((folder / "analysis.json").read_text())
    assert len(analysis["images"]) == 15
    for row in analysis["gammas"]:
        assert row["foreground_share"] + row["background_share"] == pytest.approx(1)
    shares = [row["background_hardest_share"] for row in analysis["gammas"]]
    assert shares == sorted(shares)  # the greater gamma, the more of the loss is with the hardest
    for name in ("loss_distribution.png", "hardest_images.png"):
        assert cv2.imread(str(folder / name)).std() > 5
    assert "15 images; anchors:" in result.stdout
