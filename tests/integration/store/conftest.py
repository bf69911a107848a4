"""A furnished database on each engine."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from lava_grpc.store.database import Database
from tests.integration.store.world import World


@pytest_asyncio.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A merchant with a customer."""
    database = Database(database_url)
    world = World(database)
    await world.furnish()
    yield world
    await world.ledger.close()
    database.close()
