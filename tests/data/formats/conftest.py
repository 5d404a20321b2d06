from __future__ import annotations

import pytest


@pytest.fixture
def data(tmp_path):
    """An empty folder for a data set."""
    return pytest.importorskip("foreign_data").ForeignData(tmp_path / "set")
