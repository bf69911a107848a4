"""What an endpoint is to billing."""

from __future__ import annotations

from dataclasses import dataclass

OTHER = "other"
NO_USAGE = "no_usage"
"""The flavor of calls that cost nothing: lists, token counts, files."""


@dataclass(frozen=True, slots=True)
class Route:
    """What method and URL say of a call."""

    flavor: str
    model: str | None = None
    # True or False where the endpoint alone decides it, None where the body does.
    stream: bool | None = None
    billable: bool = True
    # The work of an earlier call that the answer tells of.
    job_id: str | None = None


FREE = Route(NO_USAGE, stream=False, billable=False)
"""A resource that is kept and not metered."""
