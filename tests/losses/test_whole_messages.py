"""What is said of wrong arguments, word for word, and values at the limits of what is accepted."""

from __future__ import annotations

import math
import warnings
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from paddle_focal import GammaSchedule, sigmoid_focal_loss, softmax_focal_loss
from paddle_focal.losses import arguments, normalizer
from paddle_focal.ops import devices, label_range, ladder
from paddle_focal.ops.registry import SIGMOID

LOGIT, LABEL = paddle.zeros([4, 3]), paddle.to_tensor([0, 1, 2, 3])
FLOATS = "a Tensor of dtype float16, bfloat16, float32 or float64"
ALPHA = "None, a number in [0, 1] or a list of one such number per class"
TINY = 1e-39


@pytest.mark.parametrize(
    ("function", "changed", "message"),
    [
        (sigmoid_focal_loss, {"logit": [[0.0]]}, f"logit must be {FLOATS}, but got [[0.0]] (list)"),
        (sigmoid_focal_loss, {"logit": LABEL}, f"logit must be {FLOATS}, but its dtype is int64"),
        (sigmoid_focal_loss, {"logit": paddle.zeros([])}, "logit must have at least one axis, but its shape is []"),
        (sigmoid_focal_loss, {"axis": 2}, "axis must be in [-2, 1] for logit of shape [4, 3], but got 2"),
        (sigmoid_focal_loss, {"axis": -3}, "axis must be in [-2, 1] for logit of shape [4, 3], but got -3"),
        (sigmoid_focal_loss, {"logit": paddle.zeros([4, 0])},
         "logit must have at least one class, but its shape is [4, 0] with axis 1"),
        (sigmoid_focal_loss, {"label": paddle.zeros([4, 3], "bool")},
         "label must be a Tensor of dtype int32, int64, float16, bfloat16, float32 or float64, but its dtype is bool"),
        (sigmoid_focal_loss, {"label": paddle.zeros([4, 3], "int64")},
         "label of dtype int64 must have shape [4] for predictions of shape [4, 3] and class axis 1, but its shape is "
         "[4, 3]; for 0/1 targets in the shape of the predictions, cast label to a floating dtype"),
        (sigmoid_focal_loss, {"label": paddle.zeros([3], "int64")},
         "label of dtype int64 must have shape [4] for predictions of shape [4, 3] and class axis 1, but its shape is "
         "[3]"),
        (sigmoid_focal_loss, {"label": paddle.zeros([4])},
         "label of dtype float32 must have shape [4, 3] for predictions of shape [4, 3] and class axis 1, but its "
         "shape is [4]"),
        (sigmoid_focal_loss, {"ignore_index": 3},
         "ignore_index must lie outside [0, 3], the classes and the background, but got 3"),
        (softmax_focal_loss, {"ignore_index": 2}, "ignore_index must lie outside [0, 2], the classes, but got 2"),
        (sigmoid_focal_loss, {"ignore_index": 0},
         "ignore_index must lie outside [0, 3], the classes and the background, but got 0"),
        (sigmoid_focal_loss, {"ignore_index": 2**31}, "ignore_index must be a 32-bit integer, but got 2147483648"),
        (sigmoid_focal_loss, {"ignore_index": -(2**31) - 1},
         "ignore_index must be a 32-bit integer, but got -2147483649"),
        (sigmoid_focal_loss, {"weight": paddle.ones([4], "int8")},
         "weight must be a Tensor of dtype float16, bfloat16, float32, float64, int32, int64 or bool, but its dtype is "
         "int8"),
        (sigmoid_focal_loss, {"alpha": [0.1, 0.2]}, "alpha must be one number or 3 numbers, one per class, but got 2"),
        (sigmoid_focal_loss, {"alpha": 1.01}, f"alpha must be {ALPHA}, but got 1.01"),
        (sigmoid_focal_loss, {"alpha": []}, f"alpha must be {ALPHA}, but got []"),
        (softmax_focal_loss, {"alpha": math.inf},
         "alpha must be None, a finite number >= 0 or a list of one such number per class, but got inf"),
        (softmax_focal_loss, {"alpha": 5.0, "normalizer": TINY, "label": paddle.to_tensor([0, 1, 2, 2])},
         "alpha / normalizer must be at most 3.4e+38, the largest number that the loss is computed with, but got up "
         "to 5 / 1e-39"),
        (sigmoid_focal_loss, {"normalizer": paddle.ones([2])},
         "normalizer must be a number or a Tensor of shape [], [1] or [3], but its shape is [2]"),
        (sigmoid_focal_loss, {"gamma": math.inf}, "gamma must be a finite number >= 0, but got inf"),
        (sigmoid_focal_loss, {"label_smoothing": 1}, "label_smoothing must be a number in [0, 1), but got 1"),
        (sigmoid_focal_loss, {"reduction": "avg"},
         "reduction must be one of ('none', 'mean', 'sum'), but got 'avg'"),
        (sigmoid_focal_loss, {"reduction": np.array("sum")},
         "reduction must be one of ('none', 'mean', 'sum'), but got array('sum', dtype='<U3')"),
        (sigmoid_focal_loss, {"backend": "best"},
         "backend must be None or one of ('native', 'composite'), but got 'best'"),
        (sigmoid_focal_loss, {"backend": ""}, "backend must be None or one of ('native', 'composite'), but got ''"),
        (sigmoid_focal_loss, {"label": paddle.to_tensor([0, 1, 4, 5])},
         "label must be in [0, 3] (3 is background) or ignore_index -1, but it contains 4"),
        (softmax_focal_loss, {"label": paddle.to_tensor([0, -2, 3, 5]), "ignore_index": -7},
         "label must be in [0, 2] or ignore_index -7, but it contains -2"),
        (sigmoid_focal_loss, {"label": paddle.full([4, 3], 1.5)}, "label must be in [0, 1], but it contains 1.5"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_of_a_loss(function, changed, message):
    with pytest.raises((TypeError, ValueError)) as error:
        function(**{"logit": LOGIT, "label": LABEL, "backend": "composite", **changed})
    assert str(error.value) == message


def test_limits_that_are_accepted():
    for index in (-(2**31), 2**31 - 1, -1, 4):
        sigmoid_focal_loss(LOGIT, LABEL, ignore_index=index, backend="composite")
    sigmoid_focal_loss(LOGIT, LABEL, ignore_index=np.int32(-1), axis=np.int64(1), backend="composite")
    softmax_focal_loss(LOGIT, paddle.to_tensor([0, 1, 2, 3]), ignore_index=3, backend="composite")
    assert arguments.check_alpha(np.array([[0.0, 1.0]])) == (0.0, 1.0)
    assert arguments.check_alpha([0.3]) == (0.3,)
    assert arguments.check_alpha(7.0, math.inf) == 7.0
    assert arguments.check_label_smoothing(0) == 0
    assert arguments.check_loss_weight(0) == 0
    with pytest.raises(ValueError, match=r"^loss_weight must be a finite number >= 0, but got inf$"):
        arguments.check_loss_weight(math.inf)
    with pytest.raises(ValueError, match=r"^alpha must be None, a number in \[0, 2\] or a list"):
        arguments.check_alpha(3, 2.0)


def test_sizes_that_a_static_graph_does_not_know_yet():
    assert arguments.check_label(SIGMOID, SimpleNamespace(shape=[-1, 3]), LABEL, 1, -1) is True
    with pytest.raises(ValueError, match="its shape is"):
        arguments.check_label(SIGMOID, SimpleNamespace(shape=[-1, 3, 2]), LABEL.unsqueeze(1), 1, -1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "none"}, "mode must be one of ('local', 'sync', 'ema'), but got 'none'"),
        ({"momentum": 1}, "momentum must be a number in [0, 1), but got 1"),
        ({"momentum": -0.1}, "momentum must be a number in [0, 1), but got -0.1"),
        ({"initial": 0.5}, "initial must be a number >= 1, but got 0.5"),
    ],
)
def test_of_a_normalizer(given, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message follows
        normalizer.ForegroundNormalizer(**given)
    assert str(error.value) == message


def test_a_normalizer_by_default():
    made = normalizer.ForegroundNormalizer(mode="ema", momentum=0, initial=1)
    assert (float(made.average), made.momentum) == (1, 0)
    made = normalizer.ForegroundNormalizer()
    assert (made.mode, made.momentum, float(made.average)) == ("local", 0.9, 100)
    assert float(made(paddle.to_tensor([0]))) == 1
    assert made.extra_repr() == "mode='local'"
    assert normalizer.ForegroundNormalizer("ema").extra_repr() == "mode='ema', momentum=0.9"
    assert list(made.state_dict()) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gammas": [1, 2, 3]},
         "epochs must have one number for each of gammas, but got [0.0, 4.0] for gammas [1.0, 2.0, 3.0]"),
        ({"epochs": [1, 4]}, "epochs must begin with 0 and increase, but got [1.0, 4.0]"),
        ({"epochs": [0, 0]}, "epochs must begin with 0 and increase, but got [0.0, 0.0]"),
        ({"epochs": [0, math.inf]}, "epochs must be a finite number >= 0, but got inf"),
        ({"epochs": 0}, "epochs must be a list of at least one number, but got 0"),
        ({"kind": "constant"}, "gammas must be one number where kind is 'constant', but got [0.0, 2.0]"),
    ],
)  # fmt: skip
def test_of_a_schedule(given, message):
    with pytest.raises((TypeError, ValueError)) as error:
        GammaSchedule(**{"kind": "linear", "gammas": [0, 2], "epochs": [0, 4], **given})
    assert str(error.value) == message


