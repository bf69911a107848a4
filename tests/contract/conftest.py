"""One running service for all contract tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.contract.world import World, running_world


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """The service, and what is in it. Tests share it: make new ids for what you change."""
    async with running_world(tmp_path_factory.mktemp("contract")) as running:
        yield running
