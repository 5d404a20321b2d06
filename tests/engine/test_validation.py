"""Losses of the validation images, and the end of a run that no longer gets better."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

import two_ranks
from paddle_limits import needs_boxless_retina_head
from ppdet.core.workspace import AttrDict
from two_ranks import CHANNELS, SIZE, STRIDES, create_head

from paddle_focal.cli import train as training
from paddle_focal.engine import run_state
from paddle_focal.engine.hooks.early_stop import EarlyStop, StopTraining, keep_as_final
from paddle_focal.engine.hooks.evaluation_report import EvaluationReport
from paddle_focal.engine.hooks.validation_loss import ValidationLoss, validation_loss_of
from paddle_focal.errors import ToolError

pytestmark = pytest.mark.usefixtures("workspace_copy")

CATEGORIES = [7, 3, 9, 20]  # classes are counted in the order of the file, as in ppdet
SCALE = (0.5, 2.0)  # of height and width, from the file to the network's input
EVALUATED, TRAINED = {"mode": "eval"}, {"mode": "train"}


class Detector(paddle.nn.Layer):
    """What ppdet's RetinaNet is to the callback: a head whose outputs become predictions."""

    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, inputs):
        return [level.sum() for level in self.head(inputs["maps"])[0]]


@pytest.fixture
def annotations(tmp_path):
    """Two images with boxes, one without; a crowd, which is left out."""
    boxes = [(1, [4.0, 40.0, 8.0, 30.0], 3, 0), (1, [10.0, 10.0, 12.0, 60.0], 20, 0), (2, [2.0, 8.0, 20.0, 50.0], 9, 0)]
    boxes.append((2, [0.0, 0.0, 30.0, 60.0], 7, 1))
    document = {
        "images": [{"id": i, "width": 32, "height": 128, "file_name": f"{i}.png"} for i in (1, 2, 5)],
        "categories": [{"id": i, "name": str(i)} for i in CATEGORIES],
        "annotations": [
            {"id": n + 1, "image_id": image, "bbox": box, "category_id": category, "iscrowd": crowd, "area": 1.0}
            for n, (image, box, category, crowd) in enumerate(boxes)
        ],
    }
    path = tmp_path / "val.json"
    path.write_text(json.dumps(document))
    return path


def trainer_of(model, annotations):
    dataset = SimpleNamespace(get_anno=lambda: str(annotations))
    return SimpleNamespace(model=model, cfg=AttrDict(EvalDataset=dataset, metric="COCO"))


