"""A server process: gRPC, REST, the ledger and the sweeper, put together and run."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
import structlog

from lava_grpc import config
from lava_grpc.api.auth import Authenticator
from lava_grpc.api.dispatch import LocalDispatcher
from lava_grpc.api.handlers.wiring import build_handlers
from lava_grpc.app.clock import SystemClock
from lava_grpc.app.health import Health
from lava_grpc.app.parts import migrate, open_database
from lava_grpc.core.ids import IdSource
from lava_grpc.core.time import Clock
from lava_grpc.gateway.aiohttp_upstream import AiohttpUpstream
from lava_grpc.gateway.authorize import Authorizer
from lava_grpc.gateway.credit import Credit
from lava_grpc.gateway.customers import Customers
from lava_grpc.gateway.directory import Directory
from lava_grpc.gateway.estimates import Estimator
from lava_grpc.gateway.forward import Forwarder
from lava_grpc.gateway.forward_end import Closing, Detaching, GonePolicy
from lava_grpc.gateway.forward_plan import Egress, Planner
from lava_grpc.gateway.history import History
from lava_grpc.gateway.keys import SecretKeys
from lava_grpc.gateway.meters import Meters
from lava_grpc.gateway.recent import RecentHolds
from lava_grpc.gateway.report import Reporter
from lava_grpc.gateway.reservations import Reservations
from lava_grpc.gateway.upstream import Timeouts
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.provider import Family
from lava_grpc.providers.registry import CompatibleHost, Registry
from lava_grpc.rest.app import RestSettings, build_app
from lava_grpc.rest.server import HttpTls, RestServer
from lava_grpc.server.grpc_server import GrpcServer, GrpcSettings
from lava_grpc.store.group_commit import GroupCommit, QueueBounds
from lava_grpc.store.ledger_store import LedgerStore
from lava_grpc.store.reads import StoreBooks
from lava_grpc.store.resources import StoreResources
from lava_grpc.store.sweeper import Sweeper

_log = structlog.get_logger(__name__)

# What a ForwardRequest has around its body.
_ENVELOPE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a service listens, each as host:port. `http_address` is None without REST."""

    grpc_address: str
    http_address: str | None


