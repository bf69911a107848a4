"""The shim's ASGI application."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lava_grpc.api.gate import CALLS_MAX, Gate
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.time import Clock
from lava_grpc.rest.docs import add_docs
from lava_grpc.rest.errors import defect, refused, wrong_method
from lava_grpc.rest.forward import FORWARD_METHODS, Forwarder, is_forward
from lava_grpc.rest.http import Answer, ClientGone, Incoming, Receive, Scope, Send, send_answer
from lava_grpc.rest.inventory import (
    REWRITE_PATH,
    REWRITE_TEMPLATE,
    add_missing,
    not_implemented,
)
from lava_grpc.rest.json_writer import dump
from lava_grpc.rest.key_rates import KeyRates
from lava_grpc.rest.limited import limited
from lava_grpc.rest.paths import HEALTH_PATH
from lava_grpc.rest.ports import Dispatcher
from lava_grpc.rest.router import Endpoint, Params, Router
from lava_grpc.rest.shaped import SHAPES, Choose
from lava_grpc.rest.target import FORWARD_PATH, FORWARD_TEMPLATE
from lava_grpc.rest.transcode import Limits, Transcoded, bindings, services

# Metered operations may come as fast as they do.
_HOT = "lava.v1.GatewayService"

_MIB = 1024 * 1024
_NO_BASES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RestSettings:
    """What bounds a call over HTTP."""

    calls_max: int = CALLS_MAX
    body_bytes_max: int = _MIB
    forward_body_bytes_max: int = 32 * _MIB
    body_seconds_max: float = 120.0
    # How long an RPC may take; a forwarded call is bounded behind the dispatcher.
    timeout_seconds: float | None = 30.0
    # What one API key may call of the management endpoints; 0 for no limit.
    calls_per_minute: int = 0


def build_app(
    dispatcher: Dispatcher,
    *,
    settings: RestSettings | None = None,
    provider_bases: Mapping[str, str] = _NO_BASES,
    serving: Callable[[], bool] = lambda: True,
    choose: Choose | None = None,
    clock: Clock | None = None,
) -> App:
    """The application: every REST form in the protos, the gateway, health, and its own document.

    `provider_bases` maps the aliases of `/v1/forward/{alias}/…` to base URLs.
    `serving` is asked for health, `choose` for the providers of calls that name a
    model alone; `clock` tells the time of rate limits. Raises ValueError for protos that cannot be
    served. Serve it with the server's own `date` and `server` headers off (the
    provider's pass through) and without an access log of query strings (`key`).
    """
    bounds = settings or RestSettings()
    limits = Limits(
        body_bytes_max=bounds.body_bytes_max,
        body_seconds_max=bounds.body_seconds_max,
        timeout_seconds=bounds.timeout_seconds,
    )
    rates = None
    if bounds.calls_per_minute and clock is not None:
        rates = KeyRates(bounds.calls_per_minute, clock)
    router = Router()
    for service in services():
        for binding in bindings(service):
            endpoint: Endpoint = Transcoded(binding, dispatcher, limits)
            if rates is not None and service.full_name != _HOT:
                endpoint = limited(endpoint, rates)
            router.add(binding.http_method, binding.template, endpoint)
    add_missing(router)
    router.add("GET", HEALTH_PATH, _health(serving))
    add_docs(router)
    forwarder = Forwarder(
        dispatcher,
        bases=provider_bases,
        body_bytes_max=bounds.forward_body_bytes_max,
        body_seconds_max=bounds.body_seconds_max,
        choose=choose,
    )
    return App(router, forwarder, Gate(bounds.calls_max, name="rest"))


class App:
    """Takes a request to its route, and whatever goes wrong there to an error body."""

    def __init__(self, router: Router, forwarder: Forwarder, gate: Gate) -> None:
        self._gate = gate
        self._router = router
        self._forwarder = forwarder

    @property
    def in_flight(self) -> int:
        """How many calls are being answered."""
        return self._gate.in_flight

    def routes(self) -> Iterator[tuple[str, str]]:
        """Method and path of all that is answered, 501 included."""
        yield from self._router.routes()
        yield from (("POST", path) for path in SHAPES)
        yield "POST", REWRITE_TEMPLATE
        for path in (FORWARD_PATH, FORWARD_TEMPLATE):
            yield from ((method, path) for method in sorted(FORWARD_METHODS))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's entry."""
        match scope["type"]:
            case "http":
                await self._http(Incoming(scope, receive), send)
            case "lifespan":
                await _lifespan(receive, send)
            case "websocket":
                await send({"type": "websocket.close", "code": 1000})
            case _:
                pass

    async def _http(self, request: Incoming, send: Send) -> None:
        try:
            answer = await self._admitted(request, send)
        except ClientGone:
            return
        except Refusal as refusal:
            answer = refused(refusal)
        except Exception as error:  # noqa: BLE001 - the last place that can answer at all
            answer = defect(error)
        if answer is not None:
            await send_answer(send, answer)

    async def _admitted(self, request: Incoming, send: Send) -> Answer | None:
        """As `_answer`, while there is room; health is told in any case."""
        if request.path == HEALTH_PATH:
            return await self._answer(request, send)
        self._gate.enter()
        try:
            return await self._answer(request, send)
        finally:
            self._gate.leave()

    async def _answer(self, request: Incoming, send: Send) -> Answer | None:
        """The answer to send; None where the forwarder has sent its own."""
        if _is_preflight(request):
            raise Refusal(
                Reason.PERMISSION_DENIED,
                "web pages may not call this API (CORS is refused): call it from a server, "
                "so that its keys stay secret",
            )
        if is_forward(request.path):
            if request.method not in FORWARD_METHODS:
                return wrong_method(sorted(FORWARD_METHODS))
            await self._forwarder(request, send)
            return None
        if request.path in SHAPES:
            if request.method != "POST":
                return wrong_method(["POST"])
            await self._forwarder.shaped(request, send)
            return None
        if request.path.startswith(REWRITE_PATH):
            if request.method != "POST":
                return wrong_method(["POST"])
            return await not_implemented(request, {})
        return await self._router.answer(request)


def _is_preflight(request: Incoming) -> bool:
    """Whether a browser asks if a page of another origin may call."""
    return (
        request.method == "OPTIONS"
        and "origin" in request.headers
        and "access-control-request-method" in request.headers
    )


def _health(serving: Callable[[], bool]) -> Endpoint:
    async def health(request: Incoming, params: Params) -> Answer:
        del request, params
        if serving():
            return Answer(dump({"status": "SERVING"}))
        return Answer(dump({"status": "NOT_SERVING"}), 503)

    return health


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return
