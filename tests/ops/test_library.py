"""How the native library is loaded, and whose threads it is given."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from paddle_focal.ops.native import library as module
from paddle_focal.ops.registry import SIGMOID

REMEDY = "build it with `python -m paddle_focal.build`"


def test_a_library_of_another_interface():
    with pytest.raises(module.UnavailableError) as error:
        module.load(Path("libm.so.6"))
    assert str(error.value).startswith("the native library cannot be loaded (")
    assert str(error.value).endswith(f"undefined symbol: focal_forward): {REMEDY}")


NAMES = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads", "omp_get_max_threads")
WHOLE, LACKING = {name: f"the {name}" for name in NAMES}, {"GOMP_parallel": "a function"}


@pytest.mark.parametrize(
    ("runtimes", "asked", "given"),
    [
        ({"libgomp.so.1": WHOLE}, ["libaomp-1.so", "libiomp5.so", "libgomp.so.1"], True),
        ({"libaomp-1.so": LACKING, "libiomp5.so": WHOLE, "libgomp.so.1": WHOLE}, ["libaomp-1.so", "libiomp5.so"], True),
        ({}, ["libaomp-1.so", "libiomp5.so", "libgomp.so.1"], False),
    ],
)
def test_the_first_openmp_that_serves(monkeypatch, tmp_path, runtimes, asked, given):
    """Of those that Paddle brings along, or else of the system's; without one the library has one thread."""
    (tmp_path / "libs").mkdir()
    for name in ("libiomp5.so", "libaomp-1.so", "libphi.so"):
        (tmp_path / "libs" / name).touch()
    loaded, passed = [], []

    def load(path: str) -> SimpleNamespace:
        loaded.append(Path(path).name)
        if Path(path).name not in runtimes:
            raise OSError(path)
        return SimpleNamespace(**runtimes[Path(path).name])

    monkeypatch.setattr(module, "paddle", SimpleNamespace(__file__=str(tmp_path / "__init__.py")))
    monkeypatch.setattr(module.ctypes, "CDLL", load)
    monkeypatch.setattr(module.ctypes, "cast", lambda function, _: function)
    module._share_threads(SimpleNamespace(focal_use_openmp=lambda *functions: passed.append(functions)))
    assert loaded == asked
    assert passed == [tuple(WHOLE.values())] * given


def test_a_reason_is_looked_for_once(monkeypatch):
    """Which takes the fingerprint of all sources."""
    asked = []

    def unavailable():
        asked.append("library")
        raise module.UnavailableError("of a test")

    monkeypatch.setattr(module, "library", unavailable)
    module._reason_against.cache_clear()
    try:
        assert [module.reason_against("cpu", SIGMOID) for _ in range(2)] == ["of a test"] * 2
    finally:
        module._reason_against.cache_clear()
    assert asked == ["library"]


def test_a_gpu_needs_the_library_first(monkeypatch):
    monkeypatch.setattr(module, "_reason_against", lambda kind, loss: f"no library for a {kind}")
    assert module.reason_against("gpu:0", SIGMOID) == "no library for a gpu"