class Service:
    """Everything, in one process: gRPC, REST, the ledger, the sweeper."""

    def __init__(
        self,
        settings: config.Settings,
        clock: Clock | None = None,
        *,
        more_handlers: Sequence[grpc.GenericRpcHandler] = (),
    ) -> None:
        """Put the parts together; nothing runs yet.

        `more_handlers` are served over gRPC beside ours. Raises ConfigError for
        what settings name and is not there.
        """
        self._settings = settings
        self._telling: asyncio.Task[None] | None = None
        clock = clock or SystemClock()
        ids = IdSource()
        registry = _registry(settings)
        prices = _prices(settings)
        charge_abandoned = settings.on_abandoned is config.OnAbandoned.CHARGE
        self.health = Health(settings.unreachable_seconds_max, self._tell_health)
        self._database = open_database(settings)
        self._ledger = GroupCommit(
            LedgerStore(
                self._database.store_engine,
                clock,
                io=self._database.in_writer,
                charge_abandoned=charge_abandoned,
            ),
            self._database,
            QueueBounds(
                queue_commands_max=settings.queue_commands_max,
                batch_commands_max=settings.batch_commands_max,
                unreachable_seconds_max=settings.unreachable_seconds_max,
            ),
            on_broken=self.health.broken,
            on_reachable=self.health.reachable,
        )
        self._sweeper = Sweeper(
            self._database,
            self._ledger,
            clock,
            charge_abandoned=charge_abandoned,
            on_reachable=self.health.reachable,
        )
        resources, books = StoreResources(self._database), StoreBooks(self._database)
        directory = Directory(resources)
        recent = RecentHolds(books)
        estimator = Estimator(registry, prices, clock)
        egress = _egress(settings)
        self._upstream = AiohttpUpstream(
            timeouts=Timeouts(
                connect_seconds=settings.connect_seconds,
                first_byte_seconds=settings.first_byte_seconds,
                idle_seconds=settings.idle_seconds,
            ),
            upstream_map=egress.upstream_map,
            allow_private_hosts=settings.allowed_hosts,
        )
        self._closing = Closing(
            self._ledger,
            prices,
            clock,
            Detaching(GonePolicy(settings.on_gone.value), settings.drain_seconds),
        )
        authenticator = Authenticator(
            resources, time.monotonic, cache_seconds=settings.key_cache_seconds
        )
        handlers = build_handlers(
            authorize=Authorizer(self._ledger, directory, estimator, recent, clock=clock, ids=ids),
            report=Reporter(
                self._ledger, directory, recent, registry=registry, prices=prices, clock=clock
            ),
            reservations=Reservations(self._ledger, books, directory, recent, clock=clock),
            customers=Customers(resources, clock=clock, ids=ids),
            meters=Meters(resources, clock=clock, ids=ids, changed=directory.forget_meters),
            keys=SecretKeys(resources, clock=clock, ids=ids),
            credit=Credit(resources, books, self._ledger, clock=clock, ids=ids),
            history=History(resources, books),
            key_revoked=authenticator.forget,
        )
        forwarder = Forwarder(
            self._ledger,
            Planner(registry, directory, estimator, egress, clock=clock, ids=ids),
            self._upstream,
            self._closing,
            clock=clock,
            ids=ids,
        )
        dispatcher = LocalDispatcher(authenticator, handlers, forwarder)
        self._grpc = GrpcServer(
            dispatcher,
            settings.grpc_address,
            credentials=_grpc_credentials(settings),
            more_handlers=more_handlers,
            settings=GrpcSettings(receive_bytes_max=settings.body_bytes_max + _ENVELOPE_BYTES),
        )
        self._rest = _rest(settings, dispatcher, registry, self.health)

    async def start(self) -> Addresses:
        """Serve; raises OSError where an address cannot be had."""
        await self._upstream.start()
        self._ledger.start()
        self._sweeper.start()
        grpc_port = await self._grpc.start()
        http_port = await self._rest.start() if self._rest else None
        self.health.started()
        return Addresses(
            _with_port(self._settings.grpc_address, grpc_port),
            _with_port(self._settings.http_address, http_port) if http_port else None,
        )

    async def stop(self) -> None:
        """Drain: health says no, calls finish or settle, the queue empties, then it ends."""
        grace = self._settings.shutdown_seconds
        self.health.stopping()
        stopping = [self._grpc.stop(grace)]
        if self._rest is not None:
            stopping.append(self._rest.stop(grace))
        await asyncio.gather(*stopping)
        try:
            async with asyncio.timeout(grace):
                await self._closing.drain()
        except TimeoutError:
            _log.warning("calls that did not end in time will be listed as abandoned")
        await self._sweeper.stop()
        await self._ledger.stop()
        await self._upstream.close()
        self._database.close()

    @classmethod
    async def serve(
        cls,
        settings: config.Settings,
        ready: Callable[[Addresses], None],
        *,
        more_handlers: Sequence[grpc.GenericRpcHandler] = (),
    ) -> bool:
        """Serve until SIGTERM or SIGINT; tell `ready` the addresses. False if a rule broke."""
        migrate(settings)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stop.set)
        service = cls(settings, more_handlers=more_handlers)
        try:
            addresses = await service.start()
        except OSError as error:
            await service.stop()
            raise config.ConfigError(f"cannot listen: {error}") from None
        _log.info("serving", grpc=addresses.grpc_address, http=addresses.http_address)
        ready(addresses)
        await stop.wait()
        _log.info("stopping")
        await service.stop()
        return not service.health.is_broken

    def _tell_health(self, *, serving: bool) -> None:
        _log.info("health", serving=serving)
        # One after the other: the last word must be the last said.
        self._telling = asyncio.create_task(self._tell(self._telling, serving=serving))

    async def _tell(self, before: asyncio.Task[None] | None, *, serving: bool) -> None:
        if before is not None:
            await before
        await self._grpc.set_serving(serving=serving)


def _rest(
    settings: config.Settings, dispatcher: LocalDispatcher, registry: Registry, health: Health
) -> RestServer | None:
    if not settings.http_address:
        return None
    host, port = _split(settings.http_address)
    tls = None
    if settings.tls_certificate is not None and settings.tls_key is not None:
        tls = HttpTls(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    app = build_app(
        dispatcher,
        settings=RestSettings(forward_body_bytes_max=settings.body_bytes_max),
        provider_bases={provider.id: provider.base_url for provider in registry.all()},
        serving=lambda: health.serving,
    )
    return RestServer(app, host=host, port=port, tls=tls)


def _registry(settings: config.Settings) -> Registry:
    added = {
        host: CompatibleHost(
            family=Family(rule.family.value),
            id=rule.id,
            price_provider=rule.price_provider,
            asks_usage=rule.asks_usage,
        )
        for host, rule in settings.compatible_hosts.items()
    }
    return Registry().with_hosts(added)


def _egress(settings: config.Settings) -> Egress:
    return Egress(
        provider_keys={
            name: secret.get_secret_value() for name, secret in settings.provider_keys.items()
        },
        # A host that the operator sends elsewhere is one that calls may go to.
        allowed_hosts=settings.allowed_hosts | settings.upstream_map.keys(),
        upstream_map=settings.upstream_map,
    )


def _prices(settings: config.Settings) -> PriceBook:
    try:
        return PriceBook(settings.prices_file)
    except (OSError, ValueError) as error:
        raise config.ConfigError(f"LAVA_PRICES_FILE: {error}") from None


def _grpc_credentials(settings: config.Settings) -> grpc.ServerCredentials | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    try:
        pair = (settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())
        ca = settings.tls_client_ca.read_bytes() if settings.tls_client_ca else None
    except OSError as error:
        raise config.ConfigError(f"LAVA_TLS_CERTIFICATE: {error}") from None
    return grpc.ssl_server_credentials(
        [pair], root_certificates=ca, require_client_auth=ca is not None
    )


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def _with_port(address: str, port: int) -> str:
    return f"{address.rpartition(':')[0]}:{port}"
