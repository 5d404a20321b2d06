"""The losses and the matcher of detectors with queries compared with PaddleDetection's."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from scipy.optimize import linear_sum_assignment

pytest.importorskip("ppdet")

from ppdet.core import workspace
from replaced_components import CLASSES, create_pair

pytestmark = pytest.mark.usefixtures("workspace_copy")
LAYERS, IMAGES, QUERIES, GROUPS, SIDE = 3, 2, 6, 2, 8
#: The classes of the boxes of each image.
IMAGES_WITH = {"boxes": ([1, 4], [0]), "an empty image": ([3], []), "no boxes": ([], [])}
COEFFICIENTS = {"class": 2, "bbox": 5, "giou": 2, "mask": 5, "dice": 5, "no_object": 0.1}


def create(name="DINOLoss", own=None, **keys):
    """Losses that share a matcher. Each gets coefficients of its own: PaddleDetection changes those that it gets."""
    keys = {"use_focal_loss": True, **keys}
    if name not in workspace.global_config or not set(keys) <= set(workspace.global_config[name].schema):
        pytest.skip(f"this ppdet has no {name} with {', '.join(keys)}")
    workspace.global_config["use_focal_loss"] = keys["use_focal_loss"]
    stock, ours = create_pair(
        name, loss_coeff=dict(COEFFICIENTS), own={**(own or {}), "loss_coeff": dict(COEFFICIENTS)}, **keys
    )
    ours.matcher = stock.matcher
    return stock, ours


def batch_of(rng, classes, with_masks=False):
    """Targets, and predictions of all layers for the queries and for those of denoising, as arrays."""
    boxes = lambda *shape: rng.uniform(0.2, 0.6, [*shape, 4]).astype("float32")  # noqa: E731
    most = max(len(image) for image in classes)
    targets = {
        "gt_bbox": [paddle.to_tensor(boxes(len(image)).reshape([-1, 4])) for image in classes],
        "gt_class": [paddle.to_tensor(np.array(image, "int64").reshape([-1, 1])) for image in classes],
    }
    predicted = {
        "boxes": boxes(LAYERS, IMAGES, QUERIES),
        "logits": rng.normal(size=[LAYERS, IMAGES, QUERIES, CLASSES]).astype("float32") * 2,
    }
    if most:
        places = 2 * most * GROUPS  # of noisy boxes, and of others that are background
        predicted["dn_out_bboxes"] = boxes(LAYERS, IMAGES, places)
        predicted["dn_out_logits"] = rng.normal(size=[LAYERS, IMAGES, places, CLASSES]).astype("float32")
        positives = [[2 * most * group + i for group in range(GROUPS) for i in range(len(image))] for image in classes]
        indices = [paddle.to_tensor(np.array(image, "int64")) for image in positives]
        targets["dn_meta"] = {"dn_positive_idx": indices, "dn_num_group": GROUPS}
    if with_masks:
        masks = [rng.integers(0, 2, [len(image), SIDE, SIDE]).astype("float32") for image in classes]
        targets["gt_mask"] = [paddle.to_tensor(mask) for mask in masks]
        predicted["masks"] = rng.normal(size=[LAYERS, IMAGES, QUERIES, SIDE, SIDE]).astype("float32")
        if most:
            predicted["dn_out_masks"] = rng.normal(size=[LAYERS, IMAGES, places, SIDE, SIDE]).astype("float32")
    return targets, predicted


def losses_and_gradients(loss, targets, predicted):
    paddle.seed(0)
    tensors = {name: paddle.to_tensor(array, stop_gradient=False) for name, array in predicted.items()}
    found = loss(**tensors, **targets)
    paddle.add_n(list(found.values())).backward()
    gradients = {name: None if tensor.grad is None else tensor.grad.numpy() for name, tensor in tensors.items()}
    return {name: value.numpy() for name, value in found.items()}, gradients


def assert_same(stock, ours, targets, predicted):
    """Equal losses and gradients; all of ours are there."""
    expected, expected_gradients = losses_and_gradients(stock, targets, predicted)
    found, gradients = losses_and_gradients(ours, targets, predicted)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    for name, gradient in gradients.items():
        if name == "dn_out_bboxes" or expected_gradients[name] is not None:
            np.testing.assert_allclose(gradient, expected_gradients[name], rtol=1e-4, atol=1e-6, err_msg=name)
        else:
            assert not gradient.any(), name
    return expected_gradients


@pytest.mark.parametrize("classes", IMAGES_WITH.values(), ids=list(IMAGES_WITH))
@pytest.mark.parametrize("keys", [{}, {"use_vfl": True}, {"use_focal_loss": False}], ids=str)
def test_same_as_ppdet(rng, keys, classes):
    """Without boxes PaddleDetection's focal loss is the varifocal loss of background: 1 - 0.25 is 0.75."""
    stock, ours = create(**keys)
    targets, predicted = batch_of(rng, classes)
    if not keys.get("use_focal_loss", True):
        predicted = {
            name: np.concatenate([array, array[..., :1]], -1) if "logits" in name else array
            for name, array in predicted.items()
        }
    gradients = assert_same(stock, ours, targets, predicted)
    assert (gradients["boxes"] is None) == (not any(classes))  # a rank of its own without boxes has none in ppdet


