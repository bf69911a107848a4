"""Pages of lists: newest first, each beginning after the last item of the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from lava_grpc.core.errors import invalid

T = TypeVar("T")

LIMIT_DEFAULT = 10
LIMIT_MAX = 100


@dataclass(frozen=True, slots=True)
class Page:
    """Which page: `cursor` is the id of the last item of the previous one."""

    cursor: str | None = None
    limit: int = LIMIT_DEFAULT


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """One page of a list. `next_cursor` is None on the last."""

    items: Sequence[T]
    next_cursor: str | None


def check_limit(limit: int | None) -> int:
    """`limit`, or the default where none is given; refuses one out of range."""
    if limit is None:
        return LIMIT_DEFAULT
    if not 1 <= limit <= LIMIT_MAX:
        raise invalid("limit", f"must be from 1 to {LIMIT_MAX}")
    return limit
