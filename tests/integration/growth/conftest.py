"""A furnished database on each engine."""

from __future__ import annotations

from tests.integration.store.conftest import world

__all__ = ["world"]
