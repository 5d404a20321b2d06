"""A whole model of PaddleDetection beside the same one with the plugin's components, from one configuration.

tests/detection/test_whole_models.py starts it twice as a program. The model is made small, and PaddleDetection's own
reader makes the batches.
"""

from __future__ import annotations

import copy
import json
import pickle
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable
from unittest.mock import MagicMock, patch

for name in ("imgaug", "imgaug.augmenters", "imgaug.augmentables.lines", "imgaug.augmentables.segmaps"):
    sys.modules.setdefault(name, MagicMock())  # PaddleDetection imports it for one data set

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import paddle  # noqa: E402
from ppdet.core import workspace  # noqa: E402
from ppdet.data.reader import BatchCompose, Compose  # noqa: E402
from ppdet.engine.trainer import Trainer  # noqa: E402

from paddle_focal.detection import compatibility, replace  # noqa: E402
from paddle_focal.engine.hooks.scheduled_gamma import ScheduledGamma  # noqa: E402

SIDE, CLASSES = 128, 3
#: What the images of a batch show: corners and classes.
IMAGES = {
    "boxes": ([((4, 6, 60, 52), 1), ((50, 40, 120, 100), 0)], [((30, 20, 100, 110), 2)]),
    "an empty image": ([((4, 6, 60, 52), 1)], []),
    "no boxes": ([], []),
}
#: What makes a model small, and finds boxes with random weights.
SMALL = {
    "use_gpu": False,
    "norm_type": "bn",
    "depth_mult": 0.33,
    "width_mult": 0.25,
    "num_classes": CLASSES,
    "ResNet": {"depth": 18},
    "DETRPostProcess": {"num_top_queries": 20},
}
EVERYWHERE = {
    "score_threshold": 0.0,
    "eval_size": [SIDE, SIDE],
    "image_shape": [3, SIDE, SIDE],
    "pretrained": False,
}
#: Transforms of images that are random.
RANDOM = ("Random", "Photo", "Mosaic", "Mixup", "AugmentHSV", "CenterRandColor", "Lighting", "KeyPointFlip", "GridMask")
#: Keys of the other transforms.
OF_TRANSFORMS = {
    "target_size": [SIDE, SIDE],
    "input_h": SIDE,
    "input_w": SIDE,
    "random_size": False,
    "random_interp": False,
    "use_random": False,
    "num_classes": CLASSES,
}


def load(path: Path, settings: Mapping[str, Any]) -> dict:
    """The configuration made small, and with settings whose keys may be dotted."""
    config = workspace.load_config(str(path))
    workspace.merge_config(copy.deepcopy(SMALL))
    for key, value in settings.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        workspace.merge_config(value)
    _set_everywhere(config)
    return config


def _set_everywhere(section: Any) -> None:
    for key, value in section.items() if isinstance(section, dict) else enumerate(section):
        if isinstance(value, (dict, list)):
            _set_everywhere(value)
        if value == "sync_bn":
            dict.__setitem__(section, key, "bn")
        elif key in EVERYWHERE and value is not None:
            dict.__setitem__(section, key, EVERYWHERE[key])


def batches_of(config: Mapping) -> dict[str, dict]:
    """By the name in ``IMAGES``, what the configuration's reader makes of these images."""
    if config["architecture"] == "CLRNet":
        return {name: _lanes(config, images) for name, images in IMAGES.items()}
    with_boxes = _batch(config, IMAGES["boxes"])
    result = {}
    for name, images in IMAGES.items():
        try:
            result[name] = _batch(config, images)
        except (ValueError, IndexError, KeyError):  # of transforms that need boxes; PaddleDetection leaves it out
            result[name] = {key: _emptied(key, value, images) for key, value in with_boxes.items()}
    return result


def _batch(config: Mapping, images: Sequence[Sequence]) -> dict:
    reader = config.get("SemiTrainReader") if config.get("ssod_method") else config["TrainReader"]
    of_samples = [*reader["sample_transforms"], *reader.get("weak_aug", [])]
    of_batch = reader.get("sup_batch_transforms", reader.get("batch_transforms", []))
    data = config["TrainDataset"]
    fields = data["data_fields"] if isinstance(data, dict) else data.data_fields
    transform = Compose(_without_chance(of_samples), config["num_classes"])
    together = BatchCompose(_without_chance(of_batch), config["num_classes"], reader.get("collate_batch", True))
    samples = [transform(_record(number, boxes, fields)) for number, boxes in enumerate(images)]
    return {name: _tensors(value) for name, value in together(samples).items()}