def feature_maps(rng, images):
    shapes = [(images, CHANNELS, SIZE // stride, SIZE // stride) for stride in STRIDES]
    return [paddle.to_tensor(rng.normal(size=shape).astype("float32")) for shape in shapes]


@needs_boxless_retina_head
def test_mean_over_the_images(annotations, rng):
    head, reference = create_head("FocalRetinaHead", is_inference_output=True), create_head("RetinaHead")
    reference.set_state_dict(head.state_dict())
    model = Detector(head)
    validation = ValidationLoss(trainer_of(model, annotations))
    model.eval()
    reference.eval()
    # By hand: x, y, w, h times the scales 2 and 0.5; classes are the places of the ids in CATEGORIES.
    truth = {
        1: ([[8, 20, 24, 35], [20, 5, 44, 35]], [[1], [3]]),
        2: ([[4, 4, 44, 29]], [[2]]),
        5: ([], []),
    }
    expected = []
    for images in ([1, 2], [5]):
        maps = feature_maps(rng, len(images))
        model(
            {
                "maps": maps,
                "im_id": paddle.to_tensor(images).reshape([-1, 1]),
                "scale_factor": paddle.to_tensor([SCALE] * len(images)),
            }
        )
        for i, image in enumerate(images):
            boxes, classes = truth[image]
            targets = {
                "gt_bbox": [paddle.to_tensor(np.array(boxes, "float32").reshape(-1, 4))],
                "gt_class": [paddle.to_tensor(np.array(classes, "int32").reshape(-1, 1))],
            }
            losses = reference.get_loss(reference([level[i : i + 1] for level in maps]), targets)
            expected.append([float(losses[name]) for name in ("loss_cls", "loss_reg", "loss")])
    assert validation.results == {}
    validation.on_epoch_end(EVALUATED)
    assert list(validation.results) == ["val_loss_cls", "val_loss_reg", "val_loss"]
    np.testing.assert_allclose(list(validation.results.values()), np.mean(expected, axis=0), rtol=1e-5)


def test_the_log_says_of_how_many_images_the_means_are(annotations, caplog):
    head = create_head("FocalRetinaHead", is_inference_output=True)
    validation = ValidationLoss(trainer_of(Detector(head), annotations))
    validation._losses.extend([[1.0, 2.0, 3.0], [2.0, 2.0, 4.0]])
    validation.on_epoch_end(EVALUATED)
    assert caplog.messages == ["2 images: val_loss_cls 1.5000, val_loss_reg 2.0000, val_loss 3.5000"]


def test_training_leaves_it_alone(annotations, rng):
    model = Detector(create_head("FocalRetinaHead", is_inference_output=True))
    validation = ValidationLoss(trainer_of(model, annotations))
    model.train()
    targets = two_ranks.batch(two_ranks.images([2]))
    model.head(feature_maps(rng, 1), targets)
    validation.on_epoch_end(TRAINED)
    validation.on_epoch_end(EVALUATED)
    assert validation.results == {}


def test_only_where_it_is_asked_for(annotations):
    assert validation_loss_of(trainer_of(Detector(create_head("FocalRetinaHead")), annotations)) is None
    assert validation_loss_of(trainer_of(Detector(create_head("RetinaHead")), annotations)) is None
    with pytest.raises(TypeError, match="is_inference_output must be true or false, but got 'yes'"):
        create_head("FocalRetinaHead", is_inference_output="yes")


def test_only_with_annotations_of_boxes(annotations):
    trainer = trainer_of(Detector(create_head("FocalRetinaHead", is_inference_output=True)), annotations)
    assert isinstance(validation_loss_of(trainer), ValidationLoss)
    trainer.cfg.metric = "RBOX"
    assert validation_loss_of(trainer) is None


@pytest.fixture
def evaluation(tmp_path):
    """The report of a detector whose metric is another one."""
    config = AttrDict(output_eval=str(tmp_path), metric="RBOX")
    return EvaluationReport(SimpleNamespace(model=paddle.nn.Layer(), cfg=config, _metrics=[]), tmp_path)


def test_other_metrics_are_left_to_ppdet(evaluation):
    evaluation.on_epoch_end(EVALUATED)
    assert (evaluation.evaluated, evaluation.metrics) == (True, {})


@pytest.mark.parametrize(("rank", "left"), [(0, False), (1, True)])
def test_the_first_rank_removes_the_detections_before(evaluation, monkeypatch, tmp_path, rank, left):
    monkeypatch.setattr("paddle.distributed.get_rank", lambda: rank)
    (tmp_path / "bbox.json").write_text("[]")
    evaluation.on_epoch_begin(EVALUATED)
    assert (tmp_path / "bbox.json").exists() == left


TRAINER = SimpleNamespace(cfg=AttrDict(metric="COCO"))


def run_epochs(values, patience, metric):
    """The epoch after which it stops, or None."""
    evaluation = SimpleNamespace(metrics={}, validation=object())
    stop = EarlyStop(TRAINER, evaluation, patience, metric)
    for epoch, value in enumerate(values):
        evaluation.metrics = {metric: value}
        try:
            stop.on_epoch_end({"mode": "train", "epoch_id": epoch})
            stop.on_epoch_end({"mode": "eval", "epoch_id": epoch})
        except StopTraining:
            return epoch + 1
    return None


@pytest.mark.parametrize(
    ("values", "patience", "metric", "stopped"),
    [
        ([0.1, 0.2, 0.2, 0.1, 0.3], 2, "bbox_AP", 4),
        ([0.1, 0.2, 0.2, 0.3, 0.3], 2, "bbox_AP", None),
        ([0.3, 0.1, 0.2], 1, "bbox_AP", 2),
        ([None, None, 0.1], 2, "bbox_AP", 2),
        ([2.0, 1.0, 1.5, 1.2, 0.5], 2, "val_loss", 4),
        ([2.0, 1.0, 0.9, 0.8, 0.5], 1, "val_loss", None),
    ],
)
def test_stops_when_patience_is_at_its_end(values, patience, metric, stopped):
    assert run_epochs(values, patience, metric) == stopped


def test_validation_loss_must_be_there():
    with pytest.raises(ToolError, match="val_loss needs FocalRetinaHead with is_inference_output: true"):
        EarlyStop(TRAINER, SimpleNamespace(validation=None), 1, "val_loss")


def test_the_last_checkpoint_becomes_the_final_one(tmp_path):
    for name in ("1.pdparams", "1.pdopt", "1.state.json", "11.pdparams"):
        (tmp_path / name).write_text(name)
    keep_as_final(tmp_path, 1)
    assert {path.name: path.read_text() for path in tmp_path.glob("model_final.*")} == {
        "model_final.pdparams": "1.pdparams",
        "model_final.pdopt": "1.pdopt",
        "model_final.state.json": "1.state.json",
    }


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--early-stop", "2"], "--early-stop needs --eval"),
        (["--early-stop", "0", "--eval"], "--early-stop must be at least 1, but got 0"),
        (["--early-stop", "2", "--eval", "--early-stop-metric", "loss"], "invalid choice: 'loss'"),
    ],
)
def test_bad_flags(flags, message, capsys, tmp_path):
    config = tmp_path / "config.yml"
    config.write_text("a: 1")
    with pytest.raises(SystemExit):
        training.parse_arguments(["-c", str(config), *flags])
    assert message in capsys.readouterr().err


