from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from ppdet.core import workspace
from ppdet.modeling.heads import RetinaHead
from ppdet.modeling.losses import FocalLoss

import paddle_focal
from paddle_focal import __version__
from paddle_focal.detection import SigmoidFocalLoss, register

pytestmark = pytest.mark.usefixtures("workspace_copy")
ROOT = Path(__file__).resolve().parents[2]
PLUGIN_LINE = "paddle_focal: !!python/object/apply:paddle_focal.detection.register []\n"


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        timeout=300,
    )


ASSIGNER = {
    "RetinaHead": {"name": "MaxIoUAssigner", "positive_overlap": 0.5, "negative_overlap": 0.4},
    "YOLOFHead": {"name": "UniformAssigner", "pos_ignore_thr": 0.15, "neg_ignore_thr": 0.7, "match_times": 4},
}


def create_head(name: str, loss: dict, **sections) -> paddle.nn.Layer:
    register()
    head = {"loss_class": loss, "bbox_assigner": ASSIGNER[name], **sections}
    workspace.merge_config({"num_classes": 3, name: head})
    return workspace.create(name)


class TestRegistration:
    def test_returns_the_version_and_can_be_repeated(self):
        assert register() == __version__
        assert register() == __version__
        loss = workspace.create("SigmoidFocalLoss")
        assert isinstance(loss, SigmoidFocalLoss)
        assert isinstance(loss, paddle_focal.SigmoidFocalLoss)

    def test_keeps_a_section_that_was_merged_before(self, workspace_copy):
        workspace_copy.pop("SigmoidFocalLoss", None)
        workspace.merge_config({"SigmoidFocalLoss": {"gamma": 1.25}})
        register()
        assert workspace.create("SigmoidFocalLoss").gamma == 1.25

    def test_one_line_of_yaml_loads_the_plugin(self, tmp_path):
        (tmp_path / "base.yml").write_text(
            "RetinaHead:\n"
            "  bbox_assigner: {name: MaxIoUAssigner, positive_overlap: 0.5, negative_overlap: 0.4}\n"
            "  loss_class: {name: FocalLoss, gamma: 1.5, alpha: 0.3, loss_weight: 2.0}\n"
        )
        (tmp_path / "top.yml").write_text(
            PLUGIN_LINE + "_BASE_: [base.yml]\nRetinaHead:\n  loss_class: {name: SigmoidFocalLoss}\n"
        )
        result = run_python(
            "from ppdet.core.workspace import create, load_config\n"
            f"config = load_config({str(tmp_path / 'top.yml')!r})\n"
            "loss = create('RetinaHead').loss_class\n"
            "print(config.paddle_focal, type(loss).__module__, loss.gamma, loss.alpha, loss.loss_weight)"
        )
        assert f"{__version__} paddle_focal.detection.losses 1.5 0.3 2.0" in result.stdout, result.stderr

    def test_unknown_key_names_the_known_ones(self):
        with pytest.raises(ValueError, match="no key 'gama'; did you mean 'gamma'\\? Its keys are use_sigmoid, alpha"):
            create_head("RetinaHead", {"name": "SigmoidFocalLoss", "gama": 2.0})

    def test_unknown_key_of_the_softmax(self):
        register()
        workspace.merge_config({"SoftmaxFocalLoss": {"gama": 2.0}})
        with pytest.raises(ValueError, match="SoftmaxFocalLoss has no key 'gama'; did you mean 'gamma'"):
            workspace.create("SoftmaxFocalLoss")

    def test_bad_value_is_refused(self):
        with pytest.raises(ValueError, match="gamma must be a finite number >= 0, but got -1"):
            create_head("RetinaHead", {"name": "SigmoidFocalLoss", "gamma": -1})

    @pytest.mark.parametrize("head", ["RetinaHead", "YOLOFHead"])
    def test_dividing_twice_is_refused(self, head):
        with pytest.raises(ValueError, match=f"but {head} itself divides .* Remove normalizer"):
            create_head(head, {"name": "SigmoidFocalLoss", "normalizer": "foreground"})

    def test_dividing_twice_is_refused_under_a_derived_head(self):
        class DerivedHead(RetinaHead):
            pass

        sys.modules[__name__].DerivedHead = DerivedHead
        workspace.register(DerivedHead)
        ASSIGNER["DerivedHead"] = ASSIGNER["RetinaHead"]
        with pytest.raises(ValueError, match="but DerivedHead itself divides"):
            create_head("DerivedHead", {"name": "SigmoidFocalLoss", "normalizer": "foreground"})

    def test_a_head_with_another_loss_does_not_matter(self):
        assert isinstance(create_head("RetinaHead", {"name": "FocalLoss"}).loss_class, FocalLoss)
        workspace.merge_config({"SigmoidFocalLoss": {"normalizer": "foreground"}})
        assert workspace.create("SigmoidFocalLoss").normalizer == "foreground"

    def test_a_normalizer_of_its_own_is_fine_elsewhere(self):
        register()
        workspace.merge_config({"SigmoidFocalLoss": {"normalizer": "foreground"}})
        assert workspace.create("SigmoidFocalLoss").normalizer == "foreground"


class TestWithoutPpdet:
    BLOCK = "import sys; sys.modules['ppdet'] = None\n"

    def test_the_loss_works(self):
        code = "import paddle_focal; print(paddle_focal.SigmoidFocalLoss(gamma=1.5))"
        result = run_python(self.BLOCK + code)
        assert "gamma=1.5" in result.stdout, result.stderr

    def test_detection_says_what_is_missing(self):
        result = run_python(self.BLOCK + "import paddle_focal.detection")
        assert "ImportError: paddle_focal.detection needs PaddleDetection (ppdet)" in result.stderr
        assert "pip install --no-deps paddledet==2.6.0" in result.stderr