def test_a_schedule_by_default():
    schedule = GammaSchedule("constant", (2,))
    assert repr(schedule) == "GammaSchedule('constant', gammas=[2.0], epochs=[0.0], by='iteration')"
    assert schedule(3) == 2.0


class TestDevices:
    """Of devices that this machine has not."""

    @pytest.fixture
    def several(self, monkeypatch):
        monkeypatch.setattr(devices, "_is_cpu_only", lambda: False)

    @pytest.mark.parametrize(
        ("cpu", "gpu", "kind"), [(True, False, "cpu"), (False, True, "gpu"), (False, False, "npu")]
    )
    def test_kind(self, several, cpu, gpu, kind):
        class Place:
            is_cpu_place, is_gpu_place = (lambda _: cpu), (lambda _: gpu)

            def __str__(self):
                return "npu"

        assert devices.kind(type("", (), {"place": Place()})()) == kind

    def test_kind_in_a_static_graph(self, several, monkeypatch):
        monkeypatch.setattr(paddle, "in_dynamic_mode", lambda: False)
        monkeypatch.setattr(paddle, "get_device", lambda: "gpu:1")
        assert devices.kind(None) == "gpu"

    def test_name(self, several, monkeypatch):
        place = SimpleNamespace(is_cpu_place=lambda: False, is_gpu_place=lambda: True, gpu_device_id=lambda: 3)
        tensor = SimpleNamespace(place=place)
        assert devices.name(tensor) == "gpu:3"
        monkeypatch.setattr(paddle, "in_dynamic_mode", lambda: False)
        monkeypatch.setattr(paddle, "get_device", lambda: "gpu:1")
        assert devices.name(tensor) == "gpu"

    @pytest.mark.parametrize(("device", "number"), [("gpu:2", 2), ("cpu", 0), ("npu:1", 0)])
    def test_current_gpu(self, monkeypatch, device, number):
        monkeypatch.setattr(paddle, "get_device", lambda: device)
        assert devices.current_gpu() == number

    @pytest.mark.parametrize(
        ("kinds", "custom", "compiled", "only"),
        [
            (["cpu"], None, None, True),
            ([], [], None, True),
            (["cpu", "gpu"], None, None, False),
            (["cpu"], ["npu"], None, False),
            ([], [], "is_compiled_with_cuda", False),
            ([], [], "is_compiled_with_xpu", False),
        ],
    )
    def test_only_the_cpu(self, monkeypatch, kinds, custom, compiled, only):
        monkeypatch.setattr(paddle.device, "get_all_device_type", lambda: kinds)
        monkeypatch.setattr(paddle.device, "get_all_custom_device_type", lambda: custom)
        for name in ("is_compiled_with_cuda", "is_compiled_with_xpu"):
            monkeypatch.setattr(paddle, name, lambda name=name: name == compiled)
        assert devices._is_cpu_only.__wrapped__() is only

    @pytest.mark.parametrize(("value", "wanted"), [(None, False), ("0", False), ("1", True)])
    def test_checks_everywhere(self, monkeypatch, value, wanted):
        monkeypatch.delenv("PADDLE_FOCAL_CHECK", raising=False)
        if value:
            monkeypatch.setenv("PADDLE_FOCAL_CHECK", value)
        assert label_range.is_wanted_everywhere() is wanted


