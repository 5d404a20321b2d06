"""Whether there is a native operator, by its file: the package itself is under test."""

from __future__ import annotations

import pytest

from paddle_focal import build

IS_BUILT = (build.PACKAGE / build.library_name()).exists()
needs_operator = pytest.mark.skipif(not IS_BUILT, reason="the native operator has not been built for this Paddle")
