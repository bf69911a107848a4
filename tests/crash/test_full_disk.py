"""The disk that the database is on fills up: calls are refused, nothing is lost, and it passes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.conftest import MakePostgres
from tests.crash.audit import audit, repeated_differently
from tests.crash.disk_databases import postgres_on, sqlite_on
from tests.crash.load import Load
from tests.crash.small_disk import NoSmallDiskError, SmallDisk, small_disk
from tests.crash.test_postgres_away import assert_calls_are_put_off
from tests.support.process import Health, calling, init, serving

DISK_MEBIBYTES = 64


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    try:
        with small_disk(DISK_MEBIBYTES) as made:
            yield made
    except NoSmallDiskError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_a_full_disk_refuses_calls_until_there_is_room_and_loses_nothing(
    engine: str, disk: SmallDisk, make_postgres: MakePostgres
) -> None:
    url = sqlite_on(disk)
    if engine == "postgres":
        url = await asyncio.to_thread(lambda: postgres_on(disk, make_postgres(fsync=False)))
    merchant = await init(url)
    async with (
        serving(url, unreachable_seconds_max=1) as server,
        calling(server.grpc_address, merchant) as caller,
    ):
        pid = server.pid
        load = Load(caller)
        await load.prepare()
        load.start()
        try:
            async with Health(caller.channel) as health:
                await health.until(serving=True)
                await load.log.more(50)
                await asyncio.to_thread(disk.fill)
                await health.until(serving=False)
                await load.log.turned_away(1)
                await assert_calls_are_put_off(server, merchant, load)
                await asyncio.to_thread(disk.free)
                await health.until(serving=True)
                await load.log.more(50)
            await load.stop()
        finally:
            await load.cancel()
        found = await asyncio.to_thread(audit, url, load)
        assert found.clean, found
        assert load.log.strange == []
        assert await repeated_differently(load, caller) == []
        assert server.pid == pid
        assert await server.terminate() == 0