class TestSameNumbersAsPpdet:
    # ppdet's own float32 elements are off by up to 4e-8 where the loss is small.
    @pytest.mark.parametrize(("dtype", "rtol", "atol"), [("float32", 1e-5, 1e-7), ("float64", 1e-9, 0)])
    @pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
    @pytest.mark.parametrize("arguments", [{}, {"alpha": 0.4, "gamma": 1.5, "loss_weight": 2.0}, {"gamma": 0.0}])
    def test_focal_loss(self, rng, reduction, arguments, dtype, rtol, atol):
        logit = rng.normal(size=(400, 7)).astype(dtype) * 2
        target = paddle.to_tensor(rng.integers(0, 8, 400))
        results = []
        for loss in (FocalLoss(**arguments), SigmoidFocalLoss(**arguments)):
            pred = paddle.to_tensor(logit, stop_gradient=False)
            value = loss(pred, target, reduction=reduction)
            value.sum().backward()
            results.append((value.numpy(), pred.grad.numpy()))
        for actual, expected in zip(results[1], results[0]):
            np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)

    def targets(self, rng) -> dict:
        corner, size = rng.uniform(0, 60, (2, 4, 2)), rng.uniform(20, 60, (2, 4, 2))
        boxes = np.concatenate([corner, corner + size], axis=-1).astype("float32")
        return {
            "gt_bbox": [paddle.to_tensor(image) for image in boxes],
            "gt_class": [paddle.to_tensor(labels) for labels in rng.integers(0, 3, (2, 4, 1)).astype("int32")],
            "im_shape": paddle.to_tensor([[128.0, 128.0]] * 2),
        }

    def head_losses(self, create, features, targets) -> list[tuple]:
        """Loss and the gradient of the last classification bias, with ppdet's loss and with ours."""
        results, state = [], None
        for name in ("FocalLoss", "SigmoidFocalLoss"):
            head = create(name)
            state = state or head.state_dict()
            head.set_state_dict(state)
            losses = head(features, targets)
            losses["loss"].backward()
            bias = next(p for n, p in head.named_parameters() if n in ("retina_cls.bias", "cls_score.bias"))
            results.append((float(losses["loss_cls"]), bias.grad.numpy()))
        return results

    def test_retina_head(self, rng):
        features = [paddle.to_tensor(rng.normal(size=(2, 8, n, n)).astype("float32")) for n in (16, 8, 4)]
        sections = {
            "conv_feat": {"name": "RetinaFeat", "feat_in": 8, "feat_out": 8, "num_convs": 1, "norm_type": None},
            "anchor_generator": {
                "name": "RetinaAnchorGenerator",
                "octave_base_scale": 4,
                "scales_per_octave": 3,
                "aspect_ratios": [0.5, 1.0, 2.0],
                "strides": [8.0, 16.0, 32.0],
            },
            "loss_bbox": {"name": "SmoothL1Loss", "beta": 0.0, "loss_weight": 1.0},
            "nms": None,
        }
        stock, ours = self.head_losses(
            lambda name: create_head("RetinaHead", {"name": name}, **sections), features, self.targets(rng)
        )
        assert ours[0] == pytest.approx(stock[0], rel=1e-5)
        np.testing.assert_allclose(ours[1], stock[1], rtol=1e-4, atol=1e-8)

    def test_yolof_head(self, rng):
        # Two boxes may get the same anchor, and which of the threads wins is left to chance by Paddle 2.6.
        paddle.base.core.set_num_threads(1)
        features = [paddle.to_tensor(rng.normal(size=(2, 8, 4, 4)).astype("float32"))]
        sections = {
            "conv_feat": {
                "name": "YOLOFFeat",
                "feat_in": 8,
                "feat_out": 8,
                "num_cls_convs": 1,
                "num_reg_convs": 1,
                "norm_type": "bn",
            },
            "anchor_generator": {
                "name": "AnchorGenerator",
                "anchor_sizes": [[32, 64]],
                "aspect_ratios": [1.0],
                "strides": [32],
            },
            "nms": None,
        }
        stock, ours = self.head_losses(
            lambda name: create_head("YOLOFHead", {"name": name}, **sections), features, self.targets(rng)
        )
        assert ours[0] == pytest.approx(stock[0], rel=1e-5)
        np.testing.assert_allclose(ours[1], stock[1], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yml")), ids=lambda path: path.stem)
def test_configs_build_a_model_with_the_plugin(path):
    if path.stem.startswith("rtdetr") and "RTDETRTransformer" not in workspace.global_config:
        pytest.skip("no RT-DETR in ppdet")
    config = workspace.load_config(str(path))
    model = workspace.create(config.architecture)
    for section in ("TrainReader", "EvalReader", "TestReader", "LearningRate", "OptimizerBuilder"):
        workspace.create(section)
    assert any(isinstance(layer, paddle_focal.losses.base.FocalLoss) for layer in model.sublayers())
    assert config.weights == f"output/{path.stem}/model_final"
    if config.architecture in ("RetinaNet", "YOLOF"):
        last = model.head.cls_score if config.architecture == "YOLOF" else model.head.retina_cls
        assert float(last.bias.mean()) == pytest.approx(-math.log(99), rel=1e-6)
        assert type(model.head.loss_class).__module__ == "paddle_focal.detection.losses"
    if config.architecture == "RetinaNet":
        assert type(model.head).__name__ == "FocalRetinaHead"
