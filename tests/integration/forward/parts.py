"""The use case alone, put together from its parts, where a test sets what no setting does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.api.messages.forward import to_forward
from lava_grpc.core.ids import IdSource
from lava_grpc.gateway.aiohttp_upstream import AiohttpUpstream
from lava_grpc.gateway.directory import Directory
from lava_grpc.gateway.estimates import Estimator
from lava_grpc.gateway.forward import Forwarder
from lava_grpc.gateway.forward_call import ForwardCall
from lava_grpc.gateway.forward_end import HOLD_SECONDS, Closing
from lava_grpc.gateway.forward_plan import Egress, Planner
from lava_grpc.gateway.jobs import Jobs
from lava_grpc.gateway.key_pool import PooledKey
from lava_grpc.gateway.ports import Ledger
from lava_grpc.gateway.principal import Principal
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.registry import Registry
from lava_grpc.store.jobs import StoreJobs
from lava_grpc.store.resources import StoreResources
from lava_grpc.testing import FakeProvider
from tests.support.ledger import MERCHANT, OnDatabase, ledger_on

WALLET = MERCHANT
"""The merchant, who pays by its own wallet."""


def call_of(asked: pb.ForwardRequest) -> ForwardCall:
    """The call as the use case takes it."""
    return to_forward(asked)


@asynccontextmanager
async def forwarding(
    url: str,
    provider: FakeProvider,
    *,
    hold_seconds: int = HOLD_SECONDS,
    wrapped: Callable[[Ledger], Ledger] = lambda ledger: ledger,
) -> AsyncIterator[tuple[Forwarder, OnDatabase, Principal]]:
    """A forwarder over a real ledger, whose merchant has an unlimited wallet."""
    async with ledger_on(url) as on:
        await on.open_account(WALLET, limit=None, kind="merchant")
        registry, prices, ids = Registry(), PriceBook(), IdSource()
        keys = {"openai": (PooledKey("openai", "sk-platform"),)}
        egress = Egress(keys, upstream_map=provider.upstream_map())
        upstream = AiohttpUpstream(upstream_map=egress.upstream_map)
        ledger = wrapped(on.ledger)
        jobs = Jobs(StoreJobs(on.database), on.books, prices, on.clock)
        closing = Closing(ledger, prices, on.clock, hold_seconds=hold_seconds, jobs=jobs)
        planner = Planner(
            registry,
            Directory(StoreResources(on.database)),
            Estimator(registry, prices, on.clock),
            egress,
            clock=on.clock,
            ids=ids,
            jobs=StoreJobs(on.database),
        )
        await upstream.start()
        try:
            yield (
                Forwarder(ledger, planner, upstream, closing, clock=on.clock, ids=ids),
                on,
                Principal(WALLET),
            )
            await closing.drain()
        finally:
            await upstream.close()