class TestLadder:
    def test_report(self, monkeypatch):
        reasons = {("gpu", "sigmoid_focal_loss"): None, ("gpu", "softmax_focal_loss"): "it has no kernel"}
        monkeypatch.setattr(
            ladder.native, "reason_against", lambda device, loss: reasons.get((device, loss.name), "not built")
        )
        monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
        names = [loss.name for loss in ladder.LOSSES.values()]
        exceptions = "".join(
            f"; {name} composite, because {reasons.get(('gpu', name), 'not built')}"
            for name in names
            if reasons.get(("gpu", name), "not built")
        )
        assert ladder.backend_report() == (
            f"paddle_focal on Paddle {paddle.__version__}\ncpu: composite, because not built\ngpu: native{exceptions}"
        )

    def test_a_fallback_is_said_once(self, monkeypatch):
        monkeypatch.setattr(ladder.native, "reason_against", lambda *_: "of a test")
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            assert [ladder.select(None, LOGIT, SIGMOID) for _ in range(2)] == [ladder.composite] * 2
        said = [str(one.message) for one in warned]
        assert said == ["paddle_focal falls back on its slower composite backend: of a test"]
        with pytest.raises(RuntimeError) as error:
            ladder.select("native", LOGIT)
        assert str(error.value) == "backend 'native' cannot serve: of a test"
        assert ladder.select("native", paddle.zeros([0, 3])) is ladder.composite
        ladder._warn_of_fallback.cache_clear()


def test_a_fallback_blames_the_caller(monkeypatch):
    monkeypatch.setattr(ladder.native, "reason_against", lambda *_: "of another test")
    with pytest.warns(UserWarning, match="of another test") as warned:
        sigmoid_focal_loss(LOGIT, LABEL)
    assert warned[0].filename == __file__
    ladder._warn_of_fallback.cache_clear()