@pytest.mark.parametrize("classes", [IMAGES_WITH["boxes"], IMAGES_WITH["no boxes"]], ids=["boxes", "no boxes"])
def test_masks(rng, classes):
    stock, ours = create("MaskDINOLoss", num_sample_points=16, use_vfl=True)
    assert_same(stock, ours, *batch_of(rng, classes, with_masks=True))


def test_masks_of_one_image_only(rng):
    """With Paddle 3 such a batch fails in PaddleDetection: it is as the image with masks alone, and background."""
    stock, ours = create("MaskDINOLoss", num_sample_points=16, use_vfl=True)
    targets, predicted = batch_of(rng, IMAGES_WITH["an empty image"], with_masks=True)
    found, gradients = losses_and_gradients(ours, targets, predicted)
    alone = {name: value[:1] for name, value in targets.items() if name != "dn_meta"}
    alone["dn_meta"] = {**targets["dn_meta"], "dn_positive_idx": targets["dn_meta"]["dn_positive_idx"][:1]}
    first = {name: array[:, :1] for name, array in predicted.items()}
    expected, expected_gradients = losses_and_gradients(stock, alone, first)
    for name, value in expected.items():
        if "class" not in name:
            np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)
    for name, gradient in expected_gradients.items():
        np.testing.assert_allclose(gradients[name][:, :1], gradient, rtol=1e-4, atol=1e-6, err_msg=name)
        assert gradients[name][:, 1:].any() == ("logits" in name), name


@pytest.mark.parametrize("detach_weight", [False, True])
def test_own_keys(rng, detach_weight):
    """The varifocal loss by its definition, of overlaps times scores, which pseudo labels have."""
    alpha = [0.1, 0.2, 0.3, 0.4, 0.5]
    ours = create(own={"alpha": alpha, "gamma": 1.5, "detach_weight": detach_weight}, use_vfl=True)[1]
    logit = rng.normal(size=[1, QUERIES, CLASSES]) * 2
    p = 1 / (1 + np.exp(-logit))
    expected = alpha * p**1.5 * -np.log1p(-p)
    gradient = alpha * p**2.5 + (0 if detach_weight else 1.5 * (1 - p) * expected)
    for query, label, score in [(4, 2, 0.7), (1, 0, 0.25)]:
        x, q = logit[0, query, label], p[0, query, label]
        expected[0, query, label] = score * (np.log1p(np.exp(x)) - score * x)
        gradient[0, query, label] = score * (q - score)

    tensor = paddle.to_tensor(logit.astype("float32"), stop_gradient=False)
    classes = [paddle.to_tensor([[2], [0]])]
    scores = paddle.to_tensor([[0.875], [0.5]]), paddle.to_tensor([[0.8], [0.5]])
    matches = [(paddle.to_tensor([4, 1]), paddle.to_tensor([0, 1]))]
    found = ours._get_loss_class(tensor, classes, matches, CLASSES, paddle.to_tensor([5.0]), "_dn", *scores)
    found["loss_class_dn"].backward()
    np.testing.assert_allclose(found["loss_class_dn"].numpy(), [2 * expected.sum() / 5], rtol=1e-5)
    np.testing.assert_allclose(tensor.grad.numpy(), 2 * gradient / 5, rtol=1e-4, atol=1e-6)


