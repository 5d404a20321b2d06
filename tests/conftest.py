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
def rng():
    return np.random.default_rng(20)


@pytest.fixture
def workspace_copy():
    """Ppdet's workspace, with everything a test puts there taken out again."""
    from ppdet.core import workspace

    before = dict(workspace.global_config)
    sections = {name: copy.copy(section) for name, section in before.items()}
    yield workspace.global_config
    workspace.global_config.clear()
    workspace.global_config.update({name: sections[name] for name in before})
