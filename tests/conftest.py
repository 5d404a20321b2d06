from __future__ import annotations

import copy

import numpy as np
import paddle
import pytest

from paddle_focal import ops

paddle.set_device("cpu")


def _serving() -> list[str]:
    names = []
    for name in ops.BACKENDS:
        try:
            ops.select(name, paddle.zeros([1]))
        except RuntimeError:
            continue
        names.append(name)
    return names


@pytest.fixture(params=_serving())
def backend(request):
    """Each backend that can serve on this machine."""
    return request.param


@pytest.fixture
def native():
    """Leaves the test out where there is no native operator."""
    if "fused" not in _serving():
        pytest.skip("there is no native operator")


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


@pytest.fixture
def workspace_copy():
    """Ppdet's workspace, with everything a test puts there taken out again."""
    workspace = pytest.importorskip("ppdet.core.workspace")

    before = _copied(workspace.global_config)
    yield workspace.global_config
    workspace.global_config.clear()
    workspace.global_config.update(before)


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """120 training and 16 validation images."""
    make_digits = pytest.importorskip("paddle_focal.cli.make_digits")
    folder = tmp_path_factory.mktemp("data") / "digits"
    options = ["--output", str(folder), "--train-images", "120", "--val-images", "16"]
    make_digits.main(options)
    return folder
