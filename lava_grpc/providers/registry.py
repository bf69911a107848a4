"""The package's front door: find a provider, read its call, tap its answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from lava_grpc.providers.base import Call
from lava_grpc.providers.catalogue import PROVIDERS
from lava_grpc.providers.flavors import STREAM_OPTION_FLAVORS
from lava_grpc.providers.provider import (
    AuthStyle,
    Endpoint,
    Family,
    Provider,
    Quirk,
    StreamUsage,
    compile_host_pattern,
)
from lava_grpc.providers.request import read_call
from lava_grpc.providers.stream_options import ask_for_usage
from lava_grpc.providers.tap import make_tap

__all__ = [
    "AuthStyle",
    "CompatibleHost",
    "Endpoint",
    "Family",
    "Provider",
    "Quirk",
    "Registry",
    "StreamUsage",
    "auth_headers",
    "auth_query",
    "make_tap",
    "prepare_body",
    "read_call",
]

_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)

_COMPATIBLE_FAMILIES = {
    Family.OPENAI: AuthStyle.BEARER,
    Family.ANTHROPIC: AuthStyle.X_API_KEY,
    Family.GENERIC: AuthStyle.BEARER,
}


@dataclass(frozen=True, slots=True)
class CompatibleHost:
    """A host that an operator adds, in OpenAI's or Anthropic's shapes, or metered by the call.

    `id` defaults to the host. `price_provider` names whose prices in the
    catalogue hold for it. `asks_usage` False is for servers that refuse
    `stream_options`.
    """

    family: Family = Family.OPENAI
    id: str | None = None
    label: str | None = None
    base_url: str | None = None
    auth: AuthStyle | None = None
    price_provider: str | None = None
    asks_usage: bool = True


class Registry:
    """Providers by host and by id. Hosts compare whole."""

    def __init__(self, providers: Iterable[Provider] = PROVIDERS) -> None:
        self._providers = {provider.id: provider for provider in providers}
        self._by_host = {
            host: provider for provider in self._providers.values() for host in provider.hosts
        }
        self._patterns = [
            (compile_host_pattern(pattern), provider)
            for provider in self._providers.values()
            for pattern in provider.host_patterns
        ]

    def by_host(self, host: str) -> Provider | None:
        """The provider at `host` (a name without a port), None for a stranger."""
        name = host.lower()
        found = self._by_host.get(name)
        if found is not None:
            return found
        for pattern, provider in self._patterns:
            if pattern.fullmatch(name):
                return provider
        return None

    def by_id(self, ident: str) -> Provider | None:
        """The provider with this id."""
        return self._providers.get(ident)

    def all(self) -> tuple[Provider, ...]:
        """Every provider, built in or added."""
        return tuple(self._providers.values())

    def with_hosts(self, hosts: Mapping[str, CompatibleHost | Family]) -> Registry:
        """A registry that knows these hosts too; an added host wins over a built-in one.

        Raises ValueError for a family that cannot be added by host alone.
        """
        added = [_added(host.lower(), rule) for host, rule in hosts.items()]
        return Registry((*self._providers.values(), *added))


def _added(host: str, rule: CompatibleHost | Family) -> Provider:
    described = CompatibleHost(family=rule) if isinstance(rule, Family) else rule
    if described.family not in _COMPATIBLE_FAMILIES:
        names = ", ".join(_COMPATIBLE_FAMILIES)
        raise ValueError(f"host {host}: family must be one of {names}")
    return Provider(
        id=described.id or host,
        label=described.label or described.id or host,
        base_url=described.base_url or f"https://{host}/v1",
        family=described.family,
        hosts=(host,),
        auth=described.auth or _COMPATIBLE_FAMILIES[described.family],
        price_provider=described.price_provider,
        stream_usage=StreamUsage.ASK if described.asks_usage else StreamUsage.UNKNOWN,
    )


def prepare_body(provider: Provider, call: Call, body: bytes) -> tuple[Call, bytes]:
    """The call and the body to send: asks for usage where a stream would not state it.

    All other bytes of the body stay as they are. With `usage_injected` set on
    the call that comes back, send `accept-encoding: identity`, and pass that
    call to `make_tap`, which takes the extra chunk out of the answer again.
    """
    if (
        not call.stream
        or call.flavor not in STREAM_OPTION_FLAVORS
        or call.body is None
        or provider.stream_usage is not StreamUsage.ASK
    ):
        return call, body
    asking = ask_for_usage(body, has_options="stream_options" in call.body)
    return (call, body) if asking is None else (replace(call, usage_injected=True), asking)


def auth_headers(provider: Provider, key: str, call: Call | None = None) -> dict[str, str]:
    """The headers that carry `key` to the provider, in its own way.

    Bedrock's style gives a bearer token (a Bedrock API key); signing a request
    is the client's part. Google's OpenAI-compatible endpoints take a bearer too,
    and so does Azure where the key is an Entra ID access token.
    """
    style = provider.auth
    compatible = call is not None and "/openai/" in call.url
    if style is AuthStyle.X_GOOG_API_KEY and compatible:
        style = AuthStyle.BEARER
    if style is AuthStyle.API_KEY and _JWT.fullmatch(key):
        # An Entra ID access token: Azure's own keys have no dots.
        style = AuthStyle.BEARER
    match style:
        case AuthStyle.BEARER | AuthStyle.AWS_SIGV4:
            return {"authorization": f"Bearer {key}"}
        case AuthStyle.TOKEN:
            return {"authorization": f"Token {key}"}
        case AuthStyle.RAW:
            return {"authorization": key}
        case AuthStyle.QUERY_KEY:
            return {}
        case _:
            return {style.value: key}


def auth_query(provider: Provider, key: str) -> dict[str, str]:
    """The query parameters that carry `key`; empty for all but QUERY_KEY."""
    return {"key": key} if provider.auth is AuthStyle.QUERY_KEY else {}