def test_gamma_of_batches_without_boxes(rng):
    """PaddleDetection turns to another loss there, whose gamma nobody sets: ours stays the varifocal loss."""
    ours = create(own={"alpha": 0.6, "gamma": 1.0}, use_vfl=True)[1]
    targets, predicted = batch_of(rng, IMAGES_WITH["no boxes"])
    p = 1 / (1 + np.exp(-predicted["logits"][-1].astype("float64")))
    found, _ = losses_and_gradients(ours, targets, predicted)
    np.testing.assert_allclose(found["loss_class"], 2 * (0.6 * p * -np.log1p(-p)).sum(), rtol=1e-5)


class TestMatcher:
    def inputs(self, rng, scale=2.0, dtype="float32"):
        targets, predicted = batch_of(rng, IMAGES_WITH["boxes"])
        logits = (predicted["logits"][0] * scale).astype(dtype)
        boxes = predicted["boxes"][0].astype(dtype)
        return paddle.to_tensor(boxes), paddle.to_tensor(logits), targets["gt_bbox"], targets["gt_class"]

    def assert_same(self, expected, found):
        for one, other in zip(expected, found):
            for indices, others in zip(one, other):
                np.testing.assert_array_equal(others.numpy(), indices.numpy())

    @pytest.mark.parametrize("use_focal_loss", [True, False])
    def test_same_as_ppdet(self, rng, use_focal_loss):
        stock, ours = create_pair("HungarianMatcher", use_focal_loss=use_focal_loss)
        for _ in range(5):
            inputs = self.inputs(rng)
            self.assert_same(stock(*inputs), ours(*inputs))

    def test_masks_without_sides(self, rng):
        """As PaddleDetection's reader leaves those of an image without boxes."""
        keys = {"use_focal_loss": True, "with_mask": True, "num_sample_points": 16}
        if not set(keys) <= set(workspace.global_config["HungarianMatcher"].schema):
            pytest.skip("no masks in ppdet's matcher")
        stock, ours = create_pair("HungarianMatcher", **keys)
        boxes, masks = paddle.rand([2, 6, 4]) * 0.5, paddle.randn([2, 6, 8, 8])
        classes = [paddle.zeros([count, 1], "int64") for count in (2, 0)]
        inputs = boxes, paddle.randn([2, 6, CLASSES]), [boxes[0, :2], boxes[0, :0]], classes
        found = []
        for matcher, sides in ((stock, [0, 8, 8]), (ours, [0])):
            paddle.seed(3)
            found.append(matcher(*inputs, masks=masks, gt_mask=[paddle.ones([2, 8, 8]), paddle.zeros(sides)]))
        self.assert_same(*found)

    def test_half_precision(self, rng):
        """In float16, which Paddle multiplies on GPUs only, the cost of a sure prediction is infinite in ppdet."""
        stock, ours = create_pair("HungarianMatcher", use_focal_loss=True)
        boxes, logits, *targets = self.inputs(rng, scale=20.0, dtype="float16")
        with np.errstate(divide="ignore", over="ignore"):
            prob = 1 / (1 + np.exp(-logits.numpy()))
            cost = np.float16(0.75) * prob**2 * -np.log(1 - prob + np.float16(1e-8))
        with pytest.raises(ValueError, match="matrix contains invalid numeric entries"):
            linear_sum_assignment(-cost[0])
        expected = stock(boxes.astype("float32"), logits.astype("float32"), *targets)
        self.assert_same(expected, ours(boxes, logits, *targets))
