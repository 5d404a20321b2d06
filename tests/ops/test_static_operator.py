"""The operator for static graphs: what it declares, and how it is called."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import paddle
import pytest
from native_library import needs_operator
from paddle.utils.cpp_extension.extension_utils import parse_op_info

from paddle_focal import build
from paddle_focal.ops.loss import LossParams, LossSpec
from paddle_focal.ops.native import static_operator
from paddle_focal.ops.registry import LOSSES


@needs_operator
def test_declares_what_it_is_called_with():
    """Inputs and attributes go by their order alone."""
    static_operator.register()
    inputs, attributes, _ = parse_op_info(static_operator.NAME)
    assert (tuple(inputs), tuple(attributes)) == (static_operator.INPUTS, static_operator.ATTRIBUTES)


def test_that_is_not_built(monkeypatch):
    loaded = []
    monkeypatch.setattr(build, "operator_name", lambda: "none.so")
    monkeypatch.setattr(static_operator, "library", lambda: loaded.append("with Paddle's threads"))
    static_operator.register.cache_clear()
    with pytest.raises(RuntimeError) as error:
        static_operator.register()
    assert str(error.value) == (
        "a focal loss in a static graph needs an operator for this Paddle: "
        "build it with `python -m paddle_focal.build --operator`, or run in dynamic mode"
    )
    assert loaded == ["with Paddle's threads"]


def params(loss, scales):
    spec = LossSpec(
        loss=loss, shape=(-1, 3), dtype=paddle.float32, label_dtype=paddle.int64, axis=1,
        numbers={"gamma": 1.5, "label_smoothing": 0.25}, ignore_index=-7, reduction="sum",
    )  # fmt: skip
    return LossParams(spec, SimpleNamespace(detach=lambda: "a label"), scales, "a weight")


@pytest.mark.parametrize(
    ("name", "scales", "numbers"),
    [
        ("sigmoid_focal_loss", {"foreground_scale": 0.5, "background_scale": "a scale"}, [0.5, 0.0]),
        ("softmax_focal_loss", {"scale": 2.0}, [2.0, 0.0]),
    ],
)
def test_a_graph_of_paddle_2_lacks_the_inputs_that_are_not_given(monkeypatch, name, scales, numbers):
    """Its operators take inputs and attributes by name."""
    appended = []

    class Helper:
        def __init__(self, name):
            self.name = name

        def create_variable_for_type_inference(self, dtype):
            return f"a {dtype}"

        def append_op(self, **options):
            appended.append((self.name, options))

    monkeypatch.setattr(static_operator, "in_dynamic_or_pir_mode", lambda: False)
    monkeypatch.setattr(static_operator, "LayerHelper", Helper)
    monkeypatch.setattr(static_operator, "register", lambda: None)
    loss, logit = LOSSES[name], SimpleNamespace(dtype="bfloat16")
    assert static_operator.compute(logit, params(loss, scales)) == "a bfloat16"
    ((operator, options),) = appended
    assert operator == options["type"] == "paddle_focal_loss"
    expected = {"Logit": logit, "Label": "a label", "Weight@OPTIONAL": "a weight"}
    if "background_scale" in scales:
        expected["SecondScale@OPTIONAL"] = "a scale"
    assert options["inputs"] == expected
    assert options["outputs"] == {"Loss": "a bfloat16"}
    bits = [static_operator._bits(number) for number in (*numbers, 1.5, 0.25, 0.0)]
    values = [loss.number, loss.keeps_class_axis, 1, *bits, -7, True]
    assert options["attrs"] == dict(zip(static_operator.ATTRIBUTES, values))
    assert bits[2] == 0x3FF8000000000000


@pytest.mark.parametrize("home", [paddle._C_ops, static_operator.core.eager], ids=["_C_ops", "core.eager"])
def test_a_graph_of_paddle_3_takes_all_by_order(monkeypatch, home):
    """Without a cast, by a function that is in one place or another."""
    events = []

    @contextmanager
    def auto_cast(enable):
        events.append(enable)
        yield
        events.append("end")

    def run(*arguments):
        events.append(arguments)
        return ["a loss"]

    for owner in (paddle._C_ops, static_operator.core.eager):
        monkeypatch.setattr(owner, "_run_custom_op", run if owner is home else None, raising=False)
    monkeypatch.setattr(paddle.amp, "auto_cast", auto_cast)
    monkeypatch.setattr(static_operator, "in_dynamic_or_pir_mode", lambda: True)
    monkeypatch.setattr(static_operator, "register", lambda: None)
    given = params(LOSSES["softmax_focal_loss"], {"scale": "a scale"})
    assert static_operator.compute("logits", given) == "a loss"
    bits = [0, 0, 0x3FF8000000000000, 0x3FD0000000000000, 0]  # of 0, 0, 1.5, 0.25 and 0
    inputs = ("logits", "a label", None, "a scale", None, "a weight")
    assert events == [False, ("paddle_focal_loss", *inputs, 1, False, 1, *bits, -7, True), "end"]
