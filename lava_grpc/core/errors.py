"""Every way to say no, with its facts.

A refusal is an expected outcome: the ledger returns it, the edges map its
`reason` to a gRPC code and an HTTP status in one table (`api/status.py`).
`InvariantBroken` is not a refusal but a bug of ours.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Machine-readable reasons; the same names as `lava.v1.ErrorReason`."""

    INVALID_FIELD = "INVALID_FIELD"
    INVALID_CREDENTIALS = "INVALID_CREDENTIALS"
    INSUFFICIENT_CREDITS = "INSUFFICIENT_CREDITS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    UPSTREAM_NOT_ALLOWED = "UPSTREAM_NOT_ALLOWED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    RESERVATION_ENDED = "RESERVATION_ENDED"
    RATE_LIMITED = "RATE_LIMITED"
    UPSTREAM_FAILED = "UPSTREAM_FAILED"
    UPSTREAM_TIMEOUT = "UPSTREAM_TIMEOUT"
    OVERLOADED = "OVERLOADED"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    NOT_IMPLEMENTED = "NOT_IMPLEMENTED"
    INTERNAL = "INTERNAL"


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not an error of ours
    """A typed no: a reason, a message a person can act on, and its facts.

    `field` names the offending input in the caller's own words
    (`tiers[0].rate`). `facts` become `ErrorInfo.metadata`, units in the key.
    `retry_after_seconds` is set only where trying again can help.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        field: str | None = None,
        facts: dict[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.facts = facts or {}
        self.retry_after_seconds = retry_after_seconds


class InvariantBroken(Exception):  # noqa: N818 - named as the house names it
    """A rule that always holds does not: our bug. Nothing may be committed after it."""


def invalid(field: str, why: str) -> Refusal:
    """Bad input in `field`; `why` completes the sentence "<field> ..."."""
    return Refusal(Reason.INVALID_FIELD, f"{field} {why}", field=field)


def not_found(kind: str, ident: str, *, field: str) -> Refusal:
    """No `kind` with this id is visible to the caller."""
    return Refusal(Reason.NOT_FOUND, f"no {kind} '{ident[:80]}'", field=field)
