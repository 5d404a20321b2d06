"""Gamma that a training run schedules."""

from __future__ import annotations

from types import SimpleNamespace

import paddle
import pytest

pytest.importorskip("ppdet")

from ppdet.core import workspace
from replaced_components import create_pair

from paddle_focal import SigmoidFocalLoss, SoftmaxFocalLoss
from paddle_focal.detection import replace
from paddle_focal.engine.hooks.scheduled_gamma import ScheduledGamma

LINEAR = {"kind": "linear", "gammas": [0.0, 2.0], "epochs": [0, 2]}


class Model(paddle.nn.Layer):
    def __init__(self, *losses):
        super().__init__()
        self.losses = paddle.nn.LayerList(losses)


def scheduled(section, *losses) -> ScheduledGamma:
    return ScheduledGamma(SimpleNamespace(model=Model(*losses), cfg={}), section)


def step(epoch: int, iteration: int, mode: str = "train") -> dict:
    return {"mode": mode, "epoch_id": epoch, "step_id": iteration, "steps_per_epoch": 4}


def test_every_loss_gets_the_gamma_of_the_iteration():
    losses = SigmoidFocalLoss(), SoftmaxFocalLoss(gamma=5)
    callback = scheduled(LINEAR, *losses)
    # Linear from 0 to 2 in 2 epochs of 4 iterations: a quarter more at each. A run that is resumed begins anywhere.
    for epoch, iteration, gamma in ((0, 0, 0.0), (0, 1, 0.25), (0, 3, 0.75), (1, 2, 1.5), (2, 0, 2.0), (1, 0, 1.0)):
        callback.on_step_begin(step(epoch, iteration))
        assert [loss.gamma for loss in losses] == [gamma, gamma]
        assert callback.gamma == gamma


def test_evaluation_changes_nothing():
    loss = SigmoidFocalLoss(gamma=3.0)
    scheduled(LINEAR, loss).on_step_begin(step(1, 0, mode="eval"))
    assert loss.gamma == 3.0


def test_the_log_has_one_line_for_each_epoch_of_training(caplog):
    linear, constant = (
        scheduled(section, SigmoidFocalLoss()) for section in (LINEAR, {"kind": "constant", "gammas": [1.5]})
    )
    for callback in (linear, constant):
        callback.on_step_begin(step(1, 3))
        for mode in ("train", "eval"):
            callback.on_epoch_end(step(1, 3, mode))
    assert caplog.messages == ["Epoch 2: gamma 1 to 1.75", "Epoch 2: gamma 1.5"]


@pytest.mark.parametrize(
    ("error", "message", "section"),
    [
        (ValueError, "gamma_schedule: kind must be one of .* but got 'exponential'", {**LINEAR, "kind": "exponential"}),
        (TypeError, "gamma_schedule: .*unexpected keyword argument 'gamma'", {**LINEAR, "gamma": 2}),
        (TypeError, "gamma_schedule must be a section with kind, gammas and epochs, but got 'linear'", "linear"),
    ],
)
def test_what_is_wrong_is_said(error, message, section):
    with pytest.raises(error, match=message):
        scheduled(section, SigmoidFocalLoss())


def test_a_model_without_a_loss_of_ours():
    with pytest.raises(ValueError, match="gamma_schedule needs a model with a loss of paddle_focal"):
        scheduled(LINEAR, paddle.nn.CrossEntropyLoss())


@pytest.mark.parametrize(
    ("name", "holder"), [("SOLOv2Loss", "solov2_loss"), ("QueryInstLoss", "loss_func"), ("CTFocalLoss", "hm_loss")]
)
def test_losses_of_components_that_are_no_layers(workspace_copy, name, holder):
    """Some of PaddleDetection's losses are plain objects, which no model lists among its layers."""
    if name not in workspace_copy:
        pytest.skip(f"no {name} in ppdet")
    replace([name])
    component = workspace.create(name)
    assert not isinstance(component, paddle.nn.Layer)
    head = paddle.nn.Layer()
    setattr(head, holder, component)
    callback = ScheduledGamma(SimpleNamespace(model=Model(head), cfg={}), LINEAR)
    callback.on_step_begin(step(1, 2))
    assert component.focal.gamma == 1.5


def test_the_loss_of_a_heatmap_that_a_head_computes_from_logits(workspace_copy):
    """TTFHead's loss is given to it as a plain object, and computed by the head itself."""
    stock, ours = create_pair("TTFHead", strides=(4,), hm_head_planes=4, wh_head_planes=4)
    scheduler = ScheduledGamma(SimpleNamespace(model=Model(ours), cfg={}), LINEAR)
    scheduler.on_step_begin(step(0, 2))
    assert ours.focal.gamma == 0.5
    assert list(ours.state_dict()) == list(stock.state_dict())
