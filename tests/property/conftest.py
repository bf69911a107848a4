"""How hard the property tests look.

LAVA_HYPOTHESIS_PROFILE=deep in the environment looks for many minutes where the default
takes seconds; `make machines` does so for the ledger's state machine, and at length on
both databases.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# The machine may be busy: a slow example is no failure.
_patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", _patient, max_examples=100, stateful_step_count=20)
settings.register_profile("deep", _patient, max_examples=2_000, stateful_step_count=60)
settings.load_profile(os.environ.get("LAVA_HYPOTHESIS_PROFILE", "quick"))
