"""The steps to a model for ONNX Runtime, with the converter replaced."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import paddle
import pytest

pytest.importorskip("ppdet")

from ppdet.modeling.layers import MultiClassNMS

from paddle_focal.engine import onnx, onnx_nms
from paddle_focal.errors import ToolError


@pytest.mark.parametrize(
    ("limits", "written"),
    [((1000, 100), ("1000", "100")), ((-1, 0), ("2147483647", "0")), ((0, -1), ("0", "2147483647"))],
)
def test_numbers_of_the_suppression(limits, written):
    lines = [line.strip() for line in onnx_nms.graph(MultiClassNMS(0.05, *limits, 0.6)).splitlines()]
    assert lines[1:3] == [
        '<ir_version: 8, opset_import: ["": 17]>',
        "multi_class_nms (float[1, M, 4] boxes, float[1, C, M] scores) => (float[N, 6] bbox, int32[1] bbox_num)",
    ]
    assert lines[7:11] == [
        "score_threshold = Constant<value_float = 0.05>()",
        "nms_threshold = Constant<value_float = 0.6>()",
        f"nms_top_k = Constant<value_ints = [{written[0]}]>()",
        f"keep_top_k = Constant<value_ints = [{written[1]}]>()",
    ]
    assert (onnx_nms.OPSET, onnx_nms.IR_VERSION) == (17, 8)


def number(value: float, kind: str = "0.a_f64") -> dict:
    return {"#": kind, "D": value}


def test_numbers_in_single_precision():
    entries = [
        {"N": "epsilon", "AT": number(1e-5)},
        {"N": "value", "AT": number(2.0)},
        {"N": "scale", "AT": {"#": "0.a_array", "D": [number(2.0), number(3, "0.a_i64")]}},
        {"N": "value", "AT": {"#": "0.a_array", "D": [number(2.0)]}},
        {"N": "name", "AT": number("a", "0.a_str")},
        {"N": "no attribute"},
    ]
    assert [onnx._in_single_precision(entry) for entry in entries] == [
        {"N": "epsilon", "AT": number(1e-5, "0.a_f32")},
        {"N": "value", "AT": number(2.0)},
        {"N": "scale", "AT": {"#": "0.a_array", "D": [number(2.0, "0.a_f32"), number(3, "0.a_i64")]}},
        {"N": "value", "AT": {"#": "0.a_array", "D": [number(2.0)]}},
        {"N": "name", "AT": number("a", "0.a_str")},
        {"N": "no attribute"},
    ]


@pytest.fixture
def converter(monkeypatch):
    """Notes what onnx and paddle2onnx are asked for; ``fails`` makes the check fail."""
    calls, state = [], SimpleNamespace(fails=False)

    def note(name: str, result=None):
        return lambda *given, **options: calls.append((name, *given, options)) or result

    def check(*given, **options):
        calls.append(("check", *given, options))
        if state.fails:
            raise ValueError("no model")

    outputs = [SimpleNamespace(name="first"), SimpleNamespace(name="second")]
    inputs = [SimpleNamespace(name="boxes"), SimpleNamespace(name="scores")]
    network = SimpleNamespace(graph=SimpleNamespace(output=outputs))
    suppression = SimpleNamespace(graph=SimpleNamespace(input=inputs))
    merged = SimpleNamespace(SerializeToString=lambda: b"serialized")
    package = ModuleType("onnx")
    package.load_from_string = note("load", network)
    package.compose = SimpleNamespace(merge_models=note("merge", merged))
    package.parser = SimpleNamespace(parse_model=note("parse", suppression))
    package.checker = SimpleNamespace(check_model=check)
    monkeypatch.setitem(sys.modules, "onnx", package)
    for name in ("compose", "parser"):
        monkeypatch.setitem(sys.modules, f"onnx.{name}", getattr(package, name))
    paddle2onnx = SimpleNamespace(__version__="9.9", export=note("export", "converted"))
    monkeypatch.setitem(sys.modules, "paddle2onnx", paddle2onnx)
    monkeypatch.setattr(onnx, "_make_ranges_scalar", lambda graph: calls.append(("ranges", graph)))
    monkeypatch.setattr(onnx, "_drop_unused", lambda graph: calls.append(("unused", graph)))
    return SimpleNamespace(calls=calls, state=state, network=network, suppression=suppression, merged=merged)


def test_the_steps_of_a_conversion(converter, tmp_path):
    (tmp_path / "model.json").write_text(json.dumps([{"N": "epsilon", "AT": number(0.5)}]))
    assert onnx._convert(tmp_path / "model", "a graph") == b"serialized"
    assert json.loads((tmp_path / "model.json").read_text()) == [{"N": "epsilon", "AT": number(0.5, "0.a_f32")}]
    network = converter.network
    files = f"{tmp_path}/model.json", f"{tmp_path}/model.pdiparams"
    assert converter.calls == [
        ("export", *files, {"save_file": None, "opset_version": 17}),
        ("load", "converted", {}),
        ("ranges", network.graph),
        ("unused", network.graph),
        ("parse", "a graph", {}),
        ("merge", network, converter.suppression, {"io_map": [("first", "boxes"), ("second", "scores")]}),
        ("check", converter.merged, {"full_check": True}),
    ]
    converter.state.fails = True
    with pytest.raises(ToolError) as error:
        onnx._convert(tmp_path / "model", "a graph")
    expected = "paddle2onnx 9.9 cannot convert this model; what it says above may tell why"
    assert str(error.value) == expected


def test_what_an_export_leaves(monkeypatch, tmp_path, caplog):
    """Two files in the folder, which may be there already, and nothing elsewhere."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    done = []

    @contextlib.contextmanager
    def noted(name: str):
        done.append(name)
        yield
        done.append(f"no {name}")

    def trace(folder: str) -> None:
        done.append("traced")
        (Path(folder) / "net").mkdir()
        (Path(folder) / "net/infer_cfg.yml").write_text("a: 1")

    head = SimpleNamespace(nms=MultiClassNMS(0.05, 1000, 100, 0.6))
    trainer = SimpleNamespace(model=SimpleNamespace(sublayers=lambda: [head]), export=trace)
    monkeypatch.setattr(onnx, "exportable", lambda: noted("exportable"))
    monkeypatch.setattr(onnx, "_traced_for_one_image", lambda: noted("one image"))
    monkeypatch.setattr(onnx, "_convert", lambda *given: done.append(given) or b"model")
    expected = onnx_nms.graph(head.nms)
    folder = tmp_path / "a/b"
    with caplog.at_level("INFO"):
        onnx.export(trainer, folder)
    *steps, (traced, graph) = done
    assert steps == ["exportable", "one image", "traced", "no one image", "no exportable"]
    assert (traced.parts[-2:], graph) == (("net", "model"), expected)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "infer_cfg.yml": "a: 1",
        "model.onnx": "model",
    }
    assert caplog.messages == [f"{folder}/model.onnx: a model for ONNX Runtime"]
    assert list((tmp_path / "temporary").iterdir()) == []
    assert head.nms(1, 2) == (1, 2, None)
    head.nms = MultiClassNMS(0.05, 1000, 100, 0.6)
    onnx.export(trainer, folder)