def _without_chance(transforms: Sequence[dict]) -> list[dict]:
    kept = [next(iter(one.items())) for one in transforms if not next(iter(one)).startswith((*RANDOM, "MOTRandom"))]
    return [{name: {key: OF_TRANSFORMS.get(key, value) for key, value in (keys or {}).items()}} for name, keys in kept]


def _record(number: int, boxes: Sequence, fields: Sequence[str]) -> dict:
    """As PaddleDetection's data sets make them; those of key points have all fields, whatever they say."""
    pixels = np.random.default_rng(number).integers(0, 255, [SIDE, SIDE, 3], "uint8")
    corners = np.array([box for box, _ in boxes], "float32").reshape(-1, 4)
    x1, y1, x2, y2 = corners.T
    joints = np.stack([np.linspace(x1, x2, 17), np.linspace(y1, y2, 17), np.full([17, len(boxes)], 2)], -1)
    record = {
        "image": cv2.imencode(".png", pixels)[1].tobytes(),
        "gt_bbox": corners,
        "gt_class": np.array([label for _, label in boxes], "int32").reshape(-1, 1),
        "is_crowd": np.zeros([len(boxes), 1], "int32"),
        "gt_poly": [[one.tolist()] for one in np.stack([x1, y1, x2, y1, x2 - 5, y2, x1, y2 - 5], 1)],
        "gt_ide": np.arange(len(boxes), dtype="int32").reshape(-1, 1),
        "gt_joints": joints.transpose(1, 0, 2).astype("float32"),
        "gt_areas": (x2 - x1) * (y2 - y1),
    }
    file = f"{number}.png"
    common = {"im_file": file, "image_file": file, "im_id": np.array([number]), "h": float(SIDE), "w": float(SIDE)}
    return {**common, **{key: value for key, value in record.items() if key in fields or "gt_bbox" not in fields}}


def _tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind not in "US":
        return paddle.to_tensor(value)
    return [_tensors(item) for item in value] if isinstance(value, (list, np.ndarray)) else value


def _emptied(key: str, value: Any, images: Sequence[Sequence]) -> Any:
    """Of a batch, the targets without those of images without boxes."""
    if key.startswith("im"):
        return value
    if isinstance(value, list):
        return [item if boxes else item[:0] for item, boxes in zip(value, images)]
    numbers, has_boxes = value.numpy(), np.array([bool(boxes) for boxes in images])
    return paddle.to_tensor(numbers * has_boxes.reshape([-1, *[1] * (value.ndim - 1)]).astype(numbers.dtype))


