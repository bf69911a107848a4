"""Settings for property tests on a machine that others use too."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

steady = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
"""No example fails for being slow: how long one takes says nothing of the code."""
