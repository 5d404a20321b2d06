"""The operator for static graphs: what it declares, and how it is called."""

from __future__ import annotations

from types import SimpleNamespace

import paddle
import pytest
from native_library import needs_library, needs_operator
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


@needs_library
def test_that_is_not_built(monkeypatch):
    monkeypatch.setattr(build, "operator_name", lambda: "none.so")
    static_operator.register.cache_clear()
    with pytest.raises(RuntimeError) as error:
        static_operator.register()
    assert str(error.value) == (
        "a focal loss in a static graph needs an operator for this Paddle: "
        "build it with `python -m paddle_focal.build --operator`, or run in dynamic mode"
    )


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
    loss = LOSSES[name]
    spec = LossSpec(
        loss=loss, shape=(-1, 3), dtype=paddle.float32, label_dtype=paddle.int64, axis=1,
        numbers={"gamma": 1.5, "label_smoothing": 0.25}, ignore_index=-7, reduction="sum",
    )  # fmt: skip
    label = SimpleNamespace(detach=lambda: "a label")
    logit = SimpleNamespace(dtype="float32")
    assert static_operator.compute(logit, LossParams(spec, label, scales, "a weight")) == "a float32"
    ((operator, options),) = appended
    assert operator == options["type"] == "paddle_focal_loss"
    expected = {"Logit": logit, "Label": "a label", "Weight@OPTIONAL": "a weight"}
    if "background_scale" in scales:
        expected["SecondScale@OPTIONAL"] = "a scale"
    assert options["inputs"] == expected
    assert options["outputs"] == {"Loss": "a float32"}
    bits = [static_operator._bits(number) for number in (*numbers, 1.5, 0.25, 0.0)]
    values = [loss.number, loss.keeps_class_axis, 1, *bits, -7, True]
    assert options["attrs"] == dict(zip(static_operator.ATTRIBUTES, values))
    assert bits[2] == 0x3FF8000000000000
