"""Exporting a trained detector as a model for ONNX Runtime."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import paddle
from paddle import Tensor, nn
from ppdet.engine import Trainer
from ppdet.modeling.architectures import DETR
from ppdet.modeling.layers import MultiClassNMS

from paddle_focal.detection.compatibility import exportable
from paddle_focal.engine import onnx_nms
from paddle_focal.engine.logs import logger
from paddle_focal.errors import ToolError
from paddle_focal.files import write_whole

PACKAGES = ("onnx", "paddle2onnx")


def check_requirements() -> None:
    """See that models can be converted here.

    Raises:
        ToolError: Paddle has no PIR graphs, or a package is missing.
    """
    if not paddle.base.framework.use_pir_api():
        raise ToolError(
            "--format onnx needs the PIR graphs of Paddle 3, which this Paddle, "
            f"{paddle.__version__}, lacks or FLAGS_enable_pir_api=0 turns off"
        )
    for package in PACKAGES:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ToolError(
                f"--format onnx needs {package}, which cannot be imported: {error}. "
                f"`pip install {' '.join(PACKAGES)}` brings it"
            ) from error


def export(trainer: Trainer, folder: Path) -> None:
    """Write ``model.onnx``, and ``infer_cfg.yml``, which says how images are prepared.

    The model takes one image at a time. Its inputs are those of the model for ``paddle.inference``; its outputs are
    ``bbox``, rows of class, score, left, top, right and bottom, and ``bbox_num``, the number of rows.

    Args:
        trainer: ppdet's, with the weights loaded. Its model has no non-maximum suppression afterwards; a detector of
            the DETR family, which has none, is not changed.
        folder: where to write.

    Raises:
        ToolError: the model cannot be converted.
    """
    nms = _detach_nms(trainer.model)
    suppression = nms and onnx_nms.graph(nms)
    with tempfile.TemporaryDirectory() as temporary:
        with exportable(), _traced_for_one_image():
            trainer.export(temporary)
        (traced,) = Path(temporary).iterdir()
        model = _convert(traced / "model", suppression)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(traced / "infer_cfg.yml", folder)
    path = folder / "model.onnx"
    write_whole(path, lambda partial: partial.write_bytes(model))
    logger.info("%s: a model for ONNX Runtime", path)


def _detach_nms(model: nn.Layer) -> MultiClassNMS | None:
    """Makes a model give its boxes and their scores as they are before non-maximum suppression, where it has one."""
    for head in model.sublayers():
        nms = getattr(head, "nms", None)
        if isinstance(nms, MultiClassNMS):
            head.nms = _boxes_and_scores
            return nms
    if isinstance(model, DETR):
        return None
    raise ToolError(
        "--format onnx takes a detector with MultiClassNMS, such as RetinaNet, or of the DETR family, which "
        f"{type(model).__name__} is not"
    )


def _boxes_and_scores(boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, None]:
    return boxes, scores, None


@contextlib.contextmanager
def _traced_for_one_image() -> Iterator[None]:
    """Lets ppdet trace its model for one image, because paddle2onnx cannot convert the loop over a batch."""
    to_static = paddle.jit.to_static

    def to_static_for_one_image(model: nn.Layer, input_spec: list[dict], **options: Any):
        for spec in input_spec[0].values():
            spec.shape = (1, *spec.shape[1:])
        return to_static(model, input_spec=input_spec, **options)

    with contextlib.ExitStack() as patches:
        patches.enter_context(patch.object(paddle.jit, "to_static", to_static_for_one_image))
        # What ppdet logs is that it has written a model, into a folder that is soon gone.
        patches.enter_context(patch.object(logging.getLogger("ppdet.engine"), "disabled", True))
        yield


def _convert(traced: Path, suppression: str | None) -> bytes:
    """The ONNX model of a traced one, and of the suppression that follows it."""
    import onnx.compose
    import onnx.parser
    import paddle2onnx

    program, parameters = traced.with_suffix(".json"), traced.with_suffix(".pdiparams")
    program.write_text(json.dumps(json.loads(program.read_text(), object_hook=_in_single_precision)))
    try:
        # Given a file to write, paddle2onnx would optimize the model, and run pip for what it needs to do so.
        converted = paddle2onnx.export(str(program), str(parameters), save_file=None, opset_version=onnx_nms.OPSET)
        network = onnx.load_from_string(converted)
        _make_ranges_scalar(network.graph)
        _drop_unused(network.graph)
        following = onnx.parser.parse_model(suppression or onnx_nms.NOTHING)
        links = list(zip((one.name for one in network.graph.output), (one.name for one in following.graph.input)))
        model = onnx.compose.merge_models(network, following, io_map=links)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # of many types; paddle2onnx itself logs the reason and goes on without a result
        raise ToolError(
            f"paddle2onnx {paddle2onnx.__version__} cannot convert this model; what it says above may tell why"
        ) from error
    return model.SerializeToString()


def _make_ranges_scalar(graph) -> None:
    """Gives each Range of an ONNX graph scalars, as it must have, where paddle2onnx gives it lists of one number."""
    from onnx import helper

    nodes = []
    for node in graph.node:
        if node.op_type == "Range":
            for place, name in enumerate(node.input):
                node.input[place] = f"{node.name}.{place}"
                nodes.append(helper.make_node("Squeeze", [name], [node.input[place]]))
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _drop_unused(graph) -> None:
    """Takes the constants out of an ONNX graph that no node reads; ONNX Runtime warns of each."""
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for node in [node for node in graph.node if node.op_type == "Constant" and node.output[0] not in read]:
        graph.node.remove(node)
    for constant in [constant for constant in graph.initializer if constant.name not in read]:
        graph.initializer.remove(constant)


def _in_single_precision(entry: dict) -> dict:
    """An operator's attribute, as an entry of a program, with numbers that paddle2onnx 2.1 can read.

    Paddle 3.3 writes some in double precision that were in single precision before. A list of them paddle2onnx refuses;
    in place of one number, such as a group norm's epsilon, it takes what lies in memory. The ``value`` of the operator
    ``full`` it reads.
    """
    if "AT" in entry and entry["N"] != "value":
        attribute = entry["AT"]
        for number in attribute["D"] if attribute["#"] == "0.a_array" else [attribute]:
            if number["#"] == "0.a_f64":
                number["#"] = "0.a_f32"
    return entry
