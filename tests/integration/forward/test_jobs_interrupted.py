"""Work whose end was seen by a process that died before, or just after, it charged for it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.core.commands import Command, Settle
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.time import SECOND
from lava_grpc.gateway.ports import Ledger
from lava_grpc.store.jobs import KEPT_SECONDS, StoreJobs
from lava_grpc.testing import FakeProvider
from lava_grpc.testing.fake_provider import Scripted
from tests.integration.forward.calls import RESPONSES, request
from tests.integration.forward.parts import WALLET, call_of, forwarding
from tests.support.ledger import OnDatabase

POLL = f"{RESPONSES}/resp_1"
BACKGROUND = {"model": "gpt-4o-mini", "input": "hello", "background": True}
USED = {"input_tokens": 1_000_000, "output_tokens": 0, "total_tokens": 1_000_000}


class DeathError(Exception):
    """The process ends here."""


class Dying:
    """A ledger whose process dies over the settlement of one request, once."""

    def __init__(self, ledger: Ledger, *, after: bool) -> None:
        self._ledger = ledger
        self._after = after
        self.dies = True

    async def submit(self, command: Command, *, deadline: float | None = None) -> Outcome:
        mine = isinstance(command, Settle) and command.request_id == "bg"
        if not mine or not self.dies:
            return await self._ledger.submit(command, deadline=deadline)
        self.dies = False
        if self._after:
            await self._ledger.submit(command, deadline=deadline)
        raise DeathError


def _script(provider: FakeProvider, method: str, path: str, document: object) -> None:
    kind = (("content-type", "application/json"),)
    provider.script(
        method, f"/openai/v1/{path}", Scripted(200, kind, (json.dumps(document).encode(),))
    )


def _response(status: str, usage: object) -> dict[str, object]:
    return {"id": "resp_1", "model": "gpt-4o-mini", "status": status, "usage": usage}


def _poll() -> pb.ForwardRequest:
    asked = request(POLL, b"")
    asked.method = "GET"
    return asked


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_death_over_the_charge_leaves_it_to_whoever_asks_next(
    database_url: str,
    after: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    ledgers: list[Dying] = []

    def dying(ledger: Ledger) -> Ledger:
        ledgers.append(Dying(ledger, after=after))
        return ledgers[0]

    async with (
        FakeProvider() as provider,
        forwarding(database_url, provider, wrapped=dying) as (forwarder, on, principal),
    ):
        _script(provider, "POST", "responses", _response("queued", None))
        _script(provider, "GET", "responses/resp_1", _response("completed", USED))
        asked = request(RESPONSES, BACKGROUND, request_id="bg")
        assert [part async for part in forwarder(principal, call_of(asked))]
        with pytest.raises(DeathError):
            _ = [part async for part in forwarder(principal, call_of(_poll()))]
        assert await _job(on) is not None
        for _ in range(2):
            assert [part async for part in forwarder(principal, call_of(_poll()))]
        record = await on.books.record(WALLET, "bg")
        assert record is not None
        assert record.cost == 1_500_000_000
        assert await _job(on) is None
        account = await on.books.account(WALLET, WALLET)
        assert account is not None
        assert (account.balance, account.held) == (-1_500_000_000, 0)
        await on.verified()


async def test_what_nobody_asks_after_is_forgotten_after_a_month(database_url: str) -> None:
    async with (
        FakeProvider() as provider,
        forwarding(database_url, provider) as (forwarder, on, principal),
    ):
        _script(provider, "POST", "responses", _response("queued", None))
        asked = request(RESPONSES, BACKGROUND, request_id="bg")
        assert [part async for part in forwarder(principal, call_of(asked))]
        job = await StoreJobs(on.database).find(WALLET, "openai", "resp_1")
        assert job is not None
        store = StoreJobs(on.database)
        month = job.created_at + KEPT_SECONDS * SECOND
        await store.add(replace(job, job_id="another"), month - 1)
        assert await _job(on) is not None
        await store.add(replace(job, job_id="a third"), month)
        assert await _job(on) is None


async def _job(on: OnDatabase) -> object:
    return await StoreJobs(on.database).find(WALLET, "openai", "resp_1")