def _lanes(config: Mapping, images: Sequence[Sequence]) -> dict:
    """For each box a lane from its one corner to the other."""
    height, width, points = (config[name] for name in ("img_h", "img_w", "num_points"))
    lanes = np.zeros([len(images), config["max_lanes"], 6 + points], "float32")
    lanes[:, :, 0], lanes[:, :, 6:] = 1, -1e5
    for image, boxes in enumerate(images):
        for row, (box, _) in enumerate(boxes):
            lanes[image, row, :6] = 0, 1, 0, box[0] / SIDE, 0.3, points / 2
            lanes[image, row, 6 : 6 + points // 2] = np.linspace(box[0], box[2], points // 2) * width / SIDE
    pixels = np.random.default_rng(0).normal(size=[len(images), 3, height, width]).astype("float32")
    seg = paddle.to_tensor(np.tile(lanes[:, :1, 1:2], [1, height, width]).astype("int64"))
    return {"image": paddle.to_tensor(pixels), "lane_line": paddle.to_tensor(lanes), "seg": seg,
            "full_img_path": ["0.png"] * len(images), "img_name": ["0.png"] * len(images)}  # fmt: skip


def boxes_iou(boxes: paddle.Tensor, others: paddle.Tensor) -> paddle.Tensor:
    """In the place of PaddleDetection's operator that a user compiles; of boxes as if they were not turned."""
    boxes, others = boxes.unsqueeze(1), others.unsqueeze(0)
    low, high = ((one[..., :2] + sign * one[..., 2:4] / 2 for one in (boxes, others)) for sign in (-1, 1))
    common = (paddle.minimum(*high) - paddle.maximum(*low)).clip(0).prod(-1)
    return common / (boxes[..., 2:4].prod(-1) + others[..., 2:4].prod(-1) - common)


sys.modules["ext_op"] = SimpleNamespace(
    rbox_iou=boxes_iou, matched_rbox_iou=lambda boxes, others: boxes_iou(boxes, others).diagonal()
)


def give_weights(model: paddle.nn.Layer) -> None:
    """Random ones also to layers that start at 0, behind which nothing would have a gradient."""
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():
            parameter.set_value(0.01 * paddle.randn(parameter.shape))


def losses_of(model: paddle.nn.Layer, batch: dict, config: Mapping) -> dict[str, paddle.Tensor]:
    """As PaddleDetection's trainers get them; the teacher of half supervised training sees darker images."""
    method = config.get("ssod_method")
    losses = model({**batch, "epoch_id": 0})
    if not method:
        return losses
    darker, is_of_arsl = {**batch, "image": 0.9 * batch["image"]}, method == "ARSL"
    student = None if is_of_arsl else model({**batch, "epoch_id": 0, "get_data": True})
    model.eval()
    with paddle.no_grad():
        of_arsl = {"branch": "semi_supervised"} if is_of_arsl else {}
        teacher = model({**darker, "epoch_id": 0, "is_teacher": True}, **of_arsl)
    model.train()
    if is_of_arsl:
        return {**losses, **model(batch, branch="semi_supervised", teacher_prediction=teacher)}
    train_cfg = {**config["DenseTeacher"]["train_cfg"], "curr_iter": 2, "st_iter": 1}
    learnt = model.get_ssod_loss(student, teacher, train_cfg)
    return {"loss": losses["loss"] + paddle.add_n([learnt[name].sum() for name in train_cfg["loss_weight"]]), **learnt}


def _seed() -> None:
    paddle.seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)


def numbers_and_gradients(model: paddle.nn.Layer, batch: dict, config: Mapping) -> tuple[dict, dict]:
    model.train()
    model.clear_gradients()
    _seed()
    losses = {name: loss for name, loss in losses_of(model, batch, config).items() if "loss" in name}
    total = losses["loss"] if "loss" in losses else paddle.add_n([loss.sum() for loss in losses.values()])
    total.backward()
    gradients = {name: one.grad.numpy() for name, one in model.named_parameters() if one.grad is not None}
    return {name: float(loss) for name, loss in losses.items()}, gradients


def predictions(model: paddle.nn.Layer, batch: dict) -> list[np.ndarray]:
    model.eval()
    _seed()
    with paddle.no_grad():
        found = paddle.utils.flatten(model({name: value[:1] for name, value in batch.items()}))
    return [
        one.numpy() if paddle.is_tensor(one) else np.asarray(one.points) for one in found if not isinstance(one, str)
    ]


def exported(model: paddle.nn.Layer, batch: dict, config: dict, folder: Path) -> list[np.ndarray]:
    """What the files that PaddleDetection's export writes give for the batch's first image."""
    trainer = Trainer.__new__(Trainer)
    trainer.cfg, trainer.model = config, model
    data = "TestMOTDataset" if config["architecture"] == "FairMOT" else "TestDataset"
    config[data] = workspace.create(data)()
    if config["TestReader"].get("fuse_normalize"):
        model.load_meanstd(config["TestReader"]["sample_transforms"])
    refused = patch("os._exit", side_effect=RuntimeError("ppdet does not export this architecture"))
    with compatibility.exportable(), refused:
        trainer.export(str(folder))
    program = next(path for path in folder.rglob("model.*") if path.suffix in (".json", ".pdmodel"))
    settings = paddle.inference.Config(str(program), str(program.with_suffix(".pdiparams")))
    settings.disable_glog_info()
    settings.disable_mkldnn()
    predictor = paddle.inference.create_predictor(settings)
    return [one.numpy() for one in predictor.run([batch[name][:1] for name in predictor.get_input_names()])]


def attempted(run: Callable, *args: Any) -> Any:
    try:
        return run(*args)
    except Exception as error:
        return error