def test_the_state_of_an_early_stop():
    stop = EarlyStop(TRAINER, SimpleNamespace(validation=None), 3, None)
    assert stop.state_dict() == {"metric": "bbox_AP", "best": -np.inf, "best_epoch": 0, "waited": 0}
    state = {"metric": "bbox_AP", "best": 0.75, "best_epoch": 4, "waited": 2}
    stop.load_state_dict({**state, "metric": "val_loss"})
    assert stop.state_dict()["waited"] == 0
    stop.load_state_dict(state)
    assert stop.state_dict() == state


def test_a_later_evaluation_counts_its_own_images(annotations):
    head = create_head("FocalRetinaHead", is_inference_output=True)
    validation = ValidationLoss(trainer_of(Detector(head), annotations))
    for losses in ([[1.0, 2.0, 3.0]], [[3.0, 1.0, 4.0], [5.0, 3.0, 8.0]]):
        validation._losses.extend(losses)
        validation.on_epoch_end(TRAINED)
        validation.on_epoch_end(EVALUATED)
    assert validation.results == {"val_loss_cls": 4.0, "val_loss_reg": 2.0, "val_loss": 6.0}
    assert list(validation.results) == ["val_loss_cls", "val_loss_reg", "val_loss"]
    validation.on_epoch_end(EVALUATED)  # of no image
    assert validation.results["val_loss"] == 6.0


def test_the_step_of_ppdets_average_goes_on():
    """Its sums, its steps and its epochs, each in its place."""
    resumed = []
    ema = SimpleNamespace(state_dict={"a": 1}, step=5, epoch=2, resume=lambda *given: resumed.append(given))
    state = run_state.average_state(ema)
    assert state == {"sums": {"a": 1}, "step": 5, "epoch": 2}
    ema.epoch = 0
    run_state.restore_average(ema, state)
    assert (resumed, ema.epoch) == ([({"a": 1}, 5)], 2)


def test_the_best_model_of_several_callbacks_and_of_none():
    kind = run_state.Checkpointer
    ones = [kind.__new__(kind) for _ in range(2)]
    ones[0].best_ap, ones[1].best_ap = 0.25, np.float32(0.5)
    best = run_state.BestModel(SimpleNamespace(_callbacks=[*ones, object()]))
    assert best.state_dict() == 0.5
    best.load_state_dict(None)
    assert [one.best_ap for one in ones] == [0.25, 0.5]
    best.load_state_dict(0.0)
    assert [one.best_ap for one in ones] == [0.0, 0.0]
    none = run_state.BestModel(SimpleNamespace(_callbacks=[]))
    assert none.state_dict() is None
    none.load_state_dict(0.5)
