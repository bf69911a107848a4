"""PostgreSQL killed, restarted, cut off: the server lives on and its books stay right."""

from __future__ import annotations

import asyncio

import grpc.aio
import httpx
import pytest
from google.rpc import error_details_pb2, status_pb2
from lava.v1 import gateway_service_pb2 as gateway
from sqlalchemy import make_url

from tests.conftest import MakePostgres
from tests.crash.audit import audit, repeated_differently
from tests.crash.cutting_proxy import Cut, cutting_proxy
from tests.crash.load import AUTHORIZE, Load
from tests.support.process import (
    Health,
    Merchant,
    ServerProcess,
    calling,
    command,
    environment,
    init,
    serving,
)


def url_through(url: str, port: int) -> str:
    """The same database, reached on another port."""
    return make_url(url).set(port=port).render_as_string(hide_password=False)


async def test_a_killed_database_is_sat_out(make_postgres: MakePostgres) -> None:
    postgres = await asyncio.to_thread(make_postgres, fsync=True)
    url = postgres.url(postgres.create_database())
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
                await load.log.more(100)
                # For a moment, which nobody is told of.
                await asyncio.to_thread(postgres.restart)
                await load.log.more(100)
                assert health.history[-1]
                # Then for longer than the server has patience.
                await asyncio.to_thread(postgres.kill9)
                await health.until(serving=False)
                await assert_calls_are_put_off(server, merchant, load)
                await asyncio.to_thread(postgres.start)
                await health.until(serving=True)
                await load.log.more(100)
            await load.stop()
        finally:
            await load.cancel()
        found = audit(url, load)
        assert found.clean, found
        assert load.log.strange == []
        assert await repeated_differently(load, caller) == []
        assert server.pid == pid
        assert await server.terminate() == 0


async def assert_calls_are_put_off(server: ServerProcess, merchant: Merchant, load: Load) -> None:
    """Over gRPC and REST, a call says that the database is away and when to come back."""
    async with calling(server.grpc_address, merchant) as caller:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.call(
                AUTHORIZE, gateway.AuthorizeRequest(customer_id=load.rich, amount="0.1")
            )
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    raw = dict(refused.value.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(raw, bytes)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    details = status_pb2.Status.FromString(raw).details
    assert any(detail.Unpack(info) for detail in details)
    assert info.reason == "STORE_UNAVAILABLE"
    assert any(detail.Unpack(retry) for detail in details)
    assert retry.retry_delay.ToTimedelta().total_seconds() > 0
    async with httpx.AsyncClient(base_url=f"http://{server.http_address}", timeout=30) as http:
        answer = await http.post(
            "/v1/reservations",
            json={"customer_id": load.rich, "amount": "0.1"},
            headers={"authorization": f"Bearer {merchant.secret_key}"},
        )
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "store_unavailable"
    assert int(answer.headers["retry-after"]) > 0


async def test_a_batch_cut_off_in_the_middle_or_after_its_commit_counts_once(
    postgres_url: str,
) -> None:
    merchant = await init(postgres_url)
    port = make_url(postgres_url).port
    assert port is not None
    async with (
        cutting_proxy(port) as proxy,
        serving(url_through(postgres_url, proxy.port)) as server,
        calling(server.grpc_address, merchant) as caller,
    ):
        load = Load(caller)
        await load.prepare()
        load.start()
        try:
            for _ in range(5):
                for when in Cut:
                    await load.log.more(20)
                    await proxy.cut(when)
            await load.log.more(50)
            await load.stop()
        finally:
            await load.cancel()
        found = audit(postgres_url, load)
        assert found.clean, found
        assert (load.log.strange, load.log.retries) == ([], 0)
        assert await repeated_differently(load, caller) == []


async def test_a_database_that_cannot_be_reached_is_named_without_its_password(
    unused_tcp_port: int,
) -> None:
    url = f"postgresql://ada:s3cret@127.0.0.1:{unused_tcp_port}/lava"
    for arguments in (("serve",), ("init",), ("verify",), ("migrate",)):
        done = await command(*arguments, env=environment(database_url=url))
        assert done.code == 2, done
        assert "LAVA_DATABASE_URL" in done.err
        assert "s3cret" not in done.err + done.out
        assert "Traceback" not in done.err
