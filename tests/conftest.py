from __future__ import annotations

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
