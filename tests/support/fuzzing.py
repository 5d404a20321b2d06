"""How many examples hypothesis draws: PADDLE_FOCAL_FUZZ, and others in every run, or 60, always the same."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("PADDLE_FOCAL_FUZZ", "0"))
fuzz = settings(
    max_examples=EXAMPLES or 60,
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],  # fixtures are constants here
)
