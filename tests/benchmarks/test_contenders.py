from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from paddle_focal.benchmarks import cases, contenders, measuring
from paddle_focal.benchmarks.cases import Case
from paddle_focal.benchmarks.contenders import CONTENDERS, CopyRun


@pytest.mark.parametrize("dtype", cases.ITEM_SIZE)
def test_contenders_are_right(dtype):
    """Ours in every dtype, on all layouts; the others where they can serve."""
    layouts = [{"shape": (2, 3, 5, 100), "axis": 2, "gamma": 1.5}, {"shape": (2, 5, 3, 100), "axis": 1, "gamma": 1.5}]
    others = [Case("", **layout, loss=name) for layout in layouts for name in ("sigmoid", "softmax")]
    for case in (Case("", (500, 7)), *others):
        for contender in CONTENDERS.values():
            if contender.compiled or dtype not in contender.dtypes or case.loss not in contender.losses:
                continue
            try:
                measuring.check_sample(contender, case, dtype, threads=1)
            except (ImportError, RuntimeError):
                assert contender.name != "composite"


def test_gate_sees_a_wrong_gradient():
    case = Case("", (500, 7))
    right = CONTENDERS["composite"]

    def prepare(inputs, threads):
        run = right.prepare(inputs, threads)
        gradient = run._as_array
        run._as_array = lambda tensor: gradient(tensor) * np.float32(1.0001)
        return run

    with pytest.raises(measuring.WrongError, match="relative error of the gradient"):
        measuring.check_sample(replace(right, prepare=prepare), case, "float32", threads=1)


def test_gate_takes_nan_for_wrong():
    class NotANumber(CopyRun):
        def loss(self):
            return float("nan")

    run = NotANumber(np.zeros(4), threads=1)
    with pytest.raises(measuring.WrongError, match="nan"):
        measuring.check_loss(CONTENDERS["ppdet"], "float32", run, 1.0)


@pytest.mark.parametrize(
    ("name", "dtype", "loss", "gradient"),
    [
        ("composite", "float32", 3e-6, 3e-6),
        ("composite", "bfloat16", 3e-6, 1e-2),
        ("composite", "float16", 3e-6, 1e-2),
        ("composite", "float64", 3e-12, 3e-12),
        ("ppdet", "float32", 3e-4, 3e-4),
        ("ppdet", "float64", 3e-9, 3e-9),
    ],
)
def test_an_error_that_a_dtype_does_not_explain(name, dtype, loss, gradient):
    """The gate refuses a loss and a gradient that are off by so much, and takes a third of a tenth of it."""
    if name == "ppdet":
        pytest.importorskip("ppdet")
    right, case = CONTENDERS[name], Case("", (500, 7))

    def off_by(loss_error, gradient_error):
        def prepare(inputs, threads):
            run = right.prepare(inputs, threads)
            value, array = run.loss, run.gradient
            run.loss = lambda: value() * (1 + loss_error)
            # Half of the elements up, half down: a rounding of the array would not be seen, a sum of signs would be 0.
            signs = np.where(np.arange(3500).reshape(500, 7) % 2, 1, -1)
            run.gradient = lambda: cases.as_float64(array()) * (1 + signs * gradient_error)
            return run

        measuring.check_sample(replace(right, prepare=prepare), case, dtype, threads=1)

    off_by(loss / 30, gradient / 30)
    with pytest.raises(measuring.WrongError, match="relative error of the loss"):
        off_by(loss, 0)
    with pytest.raises(measuring.WrongError, match="relative error of the gradient"):
        off_by(0, gradient)


@pytest.mark.parametrize(("dtype", "error"), [("bfloat16", 9e-2), ("float16", 5e-2)])
def test_an_error_of_the_others_in_half_precision(dtype, error):
    right = CONTENDERS["composite"]

    def check(factor):
        def prepare(inputs, threads):
            run = right.prepare(inputs, threads)
            value = run.loss
            run.loss = lambda: value() * factor
            return run

        other = replace(right, prepare=prepare, tolerances=CONTENDERS["torch-eager"].tolerances)
        measuring.check_sample(other, Case("", (500, 7)), dtype, threads=1)

    check(1 + error / 30)
    with pytest.raises(measuring.WrongError, match=f"relative error of the loss {error:g}, allowed"):
        check(1 + error)


@pytest.mark.parametrize("dtype", cases.ITEM_SIZE)
def test_torch_gets_the_inputs_in_their_dtype(monkeypatch, dtype):
    """The arrays as they are, bfloat16 by its bits; PyTorch need not be here."""
    seen = []

    class Tensor:
        def __init__(self, array):
            self.array = array
            seen.append(array.dtype.name)

        def clone(self):
            return Tensor(self.array.copy())

        def view(self, kind):
            seen.append(kind)
            return self

        def requires_grad_(self):
            return self

    names = {"int16": "int16", "bfloat16": "bfloat16", "from_numpy": Tensor, "set_num_threads": seen.append}
    torch = SimpleNamespace(**names)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(contenders._IN_TORCH, "sigmoid", lambda case, compiled: (case, compiled))
    inputs = cases.make_inputs(Case("", (5, 3)), dtype)
    run = CONTENDERS["torch-eager"].prepare(inputs, 3)
    assert run._function == (inputs.case, False)
    logit = ["int16", "int16", "bfloat16"] if dtype == "bfloat16" else [dtype, dtype]
    assert seen == [3, *logit, "int64"]
    np.testing.assert_array_equal(run._logit.array, inputs.logit.view("int16") if dtype == "bfloat16" else inputs.logit)


def test_who_computes_what():
    assert list(CONTENDERS) == ["ppdet", "textbook", "composite", "native", "memcpy", "torch-eager", "torch-compile"]
    assert [name for name, one in CONTENDERS.items() if one.ours] == ["composite", "native"]
    assert [name for name, one in CONTENDERS.items() if one.compiled] == ["torch-compile"]
    assert [name for name, one in CONTENDERS.items() if one.tolerances is None] == ["memcpy"]
    for name, losses in (("ppdet", ["sigmoid"]), ("textbook", ["softmax"])):
        assert list(CONTENDERS[name].losses) == losses
        assert CONTENDERS[name].dtypes == ("float32", "float64")
    for name in ("composite", "native", "memcpy", "torch-eager", "torch-compile"):
        assert list(CONTENDERS[name].losses) == ["sigmoid", "softmax"]
        assert CONTENDERS[name].dtypes == tuple(cases.ITEM_SIZE)
    for one in CONTENDERS.values():
        assert one.name in CONTENDERS


@pytest.mark.parametrize(("threads", "parts"), [(1, 1), (2, 2), (5, 3)])
def test_memcpy_copies_in_parts_of_a_mebibyte(threads, parts):
    logit = np.random.default_rng(0).standard_normal((3, 2**18), np.float32)
    run = CopyRun(logit, threads)
    assert len(run._targets) == len(run._sources) == parts
    for target in run._targets:
        target[:] = 0
    run.forward()
    np.testing.assert_array_equal(np.concatenate(run._targets), logit.ravel())
    run.backward()
    run.clear()


def test_memcpy_of_little_is_one_part():
    assert len(CopyRun(np.zeros(10, np.float32), threads=2)._targets) == 1


def test_a_run_frees_its_results():
    run = CONTENDERS["composite"].prepare(cases.make_inputs(Case("", (50, 7)), "float32"), 1)
    run.forward()
    run.backward()
    gradient = run.gradient()
    run.clear()
    assert run._loss is None
    run.forward()
    run.backward()
    np.testing.assert_array_equal(run.gradient(), gradient)  # and not twice as much
