"""A server process: gRPC, REST, the ledger and the sweeper, put together and run."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog

from lava_grpc import config
from lava_grpc.api.auth import Authenticator
from lava_grpc.api.dispatch import LocalDispatcher
from lava_grpc.api.handlers.direct import build_direct
from lava_grpc.api.handlers.wiring import build_handlers
from lava_grpc.api.idempotency import Once
from lava_grpc.app.billing import BillingParts
from lava_grpc.app.clock import SystemClock
from lava_grpc.app.health import Health
from lava_grpc.app.parts import migrate, open_database, registry_of
from lava_grpc.app.provider_keys import ProviderKeyParts, managed_keys
from lava_grpc.app.webhooks import WebhookParts
from lava_grpc.core.hold_policy import HoldPolicy
from lava_grpc.core.ids import IdSource
from lava_grpc.core.time import Clock
from lava_grpc.gateway.aiohttp_upstream import AiohttpUpstream
from lava_grpc.gateway.authorize import Authorizer
from lava_grpc.gateway.credit import Credit
from lava_grpc.gateway.customers import Customers
from lava_grpc.gateway.directory import Directory
from lava_grpc.gateway.estimates import Estimator
from lava_grpc.gateway.expectations import Expectations
from lava_grpc.gateway.forward import Forwarder
from lava_grpc.gateway.forward_end import Closing, Detaching, GonePolicy
from lava_grpc.gateway.forward_plan import Egress, Planner
from lava_grpc.gateway.history import History
from lava_grpc.gateway.jobs import Jobs
from lava_grpc.gateway.keys import SecretKeys
from lava_grpc.gateway.meters import Meters
from lava_grpc.gateway.offers import Catalogues
from lava_grpc.gateway.recent import RecentHolds
from lava_grpc.gateway.report import Reporter
from lava_grpc.gateway.reservations import Reservations
from lava_grpc.gateway.shaped import ShapeRouter
from lava_grpc.gateway.signing import SigningUpstream
from lava_grpc.gateway.spend_keys import SpendKeys
from lava_grpc.gateway.upstream import Timeouts
from lava_grpc.gateway.usage_days import UsageReports
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.registry import Registry
from lava_grpc.rest.app import RestSettings, build_app
from lava_grpc.rest.server import HttpTls, RestServer
from lava_grpc.server.grpc_server import GrpcServer, GrpcSettings
from lava_grpc.store.database import Database
from lava_grpc.store.group_commit import GroupCommit, QueueBounds
from lava_grpc.store.idempotency import StoreIdempotency
from lava_grpc.store.jobs import StoreJobs
from lava_grpc.store.ledger_store import LedgerStore
from lava_grpc.store.reads import StoreBooks
from lava_grpc.store.resources import StoreResources
from lava_grpc.store.retention import Retention
from lava_grpc.store.spend_keys import StoreSpendKeys
from lava_grpc.store.sweeper import Sweeper

_log = structlog.get_logger(__name__)

# What a ForwardRequest has around its body.
_ENVELOPE_BYTES = 1024 * 1024


GARBAGE_THRESHOLD = 20_000
"""How many more objects are made than freed before the collector looks at the young ones."""


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
        reuse_port: bool = False,
    ) -> None:
        """Put the parts together; nothing runs yet.

        `more_handlers` are served over gRPC beside ours; with `reuse_port` other
        processes may serve on the same addresses. Raises ConfigError for
        what settings name and is not there.
        """
        self._settings = settings
        self._telling: asyncio.Task[None] | None = None
        clock = clock or SystemClock()
        ids = IdSource()
        registry = registry_of(settings)
        prices = _prices(settings)
        charge_abandoned = settings.on_abandoned is config.OnAbandoned.CHARGE
        self.health = Health(settings.unreachable_seconds_max, self._tell_health)
        self._database = open_database(settings)
        self._ledger = GroupCommit(
            LedgerStore(
                self._database.store_engine,
                clock,
                io=self._database.in_writer,
                turn=self._database.turn,
                charge_abandoned=charge_abandoned,
                watch=self,
            ),
            self._database,
            QueueBounds(
                queue_commands_max=settings.queue_commands_max,
                batch_commands_max=settings.batch_commands_max,
                unreachable_seconds_max=settings.unreachable_seconds_max,
            ),
            callers=self._callers,
            on_broken=self.health.broken,
            on_reachable=self.health.reachable,
        )
        self._sweeper = Sweeper(
            self._database,
            self._ledger,
            clock,
            charge_abandoned=charge_abandoned,
            retention=_retention(settings, self._database, clock),
            on_reachable=self.health.reachable,
        )
        resources, books = StoreResources(self._database), StoreBooks(self._database)
        spend_keys = StoreSpendKeys(self._database)
        jobs = StoreJobs(self._database)
        directory = Directory(resources)
        recent = RecentHolds(books)
        estimator = Estimator(registry, prices, clock)
        expectations = Expectations(books, policy=HoldPolicy(settings.hold_policy.value))
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
            expectations=expectations,
            jobs=Jobs(jobs, books, prices, clock),
        )
        authenticator = Authenticator(
            resources,
            time.monotonic,
            spend_keys=spend_keys,
            cache_seconds=settings.key_cache_seconds,
        )
        self._webhooks = WebhookParts(settings, self._database, clock=clock, ids=ids)
        self.billing = BillingParts(
            settings, self._database, resources, books, self._ledger, clock=clock, ids=ids
        )
        self._provider_keys = ProviderKeyParts(
            settings, self._database, registry, clock=clock, ids=ids
        )
        authorizer = Authorizer(
            self.billing.ledger,
            directory,
            estimator,
            recent,
            clock=clock,
            ids=ids,
            expectations=expectations,
        )
        reporter = Reporter(
            self._ledger,
            directory,
            recent,
            registry=registry,
            prices=prices,
            clock=clock,
            expectations=expectations,
        )
        handlers = build_handlers(
            authorize=authorizer,
            report=reporter,
            reservations=Reservations(self._ledger, books, directory, recent, clock=clock),
            customers=Customers(
                resources, clock=clock, ids=ids, welcome=self.billing.subscriptions.welcome
            ),
            meters=Meters(resources, clock=clock, ids=ids, changed=directory.forget_meters),
            keys=SecretKeys(resources, clock=clock, ids=ids),
            spend_keys=SpendKeys(spend_keys, clock=clock, ids=ids),
            provider_keys=self._provider_keys.use_case,
            credit=Credit(resources, books, self._ledger, clock=clock, ids=ids),
            history=History(resources, books),
            usage=UsageReports(resources, books, clock=clock),
            catalogues=Catalogues(registry, prices, settings.provider_keys, clock=clock),
            webhooks=self._webhooks.use_case,
            plans=self.billing.plans,
            subscriptions=self.billing.subscriptions,
            payments=self.billing.payments,
            key_revoked=authenticator.forget,
        )
        forwarder = Forwarder(
            self.billing.ledger,
            Planner(
                registry,
                directory,
                estimator,
                egress,
                clock=clock,
                ids=ids,
                stored=self._provider_keys.stored,
                expectations=expectations,
                jobs=jobs,
            ),
            SigningUpstream(self._upstream, clock),
            self._closing,
            clock=clock,
            ids=ids,
        )
        once = Once(StoreIdempotency(self._database), clock)
        dispatcher = LocalDispatcher(
            authenticator,
            handlers,
            forwarder,
            once=once,
            direct=build_direct(authorizer, reporter),
        )
        self._grpc = GrpcServer(
            dispatcher,
            settings.grpc_address,
            credentials=_grpc_credentials(settings),
            more_handlers=more_handlers,
            settings=GrpcSettings(
                receive_bytes_max=settings.body_bytes_max + _ENVELOPE_BYTES,
                calls_max=settings.calls_max,
                stream_items_max=settings.stream_items_max,
                reuse_port=reuse_port,
            ),
        )
        self._rest = _rest(
            settings, dispatcher, registry, self.health, clock, reuse_port=reuse_port
        )

    def low(self, merchant_id: str, account_id: str) -> None:
        """See `store.ledger_store.Watch`."""
        self.billing.low(merchant_id, account_id)

    def owed(self) -> None:
        """See `store.ledger_store.Watch`."""
        self.billing.owed()

    def _callers(self) -> int:
        return self._grpc.items_in_flight + (self._rest.in_flight if self._rest else 0)

    async def start(self) -> Addresses:
        """Serve; raises ConfigError where an address cannot be had."""
        await self._upstream.start()
        self._ledger.start()
        self._sweeper.start()
        await self._webhooks.start()
        self.billing.start()
        self._provider_keys.start()
        with _listening("GRPC_ADDRESS"):
            grpc_port = await self._grpc.start()
        with _listening("HTTP_ADDRESS"):
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
                # Whatever time they were given: they must be settled before the process ends.
                self._closing.hurry(grace / 2)
                await self._closing.drain()
        except TimeoutError:
            _log.warning("calls that did not end in time will be listed as abandoned")
        await self._sweeper.stop()
        await self._webhooks.stop()
        await self.billing.stop()
        await self._provider_keys.stop()
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
        reuse_port: bool = False,
    ) -> bool:
        """Serve until SIGTERM or SIGINT; tell `ready` the addresses. False if a rule broke."""
        migrate(settings)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stop.set)
        service = cls(settings, more_handlers=more_handlers, reuse_port=reuse_port)
        try:
            addresses = await service.start()
        except config.ConfigError:
            await service.stop()
            raise
        _log.info("serving", grpc=addresses.grpc_address, http=addresses.http_address)
        _collect_less()
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


def _collect_less() -> None:
    """Look for garbage in cycles less often, and never again at what starting up made.

    A batch makes thousands of objects that live for a moment: with the collector's
    own thresholds it took a seventh of the time of a hold.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, 20, 20)