def test_a_model_is_traced_for_one_image(monkeypatch):
    traced = []
    monkeypatch.setattr(
        paddle.jit, "to_static", lambda model, input_spec: traced.append((model, input_spec)) or "static"
    )
    ppdets, before = logging.getLogger("ppdet.engine"), paddle.jit.to_static
    specs = {"image": SimpleNamespace(shape=(-1, 3, 8, -1)), "im_shape": SimpleNamespace(shape=(None, 2))}
    with onnx._traced_for_one_image():
        assert ppdets.disabled
        assert paddle.jit.to_static("model", [specs, "more"]) == "static"
    assert traced == [("model", [specs, "more"])]
    assert [spec.shape for spec in specs.values()] == [(1, 3, 8, -1), (1, 2)]
    assert not ppdets.disabled
    assert paddle.jit.to_static is before


def test_scalars_of_ranges():
    helper = pytest.importorskip("onnx.helper")
    nodes = [helper.make_node("Add", ["a", "b"], ["c"]), helper.make_node("Range", ["c", "d", "e"], ["f"], name="r")]
    graph = helper.make_graph(nodes, "g", [], [])
    onnx._make_ranges_scalar(graph)
    assert [(node.op_type, list(node.input), list(node.output)) for node in graph.node] == [
        ("Add", ["a", "b"], ["c"]),
        ("Squeeze", ["c"], ["r.0"]),
        ("Squeeze", ["d"], ["r.1"]),
        ("Squeeze", ["e"], ["r.2"]),
        ("Range", ["r.0", "r.1", "r.2"], ["f"]),
    ]