def results(config: dict, weights: dict[str, np.ndarray] | None, folder: Path) -> dict[str, Any]:
    """What a model gives for each batch, its predictions and its export, and the weights that it starts with."""
    batches = batches_of(config)
    paddle.seed(0)
    model = workspace.create(config["architecture"])
    if weights is None:
        give_weights(model)
    else:
        assert {name: one.shape for name, one in model.state_dict().items()} == {
            name: list(one.shape) for name, one in weights.items()
        }
        model.set_state_dict(weights)
    found = {"weights": {name: one.numpy() for name, one in model.state_dict().items()}}
    found |= {name: attempted(numbers_and_gradients, model, batch, config) for name, batch in batches.items()}
    if weights is not None:
        schedule = ScheduledGamma(SimpleNamespace(model=model, cfg={}), {"kind": "constant", "gammas": [4.0]})
        schedule.on_step_begin({"mode": "train", "epoch_id": 0, "step_id": 0, "steps_per_epoch": 1})
        found["gamma"] = numbers_and_gradients(model, batches["boxes"], config)
    model.set_state_dict(found["weights"])  # without the averages of batches that one of the two models cannot take
    found["predictions"] = attempted(predictions, model, batches["boxes"])
    found["export"] = attempted(exported, model, batches["boxes"], config, folder)
    print({name: _in_short(name, one) for name, one in found.items()}, flush=True)
    return found


def _in_short(name: str, found: Any) -> Any:
    if isinstance(found, Exception):
        return repr(found)[:500]
    return found[0] if isinstance(found, tuple) else len(found)


def assert_equal_gradients(gradients: dict, expected: dict) -> None:
    least = 1e-6 * max(np.abs(one).max() for one in expected.values())  # of sums that cancel, as before a norm
    for name, one in expected.items():
        np.testing.assert_allclose(gradients[name], one, rtol=0, atol=1e-4 * np.abs(one).max() + least, err_msg=name)
    for name in gradients.keys() - expected.keys():
        assert not gradients[name].any(), name


def compare(ours: dict, stock: dict, broken: set[str]) -> None:
    """``broken`` names what PaddleDetection's own model cannot do: it raises, or a loss is not finite."""
    wrong = {
        name: found
        for name, found in stock.items()
        if isinstance(found, Exception) or (name in IMAGES and not np.isfinite([*found[0].values()]).all())
    }
    assert wrong.keys() == broken, {name: _in_short(name, found) for name, found in wrong.items()}
    for name in IMAGES:
        losses, gradients = ours[name]
        assert np.isfinite([*losses.values()]).all(), name
        assert all(np.isfinite(one).all() for one in gradients.values()), name
        assert not ours["boxes"][1].keys() - gradients.keys(), name
        if name not in wrong:
            assert losses.keys() == stock[name][0].keys()
            for key, loss in losses.items():
                np.testing.assert_allclose(loss, stock[name][0][key], rtol=1e-4, atol=1e-6, err_msg=f"{name}: {key}")
            assert_equal_gradients(gradients, stock[name][1])
    changed = {name for name, loss in ours["gamma"][0].items() if loss < (1 - 1e-5) * ours["boxes"][0][name]}
    assert changed, "a schedule of gamma has no effect"
    for name in ("predictions", "export"):
        if name in wrong:
            assert type(ours[name]) is type(stock[name]), (name, ours[name])
            continue
        assert len(ours[name]) == len(stock[name])
        for one, expected in zip(ours[name], stock[name]):
            np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-5, err_msg=name)


def main(who: str, path: str, settings: str, broken: str, folder: str) -> None:
    """``stock`` writes what PaddleDetection's model does, and ``ours`` is compared with it: two processes.

    ``replace`` cannot be undone, and a second model of PaddleDetection's need not be made like the first: there are
    lists among the defaults of its components that grow.
    """
    config, file = load(Path(path), json.loads(settings)), Path(folder) / "stock.pickle"
    if who == "stock":
        file.write_bytes(pickle.dumps(results(config, None, Path(folder) / who)))
        return
    stock = pickle.loads(file.read_bytes())
    file.unlink()  # hundreds of megabytes
    replace()
    compare(results(config, stock["weights"], Path(folder) / who), stock, set(json.loads(broken)))


if __name__ == "__main__":
    main(*sys.argv[1:])
