"""Whether there is a native library, and an operator over it, by their files: the package itself is under test."""

from __future__ import annotations

import pytest

from paddle_focal import build

IS_BUILT = (build.PACKAGE / build.LIBRARY).exists()
HAS_OPERATOR = (build.PACKAGE / build.operator_name()).exists()
needs_library = pytest.mark.skipif(not IS_BUILT, reason="the native library has not been built")
needs_operator = pytest.mark.skipif(
    not HAS_OPERATOR, reason="the operator for static graphs has not been built for this Paddle"
)
