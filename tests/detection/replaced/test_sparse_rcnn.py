"""The losses of Sparse R-CNN and QueryInst compared with PaddleDetection's."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from replaced_components import CLASSES, create_pair, skip_if_it_fails

pytestmark = pytest.mark.usefixtures("workspace_copy")
QUERIES = 6
IMAGES_WITH = {"boxes": ([1, 4], [0]), "an empty image": ([3], [])}
#: The keys of Sparse R-CNN that have no default.
SPARSE = {"losses": ["labels", "boxes"], "focal_loss_alpha": 0.3, "focal_loss_gamma": 1.5}


def corners(rng, *shape) -> np.ndarray:
    low = rng.uniform(0, 50, [*shape, 2])
    return np.concatenate([low, low + rng.uniform(5, 40, [*shape, 2])], -1).astype("float32")


def targets_of(rng, classes) -> list[dict]:
    size = np.full(4, 100, "float32")
    return [
        {
            "boxes": paddle.to_tensor(corners(rng, len(image))),
            "labels": paddle.to_tensor(np.array(image, "int32")),
            "img_whwh": paddle.to_tensor(size),
            "img_whwh_tgt": paddle.to_tensor(np.tile(size, [len(image), 1])),
        }
        for image in classes
    ]


def predictions(rng) -> dict[str, np.ndarray]:
    logits = lambda: rng.normal(size=[2, QUERIES, CLASSES]).astype("float32") * 2  # noqa: E731
    boxes = lambda: corners(rng, 2, QUERIES)  # noqa: E731
    return {"logits": logits(), "boxes": boxes(), "other_logits": logits(), "other_boxes": boxes()}


def losses_and_gradients(loss, predicted, targets):
    """All losses of both stages, and the gradients for their sum; the accuracy has none."""
    tensors = {name: paddle.to_tensor(array, stop_gradient=False) for name, array in predicted.items()}
    last, other = (
        {"pred_logits": tensors[name + "logits"], "pred_boxes": tensors[name + "boxes"]} for name in ("", "other_")
    )
    if hasattr(loss, "loss_labels"):
        found = loss({**last, "aux_outputs": [other]}, targets)
    else:
        divisor = paddle.to_tensor([max(1.0, sum(len(target["labels"]) for target in targets))])
        matches = [
            loss.matcher({name: one.detach() for name, one in stage.items()}, targets) for stage in (last, other)
        ]
        found = {
            f"{stage}": loss.loss_classes(outputs["pred_logits"], targets, match, divisor)["loss_cls"]
            for stage, (outputs, match) in enumerate(zip((last, other), matches))
        }
    paddle.add_n([value for name, value in found.items() if name != "acc"]).backward()
    gradients = {name: None if tensor.grad is None else tensor.grad.numpy() for name, tensor in tensors.items()}
    return {name: value.numpy() for name, value in found.items()}, gradients


def create(name, own=None, **keys):
    return create_pair(name, own=own, **{**(SPARSE if name == "SparseRCNNLoss" else {}), **keys})


with_boxes = pytest.mark.parametrize("classes", IMAGES_WITH.values(), ids=list(IMAGES_WITH))


@with_boxes
@pytest.mark.parametrize("name", ["SparseRCNNLoss", "QueryInstLoss"])
def test_same_as_ppdet(rng, name, classes):
    stock, ours = create(name)
    predicted, targets = predictions(rng), targets_of(rng, classes)
    skip_if_it_fails(lambda: losses_and_gradients(stock, predicted, targets))
    expected, expected_gradients = losses_and_gradients(stock, predicted, targets)
    found, gradients = losses_and_gradients(ours, predicted, targets)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)
    for name, gradient in expected_gradients.items():
        if gradient is not None:
            np.testing.assert_allclose(gradients[name], gradient, rtol=1e-4, atol=1e-6, err_msg=name)


@with_boxes
@pytest.mark.parametrize("name", ["SparseRCNNLoss", "QueryInstLoss"])
def test_own_keys(rng, name, classes):
    """The focal loss of the classes by its definition."""
    alpha = [0.1, 0.2, 0.3, 0.4, 0.5]
    _, ours = create(name, {"alpha": alpha, "gamma": 1.2})
    predicted, targets = predictions(rng), targets_of(rng, classes)
    found, _ = losses_and_gradients(ours, predicted, targets)
    outputs = {"pred_logits": predicted["logits"], "pred_boxes": predicted["boxes"]}
    matches = ours.matcher({name: paddle.to_tensor(array) for name, array in outputs.items()}, targets)
    is_target = np.zeros([2, QUERIES, CLASSES])
    for image, (queries, boxes) in enumerate(matches):
        for query, box in zip(queries.tolist(), boxes.tolist()):
            is_target[image, query, classes[image][box]] = 1
    p = 1 / (1 + np.exp(-predicted["logits"].astype("float64")))
    of_target, of_other = alpha * (1 - p) ** 1.2 * -np.log(p), (1 - np.array(alpha)) * p**1.2 * -np.log1p(-p)
    expected = np.where(is_target, of_target, of_other).sum() / sum(map(len, classes))
    loss = found["loss_ce"] if name == "SparseRCNNLoss" else found["0"] / 2  # its weight
    np.testing.assert_allclose(loss, [expected], rtol=1e-5)
    if name == "SparseRCNNLoss":
        best = predicted["logits"].argmax(-1)
        right = [is_target[i, q, best[i, q]] for i, (queries, _) in enumerate(matches) for q in queries.tolist()]
        np.testing.assert_allclose(found["acc"], np.mean(right), rtol=1e-6)


def test_sparse_rcnn_without_boxes(rng):
    """In PaddleDetection the loss is infinite; here it is that of background, and the boxes have a gradient of 0."""
    stock, ours = create("SparseRCNNLoss")
    predicted, targets = predictions(rng), targets_of(rng, ([], []))
    found, gradients = losses_and_gradients(ours, predicted, targets)
    p = 1 / (1 + np.exp(-predicted["logits"].astype("float64")))
    np.testing.assert_allclose(found["loss_ce"], [(0.7 * p**1.5 * -np.log1p(-p)).sum()], rtol=1e-5)
    assert [found[name].item() for name in ("acc", "loss_bbox", "loss_giou", "loss_bbox_0")] == [0, 0, 0, 0]
    for name, gradient in gradients.items():
        assert np.isfinite(gradient).all()
        assert gradient.any() == ("logits" in name), name
    with suppress(TypeError, ValueError):  # older releases and Paddle 2.6 do not get that far
        assert np.isinf(losses_and_gradients(stock, predicted, targets)[0]["loss_ce"]).all()


def test_query_inst_without_boxes(rng):
    _, ours = create("QueryInstLoss")
    predicted = predictions(rng)
    found, gradients = losses_and_gradients(ours, predicted, targets_of(rng, ([], [])))
    p = 1 / (1 + np.exp(-predicted["other_logits"].astype("float64")))
    np.testing.assert_allclose(found["1"], [2 * (0.75 * p**2 * -np.log1p(-p)).sum()], rtol=1e-5)
    assert np.isfinite(gradients["other_logits"]).all()


def test_no_balance(rng):
    assert create("SparseRCNNLoss", focal_loss_alpha=-1.0)[1].focal.alpha is None


def test_matches_of_half_precision(rng):
    """Also where Paddle itself does not multiply half precision, on the CPU."""
    _, ours = create("SparseRCNNLoss")
    targets = targets_of(rng, IMAGES_WITH["boxes"])
    outputs = {"pred_logits": predictions(rng)["logits"] * 20, "pred_boxes": corners(rng, 2, QUERIES)}
    half = {name: paddle.to_tensor(array.astype("float16")) for name, array in outputs.items()}
    expected = ours.matcher({name: tensor.astype("float32") for name, tensor in half.items()}, targets)
    for one, other in zip(expected, ours.matcher(half, targets)):
        for indices, others in zip(one, other):
            np.testing.assert_array_equal(others.numpy(), indices.numpy())
