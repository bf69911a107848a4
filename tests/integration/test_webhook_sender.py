"""How deliveries leave: guarded, bounded, without redirects."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp.abc import AbstractResolver, ResolveResult
from typing_extensions import override

from lava_grpc.gateway.webhook_sender import HttpSender
from tests.support.receiver import Receiver, receiving


class Loopback(AbstractResolver):
    """Resolves every name to this machine, as an attacker's name server may."""

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0
            )
        ]

    @override
    async def close(self) -> None:
        return None


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


async def _post(sender: HttpSender, url: str) -> tuple[int | None, str | None]:
    await sender.start()
    try:
        return await sender(url, {"webhook-id": "msg_1"}, b'{"a":1}')
    finally:
        await sender.close()


async def test_an_answer_of_2xx_is_a_success(receiver: Receiver) -> None:
    receiver.statuses = [204]
    sent = await _post(HttpSender([receiver.host]), f"{receiver.base_url}/hook")
    assert sent == (204, None)
    (received,) = receiver.received
    assert (received.path, received.raw) == ("/hook", b'{"a":1}')
    assert received.headers["Content-Type"] == "application/json"
    assert received.headers["webhook-id"] == "msg_1"


@pytest.mark.parametrize("status", [302, 308, 404, 500])
async def test_any_other_answer_is_a_failure_and_no_redirect_is_followed(
    receiver: Receiver, status: int
) -> None:
    receiver.statuses = [status]
    sent = await _post(HttpSender([receiver.host]), f"{receiver.base_url}/hook")
    assert sent == (status, f"answered {status}")
    assert [received.path for received in receiver.received] == ["/hook"]


async def test_a_receiver_has_so_long_to_answer(receiver: Receiver) -> None:
    receiver.silent = True
    sender = HttpSender([receiver.host], total_seconds=0.2)
    assert await _post(sender, receiver.base_url) == (None, "did not answer in time")


async def test_a_name_that_resolves_to_a_private_address_is_not_connected_to(
    receiver: Receiver,
) -> None:
    port = receiver.host.partition(":")[2]
    sender = HttpSender(resolver=Loopback())
    sent = await _post(sender, f"http://hooks.example.com:{port}/")
    assert sent == (None, "the host is not on the public internet")
    assert receiver.received == []


async def test_a_private_address_itself_is_not_connected_to(receiver: Receiver) -> None:
    sent = await _post(HttpSender(), receiver.base_url)
    assert sent == (None, "the host is not on the public internet")
    assert receiver.received == []


async def test_a_port_that_nobody_listens_on_is_a_failure() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        sent = await _post(HttpSender([host]), f"http://{host}/")
    assert sent == (None, "could not be connected to")
