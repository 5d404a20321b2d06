"""Every loss, for the tests of what all of them have in common."""

from __future__ import annotations

import numpy as np
import pytest
from losses_under_test import LOSSES, LossUnderTest


@pytest.fixture(params=LOSSES, ids=str)
def loss(request) -> LossUnderTest:
    return request.param


@pytest.fixture
def batch(loss, rng):
    """Predictions ``[6, 3]`` and labels of every class, of background and to be ignored."""
    return loss.typical(rng, (6, 3)), np.array([0, 1, 2, loss.highest_label(3), -1, 1])
