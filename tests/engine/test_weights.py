"""Weights that would run code, are damaged, or belong to another model."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

pytest.importorskip("ppdet")

from paddle_focal.engine import weights
from paddle_focal.errors import ToolError

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "configs/retinanet_r18_fpn_digits.yml"


class Harm:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self._folder),)


@pytest.fixture
def restricted():
    with weights.restricted():
        yield
    assert paddle.framework.io.pickle is pickle


def test_trusted_files_are_read_as_ever():
    with weights.restricted(is_trusted=True):
        assert paddle.framework.io.pickle is pickle


@pytest.fixture
def model():
    paddle.seed(1)
    return paddle.nn.Sequential(paddle.nn.Conv2D(2, 3, 1), paddle.nn.BatchNorm2D(3))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_paddle_saves_is_read(tmp_path, restricted, model, protocol):
    optimizer = paddle.optimizer.AdamW(paddle.optimizer.lr.NoamDecay(8, 10), parameters=model.parameters())
    model(paddle.ones([1, 2, 4, 4])).sum().backward()
    optimizer.step()
    nested = {"a": {"b": paddle.arange(4.0)}, "c": paddle.zeros([0, 2])}
    states = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "nested": nested}
    for name, state in states.items():
        path = tmp_path / f"{name}.pdparams"
        paddle.save(state, str(path), protocol=protocol)
        read = weights.read(path)
        assert read.keys() == state.keys()
        for key, value in state.items():
            if paddle.is_tensor(value):
                np.testing.assert_array_equal(read[key].numpy(), value.numpy())
            elif name == "nested":
                np.testing.assert_array_equal(read[key]["b"].numpy(), value["b"].numpy())
            else:
                assert read[key] == value


def test_numbers_of_numpy_are_read(tmp_path, restricted):
    state = {"epoch": np.int64(3), "rate": np.float32(0.5), "array": np.arange(6).reshape(2, 3)}
    (tmp_path / "state.pdopt").write_bytes(pickle.dumps(state))
    read = weights.read(tmp_path / "state.pdopt")
    assert (read["epoch"], read["rate"]) == (3, 0.5)


def test_code_is_refused(tmp_path, restricted, model):
    path = tmp_path / "weights.pdparams"
    path.write_bytes(pickle.dumps({**{k: v.numpy() for k, v in model.state_dict().items()}, "x": Harm(tmp_path / "h")}))
    with pytest.raises(ToolError, match=r"weights.pdparams would call posix.mkdir when it is loaded.*--trust-weights"):
        weights.load(model, str(path))
    assert not (tmp_path / "h").exists()


def test_arrays_of_other_systems_are_read(tmp_path, restricted):
    """Of NumPy before version 2, and of a machine with the other byte order."""
    arrays = {"weight": np.arange(6, dtype=">f4").reshape(2, 3, order="F"), "rate": np.float64(0.1)}
    content = pickle.dumps(arrays, protocol=2).replace(b"numpy._core.", b"numpy.core.")
    assert b"numpy.core.multiarray\n_reconstruct" in content
    (tmp_path / "old.pdparams").write_bytes(content)
    read = weights.read(tmp_path / "old.pdparams")
    np.testing.assert_array_equal(np.asarray(read["weight"]), arrays["weight"])
    assert read["rate"] == 0.1


def test_memory_beside_an_array_is_out_of_reach(tmp_path, restricted):
    """A pickle that grows a dtype, or makes a view of memory, would write where it likes."""

    class Grown:
        def __reduce__(self):
            return np.dtype, ("V8", False, True), (3, "|", None, None, None, 2**30, 1, 0)

    class View:
        def __reduce__(self):
            return np.ndarray, ((2,), "uint8", bytearray(2))

    for what, message in ((Grown(), "the dtype 'V8' is none of numbers"), (View(), "cannot be read|would call")):
        (tmp_path / "bad.pdparams").write_bytes(pickle.dumps({"x": what}))
        with pytest.raises(ToolError, match=message):
            weights.read(tmp_path / "bad.pdparams")


@pytest.mark.parametrize("trusted", [False, True])
def test_the_tools_refuse_it_unless_they_are_told_otherwise(tmp_path, digits, trusted):
    (tmp_path / "weights.pdparams").write_bytes(pickle.dumps({"x": Harm(tmp_path / "harmed")}))
    options = [f"EvalDataset.dataset_dir={digits}", f"save_dir={tmp_path}", f"weights={tmp_path / 'weights'}"]
    flags = ["--trust-weights"] if trusted else []
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "tools/eval.py", "-c", CONFIG, *flags, "-o", *options],
        cwd=ROOT, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert (tmp_path / "harmed").exists() == trusted
    message = "is of another model" if trusted else "weights.pdparams would call posix.mkdir when it is loaded"
    assert message in result.stderr


def test_of_another_model(tmp_path, model):
    state = model.state_dict()
    del state["0.bias"]
    state["0.weight"] = paddle.zeros([3, 2, 3, 3])
    paddle.save(state, str(tmp_path / "other.pdparams"))
    message = (
        r"other.pdparams is of another model than the configuration's: of 6 tensors, 2 do not fit: "
        r"0.bias is missing; 0.weight has shape \[3, 2, 3, 3\] instead of \[3, 2, 1, 1\]"
    )
    with pytest.raises(ToolError, match=message):
        weights.load(model, str(tmp_path / "other"))


@pytest.mark.parametrize("name", ["weights.v1.2", "model_final", "v1.2/model"])
@pytest.mark.parametrize("ending", ["", ".pdparams"])
def test_names_with_dots(tmp_path, model, name, ending):
    path = tmp_path / f"{name}.pdparams"
    paddle.save(model.state_dict(), str(path))
    expected = model[0].weight.numpy()
    model[0].weight.set_value(paddle.zeros_like(model[0].weight))
    weights.load(model, str(tmp_path / f"{name}{ending}"))
    np.testing.assert_array_equal(model[0].weight.numpy(), expected)


def test_weights_that_are_not_there(tmp_path, model):
    (tmp_path / "weights.v1.pdparams").write_bytes(b"")
    with pytest.raises(ToolError, match=r"no such weights: .*/weights\.v1\.2\.pdparams; name a checkpoint"):
        weights.load(model, str(tmp_path / "weights.v1.2"))
    with pytest.raises(ToolError, match="no weights: name a checkpoint"):
        weights.load(model, None)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_of_another_dtype(tmp_path, model, dtype):
    expected = {key: value.numpy() for key, value in model.state_dict().items()}
    paddle.save({k: v.astype(dtype) for k, v in model.state_dict().items()}, str(tmp_path / "other.pdparams"))
    for parameter in model.parameters():
        parameter.set_value(paddle.zeros_like(parameter))
    weights.load(model, str(tmp_path / "other.pdparams"))
    for key, value in model.state_dict().items():
        np.testing.assert_allclose(value.numpy(), expected[key], rtol=2**-10)


@pytest.mark.parametrize(
    ("content", "message"), [(5, "no tensors by name: .* of the type int"), ({"0.bias": 1.0}, "0.bias is no tensor")]
)
def test_of_something_else(tmp_path, model, content, message):
    state = {**model.state_dict(), **content} if isinstance(content, dict) else content
    paddle.save(state, str(tmp_path / "else.pdparams"))
    with pytest.raises(ToolError, match=message):
        weights.load(model, str(tmp_path / "else.pdparams"))


def test_damaged(tmp_path, model):
    paddle.save(model.state_dict(), str(tmp_path / "half.pdparams"))
    content = (tmp_path / "half.pdparams").read_bytes()
    (tmp_path / "half.pdparams").write_bytes(content[: len(content) // 2])
    with pytest.raises(ToolError, match=r"half.pdparams cannot be read: "):
        weights.load(model, str(tmp_path / "half.pdparams"))


@pytest.mark.parametrize(("missing", "end"), [(3, "is missing"), (4, "is missing; ...")])
def test_three_of_the_tensors_that_do_not_fit_are_named(model, missing, end):
    state = model.state_dict()
    for key in [*state][:missing]:
        del state[key]
    reason = weights.misfits(model, state)
    assert reason.startswith(f"of 6 tensors, {missing} do not fit: 0.weight is missing; 0.bias is missing; ")
    assert reason.count("is missing") == 3
    assert reason.endswith(end)


def test_what_paddleslim_has_loaded_is_kept(model):
    weights.load_into(SimpleNamespace(model=model, is_loaded_weights=True), "nowhere")
    with pytest.raises(ToolError, match="no such weights: nowhere"):
        weights.load_into(SimpleNamespace(model=model, is_loaded_weights=False), "nowhere")


def test_all_that_a_pickle_of_weights_may_name():
    arrays = {(f"{package}.multiarray", name) for package in ("numpy.core", "numpy._core") for name in ARRAYS}
    assert set(weights._STAND_INS) == {
        ("_codecs", "encode"),
        ("builtins", "tuple"),
        ("__builtin__", "tuple"),
        ("__builtin__", "bytes"),
        ("collections", "OrderedDict"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        *arrays,
    }


ARRAYS = ("_reconstruct", "scalar")


@pytest.mark.parametrize("dtype", ["?", "i1", "<i8", "u1", "<f2", ">f8", "c8"])
def test_arrays_of_numbers_are_read(tmp_path, restricted, dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    state = {"array": np.asfortranarray(array), "number": array[1, 2], "empty": array[:0]}
    (tmp_path / "a.pdopt").write_bytes(pickle.dumps(state, protocol=2))
    read = weights.read(tmp_path / "a.pdopt")
    for name, value in state.items():
        np.testing.assert_array_equal(np.asarray(read[name]), value)
        assert np.asarray(read[name]).dtype == value.dtype.newbyteorder("=")


@pytest.mark.parametrize("dtype", ["S3", "U3", "M8[s]", "m8[s]", "V4", "O"])
def test_arrays_of_anything_else_are_not(tmp_path, restricted, dtype):
    (tmp_path / "a.pdopt").write_bytes(pickle.dumps({"array": np.zeros(2, dtype)}, protocol=2))
    with pytest.raises(ToolError, match=r"a.pdopt cannot be read: the dtype '\w+' is none of numbers$"):
        weights.read(tmp_path / "a.pdopt")