def _rest(
    settings: config.Settings,
    dispatcher: LocalDispatcher,
    registry: Registry,
    health: Health,
    clock: Clock,
    *,
    reuse_port: bool,
) -> RestServer | None:
    if not settings.http_address:
        return None
    host, port = _split(settings.http_address)
    tls = None
    if settings.tls_certificate is not None and settings.tls_key is not None:
        tls = HttpTls(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    app = build_app(
        dispatcher,
        settings=RestSettings(
            forward_body_bytes_max=settings.body_bytes_max,
            calls_max=settings.calls_max,
            calls_per_minute=settings.rest_calls_per_minute,
        ),
        provider_bases={provider.id: provider.base_url for provider in registry.all()},
        serving=lambda: health.serving,
        choose=ShapeRouter(registry),
        clock=clock,
    )
    return RestServer(app, host=host, port=port, tls=tls, reuse_port=reuse_port)


def _retention(settings: config.Settings, database: Database, clock: Clock) -> Retention | None:
    """What removes old holds, where they are to be removed."""
    days = settings.holds_kept_days
    return Retention(database, clock, kept_days=days) if days else None


def _egress(settings: config.Settings) -> Egress:
    return Egress(
        provider_keys=managed_keys(settings),
        # A host that the operator sends elsewhere is one that calls may go to.
        allowed_hosts=settings.allowed_hosts | settings.upstream_map.keys(),
        upstream_map=settings.upstream_map,
    )


def _prices(settings: config.Settings) -> PriceBook:
    try:
        return PriceBook(settings.prices_file)
    except (OSError, ValueError) as error:
        raise config.ConfigError(f"LAVA_PRICES_FILE: {error}") from None


@contextlib.contextmanager
def _listening(setting: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise config.ConfigError(f"{config.PREFIX}{setting}: cannot listen: {error}") from None


def _grpc_credentials(settings: config.Settings) -> grpc.ServerCredentials | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    _check_tls(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    pair = (settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())
    ca = settings.tls_client_ca.read_bytes() if settings.tls_client_ca else None
    return grpc.ssl_server_credentials(
        [pair], root_certificates=ca, require_client_auth=ca is not None
    )


def _check_tls(certificate: Path, key: Path, client_ca: Path | None) -> None:
    """Load them as a server would: gRPC says of bad ones only that it cannot bind."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    files = {"TLS_CERTIFICATE": certificate, "TLS_KEY": key, "TLS_CLIENT_CA": client_ca}
    for setting, path in files.items():
        if path is not None and not path.is_file():
            raise config.ConfigError(f"{config.PREFIX}{setting}: {path} is not a file")
    try:
        # A key behind a passphrase is refused: nobody is there to type it.
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:
        raise config.ConfigError(
            f"{config.PREFIX}TLS_CERTIFICATE, {config.PREFIX}TLS_KEY: "
            f"not a PEM certificate and its key: {error}"
        ) from None
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except OSError as error:
            raise config.ConfigError(f"{config.PREFIX}TLS_CLIENT_CA: {error}") from None


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def _with_port(address: str, port: int) -> str:
    return f"{address.rpartition(':')[0]}:{port}"
