"""A provider is added in each of the ways that docs/adding-a-provider.md tells of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from lava_grpc.core.time import SECOND
from lava_grpc.core.usage import Usage
from lava_grpc.providers import counts
from lava_grpc.providers.base import UsageReading
from lava_grpc.providers.catalogue import PROVIDERS
from lava_grpc.providers.estimate import estimate
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.provider import AuthStyle, Endpoint, Family, Provider
from lava_grpc.providers.reader import Reader
from lava_grpc.providers.registry import (
    CompatibleHost,
    Registry,
    auth_headers,
    make_tap,
    prepare_body,
    read_call,
)

NOW = 1_767_225_600 * SECOND
JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream"}


# The one file.
class ExampleReader(Reader):
    """`{"tally": {"read": 3, "written": 2}}`, or an event with that in its stream."""

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        self.name(document, model="engine", ident="ticket")
        self.failed = "sorry" in document
        read = counts.count(document, "tally", "read")
        if read is not None:
            self.stated = True
            written = counts.count(document, "tally", "written")
            self.state(input_tokens=read, output_tokens=written)

    @override
    def event(self, name: bytes, data: bytes) -> bool:
        self.add_text(data)
        document = counts.parse_json(data)
        if isinstance(document, Mapping):
            self.document(document)
            self.complete = self.complete or name == b"bye"
        return False


# The one registry line.
EXAMPLE = Provider(
    id="example",
    label="Example",
    base_url="https://api.example.com",
    hosts=("api.example.com",),
    auth=AuthStyle.X_API_KEY,
    endpoints=(Endpoint(r"/v2/engines/(?P<model>[^/]+)/ask", "ask", ExampleReader),),
)
ASK = "https://api.example.com/v2/engines/deep%20one/ask"


def _read(
    registry: Registry, host: str, url: str, body: object, answer: bytes, headers: dict[str, str]
) -> tuple[bytes, UsageReading]:
    provider = registry.by_host(host)
    assert provider is not None
    raw = json.dumps(body).encode()
    call, _ = prepare_body(provider, read_call(provider, "POST", url, JSON, raw), raw)
    assert estimate(provider, call, raw, PriceBook(), NOW).usage.input_tokens
    tap = make_tap(provider, call, 200, headers)
    return tap.feed(answer) + tap.finish(), tap.reading()


def test_a_format_of_its_own_is_one_file_and_one_line() -> None:
    registry = Registry((*PROVIDERS, EXAMPLE))
    provider = registry.by_host("api.example.com")
    assert provider is not None
    assert auth_headers(provider, "k") == {"x-api-key": "k"}
    answer = b'{"ticket": "t1", "engine": "deep one", "tally": {"read": 3, "written": 2}}'
    passed, reading = _read(registry, "api.example.com", ASK, {"max_tokens": 9}, answer, JSON)
    assert passed == answer
    assert reading.usage == Usage(input_tokens=3, output_tokens=2)
    assert (reading.response_id, reading.model, reading.stated) == ("t1", "deep one", True)
    call = read_call(provider, "POST", ASK, JSON, b'{"max_tokens": 9, "stream": true}')
    assert (call.flavor, call.model, call.output_tokens_max) == ("ask", "deep one", 9)


def test_its_streams_are_read_by_the_same_file() -> None:
    registry = Registry((*PROVIDERS, EXAMPLE))
    answer = b'data: {"text": "hi"}\n\nevent: bye\ndata: {"tally": {"read": 3, "written": 2}}\n\n'
    passed, reading = _read(registry, "api.example.com", ASK, {"stream": True}, answer, SSE)
    assert passed == answer
    assert (reading.usage.output_tokens, reading.complete, reading.output_bytes_seen) == (
        2,
        True,
        2,
    )


def test_its_other_endpoints_are_read_as_everybodys() -> None:
    registry = Registry((*PROVIDERS, EXAMPLE))
    url = "https://api.example.com/v1/chat/completions"
    answer = b'{"model": "m", "usage": {"prompt_tokens": 4, "completion_tokens": 1}}'
    _, reading = _read(registry, "api.example.com", url, {"model": "m"}, answer, JSON)
    assert reading.usage == Usage(input_tokens=4, output_tokens=1)


def test_a_compatible_host_is_configuration_alone() -> None:
    for family, path, answer in (
        (
            Family.OPENAI,
            "chat/completions",
            b'{"model": "m", "usage": {"prompt_tokens": 4, "completion_tokens": 1}}',
        ),
        (
            Family.ANTHROPIC,
            "messages",
            b'{"model": "m", "usage": {"input_tokens": 4, "output_tokens": 1}}',
        ),
    ):
        registry = Registry().with_hosts({"llm.example.com": CompatibleHost(family=family, id="x")})
        assert registry.by_id("x") is not None
        url = f"https://llm.example.com/v1/{path}"
        _, reading = _read(registry, "llm.example.com", url, {"model": "m"}, answer, JSON)
        assert reading.usage == Usage(input_tokens=4, output_tokens=1)
