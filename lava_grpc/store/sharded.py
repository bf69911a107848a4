"""The ledger's statements for a database that is spread over nodes by merchant.

The same statements, each for the rows of one merchant, whose id is a parameter of its own in
place of one read out of each row. A planner then knows, before it looks at any row, the one
node (or partition) that the statement concerns.
"""

from __future__ import annotations

from sqlalchemy import Column
from typing_extensions import override

from lava_grpc.store import rows
from lava_grpc.store.pipeline import Step
from lava_grpc.store.postgres import PostgresFlavor
from lava_grpc.store.sql import Row, Statement, statements

_PARTITION_KEY = "merchant_id"


class _ShardedFlavor(PostgresFlavor):
    @override
    def field(self, alias: str, position: int, column: Column[object]) -> str:
        if column.name == _PARTITION_KEY:
            return "$2::text"
        return super().field(alias, position, column)


STATEMENTS = statements(_ShardedFlavor())


def by_merchant(statement: Statement) -> list[Step]:
    """A step for each merchant among a statement's rows.

    In order of their ids: so are all locks that are taken.
    """
    name = statement.name
    sql: str = getattr(STATEMENTS, name)
    shares: dict[str, list[Row]] = {}
    for row in statement.rows:
        shares.setdefault(str(row[0]), []).append(row)
    return [
        Step(name, sql, (rows.to_json(shares[merchant_id]), merchant_id.encode()))
        for merchant_id in sorted(shares)
    ]
