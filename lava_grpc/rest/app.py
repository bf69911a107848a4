"""The shim's ASGI application."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lava_grpc.core.errors import Refusal
from lava_grpc.rest.errors import defect, refused, wrong_method
from lava_grpc.rest.forward import FORWARD_METHODS, Forwarder, is_forward
from lava_grpc.rest.http import Answer, ClientGone, Incoming, Receive, Scope, Send, send_answer
from lava_grpc.rest.inventory import REWRITE_PATH, add_missing, not_implemented
from lava_grpc.rest.json_writer import dump
from lava_grpc.rest.ports import Dispatcher
from lava_grpc.rest.router import Endpoint, Params, Router
from lava_grpc.rest.transcode import Limits, Transcoded, bindings, services

HEALTH_PATH = "/healthz"

_MIB = 1024 * 1024
_NO_BASES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RestSettings:
    """What bounds a call over HTTP."""

    body_bytes_max: int = _MIB
    forward_body_bytes_max: int = 32 * _MIB
    body_seconds_max: float = 120.0
    # How long an RPC may take; a forwarded call is bounded behind the dispatcher.
    timeout_seconds: float | None = 30.0


def build_app(
    dispatcher: Dispatcher,
    *,
    settings: RestSettings | None = None,
    provider_bases: Mapping[str, str] = _NO_BASES,
    serving: Callable[[], bool] = lambda: True,
) -> App:
    """The application: every REST form in the protos, the gateway, and `GET /healthz`.

    `provider_bases` maps the aliases of `/v1/forward/{alias}/…` to base URLs.
    `serving` is asked for health. Raises ValueError for protos that cannot be
    served. Serve it with the server's own `date` and `server` headers off (the
    provider's pass through) and without an access log of query strings (`key`).
    """
    bounds = settings or RestSettings()
    limits = Limits(
        body_bytes_max=bounds.body_bytes_max,
        body_seconds_max=bounds.body_seconds_max,
        timeout_seconds=bounds.timeout_seconds,
    )
    router = Router()
    for service in services():
        for binding in bindings(service):
            endpoint = Transcoded(binding, dispatcher, limits)
            router.add(binding.http_method, binding.template, endpoint)
    add_missing(router)
    router.add("GET", HEALTH_PATH, _health(serving))
    forwarder = Forwarder(
        dispatcher,
        bases=provider_bases,
        body_bytes_max=bounds.forward_body_bytes_max,
        body_seconds_max=bounds.body_seconds_max,
    )
    return App(router, forwarder)


class App:
    """Takes a request to its route, and whatever goes wrong there to an error body."""

    def __init__(self, router: Router, forwarder: Forwarder) -> None:
        self._router = router
        self._forwarder = forwarder

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
            answer = await self._answer(request, send)
        except ClientGone:
            return
        except Refusal as refusal:
            answer = refused(refusal)
        except Exception as error:  # noqa: BLE001 - the last place that can answer at all
            answer = defect(error)
        if answer is not None:
            await send_answer(send, answer)

    async def _answer(self, request: Incoming, send: Send) -> Answer | None:
        """The answer to send; None where the forwarder has sent its own."""
        if is_forward(request.path):
            if request.method not in FORWARD_METHODS:
                return wrong_method(sorted(FORWARD_METHODS))
            await self._forwarder(request, send)
            return None
        if request.path.startswith(REWRITE_PATH):
            return await not_implemented(request, {})
        return await self._router.answer(request)


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
