from __future__ import annotations

import contextlib
import copy
import importlib
import os
import signal

import numpy as np
import paddle
import pytest
from native_library import IS_BUILT

paddle.set_device("cpu")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in jobs in the background, which leave Ctrl-C to others
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=["native", "composite"] if IS_BUILT else ["composite"])
def backend(request):
    """Each backend that has to serve on this machine."""
    return request.param


@pytest.fixture(params=["avx512", "avx2", "baseline"])
def instruction_set(request, monkeypatch):
    """Each that this processor has, which the native library then uses; for tests that need the library."""
    library = importlib.import_module("paddle_focal.ops.native.library").library()
    monkeypatch.setenv("PADDLE_FOCAL_ISA", request.param)
    answer = (library.focal_instruction_set() or library.focal_error()).decode()
    if answer != request.param:
        pytest.skip(answer)


@pytest.fixture(scope="session", autouse=True)
def _cache_home(tmp_path_factory):
    """A cache of this run's own; but matplotlib need not look for its fonts again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLCONFIGDIR", os.environ.get("MPLCONFIGDIR", os.path.expanduser("~/.cache/matplotlib")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def host_driver(tmp_path_factory):
    """A driver whose GPUs are the host."""
    return importlib.import_module("host_gpu").compile_driver(tmp_path_factory.mktemp("driver_on_host"))


@pytest.fixture
def host_gpu(host_driver, tmp_path, monkeypatch):
    """GPUs that are none, on which all tensors are."""
    made = importlib.import_module("host_gpu").HostGpu(host_driver, tmp_path, monkeypatch)
    yield made
    made.forget()


@pytest.fixture
def rng():
    return np.random.default_rng(20)


def _copied(value):
    """A copy of dictionaries in dictionaries; ppdet's sections do not let themselves be copied deeply."""
    if not isinstance(value, dict):
        return value
    result = copy.copy(value)
    for key, item in value.items():
        dict.__setitem__(result, key, _copied(item))
    return result


@contextlib.contextmanager
def _unchanged(config):
    before = _copied(config)
    try:
        yield config
    finally:
        config.clear()
        config.update(before)


@pytest.fixture
def workspace_copy():
    """Ppdet's workspace, with everything a test puts there taken out again."""
    workspace = pytest.importorskip("ppdet.core.workspace")

    with _unchanged(workspace.global_config) as config:
        yield config


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """120 training and 16 validation images."""
    make_digits = pytest.importorskip("paddle_focal.cli.make_digits")
    folder = tmp_path_factory.mktemp("data") / "digits"
    options = ["--output", str(folder), "--train-images", "120", "--val-images", "16"]
    make_digits.main(options)
    return folder


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory):
    """12 training and 4 validation images of 64 pixels."""
    make_digits = pytest.importorskip("paddle_focal.cli.make_digits")
    folder = tmp_path_factory.mktemp("data") / "few_digits"
    make_digits.main(["--output", str(folder), "--train-images", "12", "--val-images", "4", "--image-size", "64"])
    return folder


@pytest.fixture
def small_runs(tmp_path, few_digits, workspace_copy, monkeypatch):
    """Training runs in this process, which is afterwards as it was."""
    small_runs = pytest.importorskip("small_runs")
    return small_runs.SmallRuns(tmp_path, few_digits, monkeypatch, lambda: _unchanged(workspace_copy))
