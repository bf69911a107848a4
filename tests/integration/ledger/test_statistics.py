from __future__ import annotations

import asyncio

from sqlalchemy import Connection, text

from lava_grpc.core.errors import Refusal
from tests.support.ledger import ledger_on, place, tried


def _analyzed_again(connection: Connection) -> set[str]:
    query = "SELECT relname FROM pg_stat_user_tables WHERE analyze_count > 1"
    return set(connection.execute(text(query)).scalars())


async def test_tables_that_outgrew_their_statistics_are_analyzed_once_and_small_ones_never(
    postgres_url: str,
) -> None:
    async with ledger_on(postgres_url) as on:
        await on.open_account("con_a", credit=1000)
        # As autovacuum may do with empty tables: their plans then read all of a merchant's rows.
        await on.database.write(lambda connection: connection.exec_driver_sql("ANALYZE"))
        outcomes = await asyncio.gather(*[tried(on.ledger, place("con_a", 1)) for _ in range(600)])
        assert not [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
        async with asyncio.timeout(30):
            # A server's counts reach its statistics a moment later.
            while "holds" not in await on.database.read(_analyzed_again):
                await on.database.analyze()
        await on.database.analyze()
        assert await on.database.read(_analyzed_again) == {"holds"}
