"""Which headers reach a provider, and which come back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.gateway.headers import HEADERS_MAX, headers_to_return, headers_to_send
from lava_grpc.providers.base import Call
from lava_grpc.providers.provider import Provider
from lava_grpc.providers.registry import Registry

CALL = Call("openai", "chat", "POST", "https://api.openai.com/v1/chat/completions")


def provider(ident: str) -> Provider:
    found = Registry().by_id(ident)
    assert found is not None
    return found


def sent(
    *headers: tuple[str, str], key: str | None = None, to: str = "openai", call: Call = CALL
) -> list[tuple[str, str]]:
    return list(headers_to_send(headers, provider(to), key, call))


def test_what_the_caller_wrote_passes_in_order_doubles_too() -> None:
    given = [
        ("Content-Type", "application/json"),
        ("anthropic-version", "2023-06-01"),
        ("X-Twice", "1"),
        ("X-Twice", "2"),
        ("x-fake-words", "3"),
        ("user-agent", "mine"),
    ]

    assert sent(*given)[:-1] == given


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "X-Api-Key", "x-goog-api-key", "xi-api-key", "api-key"),
        *("Proxy-Authorization", "proxy-connection", "Cookie", "Host", "Content-Length"),
        *("Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"),
        *("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "Via", "X-Real-IP"),
        *("X-Lava-Metadata", "x-lava-metadata-feature"),
    ],
)
def test_credentials_and_what_is_ours_stay_here(name: str) -> None:
    assert sent((name, "secret")) == [("accept-encoding", "identity")]


def test_headers_that_connection_names_are_of_that_connection() -> None:
    headers = sent(("Connection", "close, X-Hop"), ("x-hop", "1"), ("x-end", "2"))

    assert headers == [("x-end", "2"), ("accept-encoding", "identity")]


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("openai", ("authorization", "Bearer k")),
        ("anthropic", ("x-api-key", "k")),
        ("google", ("x-goog-api-key", "k")),
        ("elevenlabs", ("xi-api-key", "k")),
        ("azure", ("api-key", "k")),
    ],
)
def test_the_key_goes_the_providers_way(to: str, expected: tuple[str, str]) -> None:
    headers = sent(("Authorization", "Bearer aks_live_mine"), key="k", to=to)

    assert headers[-1] == expected
    assert "aks_live_mine" not in str(headers)


@pytest.mark.parametrize(
    ("accepted", "asked"),
    [
        ([], "identity"),
        (["gzip, deflate, br, zstd"], "gzip, deflate"),
        (["gzip;q=0.5", "identity;q=0.1, br"], "gzip;q=0.5, identity;q=0.1"),
        (["br"], "identity"),
        (["*"], "identity"),
    ],
)
def test_only_encodings_that_a_tap_can_read_are_accepted(accepted: list[str], asked: str) -> None:
    headers = sent(*(("Accept-Encoding", value) for value in accepted))

    assert headers == [("accept-encoding", asked)]


def test_an_answer_that_loses_a_chunk_must_come_plain() -> None:
    injected = replace(CALL, usage_injected=True)

    assert sent(("accept-encoding", "gzip"), call=injected) == [("accept-encoding", "identity")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", "a\r\nauthorization: Bearer stolen"),
        ("x", "a\nb"),
        ("x", "a\rb"),
        ("x", "a\0b"),
        ("x y", "1"),
        ("x\r\n", "1"),
        ("x:", "1"),
        ("", "1"),
    ],
)
def test_a_header_that_would_not_stay_one_is_refused(name: str, value: str) -> None:
    with pytest.raises(Refusal) as refused:
        sent((name, value))

    assert refused.value.reason is Reason.INVALID_FIELD
    assert refused.value.field == "headers"
    assert "stolen" not in refused.value.message


def test_a_broken_key_is_refused_and_not_told() -> None:
    with pytest.raises(Refusal) as refused:
        sent(key="sk-secret\r\nx: y")

    assert "sk-secret" not in refused.value.message


def test_too_many_headers_are_refused() -> None:
    with pytest.raises(Refusal):
        sent(*[("x", "1")] * (HEADERS_MAX + 1))


def test_an_answers_headers_come_back_but_for_those_of_the_hop() -> None:
    kept = (
        ("content-type", "text/event-stream"),
        ("Content-Encoding", "gzip"),
        ("Content-Length", "12"),
        ("x-request-id", "r"),
        ("retry-after", "3"),
    )
    dropped = (
        ("Connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("Transfer-Encoding", "chunked"),
        ("Set-Cookie", "a=b"),
        ("alt-svc", "h3"),
        ("Strict-Transport-Security", "max-age=1"),
        ("x-lava-request-id", "forged"),
        ("x-bad", "a\nb"),
    )

    assert headers_to_return(kept + dropped) == kept


def test_an_answer_that_loses_a_chunk_has_no_length() -> None:
    headers = (("content-length", "12"), ("x", "1"))

    assert headers_to_return(headers, replace(CALL, usage_injected=True)) == (("x", "1"),)
