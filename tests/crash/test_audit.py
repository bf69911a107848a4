"""The audit sees what it is there to see."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, delete, select, update

from lava_grpc.core.money import parse_amount
from lava_grpc.store import schema
from tests.crash.audit import audit
from tests.crash.load import Load
from tests.support.process import calling, init, serving


async def test_lost_doubled_and_overspent_rows_are_found(sqlite_url: str) -> None:
    merchant = await init(sqlite_url)
    async with serving(sqlite_url) as server, calling(server.grpc_address, merchant) as caller:
        load = Load(caller)
        await load.prepare()
        load.start()
        try:
            await load.log.more(150)
            await load.stop()
        finally:
            await load.cancel()
    assert audit(sqlite_url, load).clean
    engine = create_engine(sqlite_url)
    charge = schema.entries.c.kind == "charge"
    with engine.begin() as connection:
        some = connection.execute(select(schema.entries).where(charge)).first()
        kept = next(i for i, one in load.log.requests.items() if one.charge is None)
        assert some is not None
        again = {**some._mapping, "entry_id": "again"}  # noqa: SLF001 - the public name of it
        connection.execute(schema.entries.insert().values(again))
        connection.execute(delete(schema.holds).where(schema.holds.c.request_id == kept))
        mine = schema.accounts.c.account_id == load.poor
        connection.execute(update(schema.accounts).where(mine).values(balance=0, held=1))
    engine.dispose()
    found = audit(sqlite_url, load)
    assert any(sentence.startswith(f"{some.request_id}: charged") for sentence in found.doubled)
    assert f"{kept}: 0 holds" in found.lost
    assert any(sentence.startswith(load.poor) for sentence in found.overspends)
    assert found.verify_breaks


@pytest.mark.parametrize("charged", ["0.5", None])
async def test_a_charge_that_nobody_was_told_of_is_doubled(
    sqlite_url: str, charged: str | None
) -> None:
    merchant = await init(sqlite_url)
    async with serving(sqlite_url) as server, calling(server.grpc_address, merchant) as caller:
        load = Load(caller, callers=1)
        await load.prepare()
        load.start()
        try:
            await load.log.more(10)
            await load.stop()
        finally:
            await load.cancel()
    request_id, said = next((i, one) for i, one in load.log.requests.items() if one.charge)
    said.charge = parse_amount(charged, "amount") if charged else None
    found = audit(sqlite_url, load)
    assert not found.clean
    assert any(sentence.startswith(request_id) for sentence in found.lost + found.doubled)
