from __future__ import annotations

import asyncio

from sqlalchemy import Connection, text

from lava_grpc.core.errors import Refusal
from tests.support.ledger import ledger_on, place, tried


def _analyzed(connection: Connection) -> set[str]:
    query = "SELECT relname FROM pg_stat_user_tables WHERE last_analyze IS NOT NULL"
    return set(connection.execute(text(query)).scalars())


async def test_tables_that_have_grown_are_analyzed_once_and_small_ones_never(
    postgres_url: str,
) -> None:
    async with ledger_on(postgres_url) as on:
        await on.open_account("con_a", credit=1000)
        outcomes = await asyncio.gather(*[tried(on.ledger, place("con_a", 1)) for _ in range(600)])
        assert not [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
        async with asyncio.timeout(30):
            # A server's counts reach its statistics a moment later.
            while "holds" not in await on.database.read(_analyzed):
                await on.database.analyze()
        assert await on.database.read(_analyzed) == {"holds"}
