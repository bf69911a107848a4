"""The worker that delivers: bounded, never stopped by one that goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from lava_grpc.core.time import SECOND, Instant
from lava_grpc.core.webhooks import Attempted, Outgoing, Told
from lava_grpc.gateway.webhook_delivery import Deliverer, DeliveryBounds
from lava_grpc.gateway.webhook_signing import new_secret

NOW: Instant = 1_800_000_000 * SECOND
SECONDS = 10
# So long that nothing in a test comes of looking again by itself.
BOUNDS = DeliveryBounds(in_flight_max=3, per_webhook_max=2, poll_seconds=600)


class Stopped:
    def now(self) -> Instant:
        return NOW


@dataclass(slots=True)
class FakeOutbox:
    """Gives out what it holds, as the bounds allow, and notes how it was asked."""

    waiting: list[Outgoing]
    rooms: list[int] = field(default_factory=list)
    in_flight: list[dict[str, int]] = field(default_factory=list)
    ended: dict[str, Attempted] = field(default_factory=dict)
    broken: list[Exception] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(
        self,
        now: Instant,
        *,
        render: Callable[[Told], str],
        lease: Instant,
        room: int,
        per_webhook: int,
        in_flight: Mapping[str, int],
    ) -> list[Outgoing]:
        del now, render, per_webhook
        assert lease == 60 * SECOND
        if self.broken:
            raise self.broken.pop(0)
        self.rooms.append(room)
        self.in_flight.append(dict(in_flight))
        taken, self.waiting = self.waiting[:room], self.waiting[room:]
        return taken

    async def finish(self, sent: Outgoing, became: Attempted, now: Instant) -> None:
        assert now == NOW
        async with self.changed:
            self.ended[sent.delivery_id] = became
            self.changed.notify_all()

    async def prune(self, now: Instant) -> int:
        del now
        return 0

    async def until_ended(self, count: int) -> None:
        async with asyncio.timeout(SECONDS), self.changed:
            await self.changed.wait_for(lambda: len(self.ended) >= count)


@dataclass(slots=True)
class FakeSender:
    """Answers once it is let go."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: int = 0
    most: int = 0
    answer: tuple[int | None, str | None] = (200, None)
    raises: Exception | None = None
    headers: list[Mapping[str, str]] = field(default_factory=list)

    async def __call__(
        self, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int | None, str | None]:
        assert (url, body) == ("https://example.com/", b"{}")
        self.headers.append(headers)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await self.go.wait()
        finally:
            self.at_once -= 1
        if self.raises is not None:
            raise self.raises
        return self.answer


def outgoing(number: int) -> Outgoing:
    return Outgoing(
        "mer_1",
        f"wh_{number % 2}",
        f"msg_{number}",
        1,
        "https://example.com/",
        "{}",
        new_secret(),
    )


def deliverer(outbox: FakeOutbox, sender: FakeSender, bounds: DeliveryBounds = BOUNDS) -> Deliverer:
    return Deliverer(outbox, sender, Stopped(), lambda _told: "{}", bounds)


async def test_no_more_than_the_bound_is_sent_at_once_and_all_of_it_in_the_end() -> None:
    outbox, sender = FakeOutbox([outgoing(number) for number in range(7)]), FakeSender()
    worker = deliverer(outbox, sender)
    worker.start()
    sender.go.set()
    await outbox.until_ended(7)
    await worker.stop(SECONDS)
    assert sender.most <= 3
    assert set(outbox.ended.values()) == {Attempted(200, None)}
    assert max(outbox.rooms) == 3
    assert outbox.in_flight[0] == {}


async def test_what_is_in_flight_is_told_to_the_outbox_by_webhook() -> None:
    outbox, sender = FakeOutbox([outgoing(number) for number in (0, 1)]), FakeSender()
    worker = deliverer(outbox, sender)
    assert await worker.look() == 2
    assert await worker.look() == 0
    assert (outbox.rooms, outbox.in_flight[1]) == ([3, 1], {"wh_0": 1, "wh_1": 1})
    outbox.waiting = [outgoing(2)]
    assert await worker.look() == 1
    assert await worker.look() == 0
    assert len(outbox.rooms) == 3
    sender.go.set()
    await worker.stop(SECONDS)
    assert len(outbox.ended) == 3


async def test_why_it_failed_is_noted() -> None:
    outbox, sender = FakeOutbox([outgoing(0)]), FakeSender(answer=(500, "answered 500"))
    worker = deliverer(outbox, sender)
    sender.go.set()
    await worker.look()
    await outbox.until_ended(1)
    await worker.stop(SECONDS)
    assert outbox.ended == {"msg_0": Attempted(500, "answered 500")}
    assert sender.headers[0]["webhook-id"] == "msg_0"
    assert sender.headers[0]["webhook-timestamp"] == str(NOW // SECOND)


async def test_a_sender_that_breaks_leaves_the_delivery_to_its_lease() -> None:
    outbox, sender = FakeOutbox([outgoing(0)]), FakeSender(raises=RuntimeError("defect"))
    worker = deliverer(outbox, sender)
    sender.go.set()
    await worker.look()
    await worker.stop(SECONDS)
    assert outbox.ended == {}
    outbox.waiting = [outgoing(1)]
    assert await worker.look() == 1
    await worker.stop(0)


async def test_an_outbox_out_of_reach_is_looked_at_again() -> None:
    outbox, sender = FakeOutbox([outgoing(0)]), FakeSender()
    outbox.broken = [ConnectionError("away")]
    sender.go.set()
    worker = deliverer(outbox, sender, replace(BOUNDS, poll_seconds=0.001))
    worker.start()
    await outbox.until_ended(1)
    await worker.stop(SECONDS)


async def test_stopping_waits_for_answers_but_not_for_ever() -> None:
    outbox, sender = FakeOutbox([outgoing(0)]), FakeSender()
    worker = deliverer(outbox, sender)
    await worker.look()
    await worker.stop(0.01)
    assert outbox.ended == {}
    assert sender.at_once == 0


def test_neither_secret_nor_body_shows_in_what_might_be_logged() -> None:
    shown = repr(outgoing(0))
    assert "whsec_" not in shown
    assert "{}" not in shown
