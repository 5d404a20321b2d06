"""Every loss, for the tests of what all of them have in common."""

from __future__ import annotations

import numpy as np
import pytest
from losses_under_test import LOSSES, LossUnderTest


def pytest_collection_modifyitems(items):
    """Leaves out what asks of a loss what it has not."""
    items[:] = [item for item in items if not _asks_in_vain(getattr(item, "callspec", None))]


def _asks_in_vain(callspec) -> bool:
    loss = callspec.params.get("loss") if callspec else None
    if not isinstance(loss, LossUnderTest) or loss.has_smoothing:
        return False
    names = (callspec.params.get("name"), *(callspec.params.get("arguments") or ()))
    return bool(callspec.params.get("smoothing")) or "label_smoothing" in names


@pytest.fixture(params=LOSSES, ids=str)
def loss(request) -> LossUnderTest:
    return request.param


@pytest.fixture
def batch(loss, rng):
    """Predictions ``[6, 3]`` and labels of every class, of background and to be ignored."""
    return loss.typical(rng, (6, 3)), np.array([0, 1, 2, loss.highest_label(3), -1, 1])
