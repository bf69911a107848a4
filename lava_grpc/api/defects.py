"""A defect of ours: told to the log, where it is and not what it says, and to nobody else."""

from __future__ import annotations

import traceback

import structlog

from lava_grpc.core.errors import InvariantBroken, Reason, Refusal

_log = structlog.get_logger(__name__)


def defect(where: str, error: Exception) -> Refusal:
    """Log an error that nobody expected; the refusal that its caller gets has no detail.

    What the error says stays out of the log, since it may hold a secret.
    """
    _log.error(
        "internal_error",
        method=where,
        error=type(error).__name__,
        # Our own words about our own rules name ids and amounts.
        detail=str(error) if isinstance(error, InvariantBroken) else None,
        where="".join(traceback.format_tb(error.__traceback__)),
    )
    return Refusal(Reason.INTERNAL, "internal error")


def told(where: str, refusal: Refusal) -> Refusal:
    """The refusal; one that tells of a defect goes to the log too."""
    if refusal.reason is Reason.INTERNAL:
        _log.error("internal_error", method=where, detail=refusal.message)
    return refusal
