"""Where a call may go, and where it is then sent."""

from __future__ import annotations

import pytest

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.gateway.targets import URL_CHARS_MAX, Target, resolve_target
from lava_grpc.providers.provider import AuthStyle, Family, Provider
from lava_grpc.providers.registry import Registry

REGISTRY = Registry()
CHAT = "https://api.openai.com/v1/chat/completions"


def resolve(url: str, *allowed: str, **mapped: str) -> Target:
    upstream_map = {host.replace("_", "."): base for host, base in mapped.items()}
    return resolve_target(
        url, REGISTRY, allowed_hosts=frozenset(allowed), upstream_map=upstream_map
    )


def refusal(url: str, *allowed: str) -> Refusal:
    with pytest.raises(Refusal) as refused:
        resolve(url, *allowed)
    return refused.value


def test_a_providers_url_is_sent_as_it_is_written() -> None:
    target = resolve(CHAT + "?a=%20b&c")

    assert target.provider.id == "openai"
    assert target.host == "api.openai.com"
    assert target.send_url == target.identity_url == CHAT + "?a=%20b&c"


@pytest.mark.parametrize(
    "url",
    [
        "https://API.OpenAI.com/v1/models",
        "HTTPS://api.openai.com./v1/models",
        "https://api.openai.com:443/v1/models",
        "https://api.openai.com.:443/v1/models",
        "https://\uff41\uff50\uff49.openai.com/v1/models",
        "https://api\u3002openai.com/v1/models",
    ],
)
def test_every_spelling_of_a_host_is_sent_as_the_one_that_was_compared(url: str) -> None:
    target = resolve(url)

    assert target.provider.id == "openai"
    assert target.send_url == "https://api.openai.com/v1/models"


@pytest.mark.parametrize(
    "host",
    [
        "api.openai.com.evil.example",
        "evil-api.openai.com",
        "xapi.openai.com",
        "openai.com",
        "api-openai.com",
        "api.openai.com:8443",
        "api.openai.com:80",
        "x.openai.azure.com.evil.example",
        "evil.example",
        "api.\u043epenai.com",
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "localhost",
    ],
)
def test_a_host_that_nobody_listed_is_refused(host: str) -> None:
    refused = refusal(f"https://{host}/v1/chat/completions")

    assert refused.reason is Reason.UPSTREAM_NOT_ALLOWED
    assert refused.facts["host"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/v1/chat/completions",
        "api.openai.com/v1",
        "//api.openai.com/v1",
        "https:///v1",
        "https:api.openai.com",
        "ftp://api.openai.com/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://api.openai.com/v1",
        "https://user@api.openai.com/",
        "https://user:secret@api.openai.com/",
        "https://api.openai.com@evil.example/",
        "https://evil.example\\@api.openai.com/",
        "https://evil.example#@api.openai.com/",
        "https://api.openai.com/v1#part",
        "https://api.openai.com/v1#",
        "https://api.openai.com/v1\r\nHost: evil",
        "https://api.openai.com/v1\t",
        "https://api.open\nai.com/v1",
        "https://api.openai.com/a b",
        " https://api.openai.com/v1",
        "https://api.openai.com/\x00",
        "https://api.openai.com:0/",
        "https://api.openai.com:99999/",
        "https://api.openai.com:x/",
        "https://api.openai.com:-1/",
        "https://[::1/",
        "https://[api.openai.com]/",
        "https://api..openai.com/",
        "https://.api.openai.com/",
        "https://api.openai.com../",
        "https://api%2eopenai.com/",
        "https://[::1%25eth0]/",
        "https://api.openai.com/v1/../admin",
        "https://api.openai.com/v1/%2e%2E/admin",
        "https://api.openai.com/v1/.%2e/admin",
        "https://api.openai.com/v1/..",
        "https://api.openai.com/v1/..%2fadmin",
        "https://api.openai.com/./v1",
        "https://api.openai.com/v1/..;a=b/admin",
        "https://api.openai.com/" + "a" * URL_CHARS_MAX,
    ],
)
def test_what_is_no_url_to_call_is_refused_by_field(url: str) -> None:
    refused = refusal(url)

    assert refused.reason is Reason.INVALID_FIELD
    assert refused.field == "u"
    assert "secret" not in refused.message


def test_an_allowed_host_is_generic_and_allows_its_own_port_only() -> None:
    target = resolve("https://internal.example/run", "internal.example")

    assert target.provider.family is Family.GENERIC
    assert target.provider.id == target.host == "internal.example"
    refused = refusal("https://internal.example:8443/run", "internal.example")
    assert refused.facts == {"host": "internal.example:8443"}
    with_port = resolve("https://internal.example:8443/run", "internal.example:8443")
    assert with_port.send_url == "https://internal.example:8443/run"
    assert refusal("https://internal.example/", "internal.example:8443").facts


def test_a_listed_providers_other_port_needs_to_be_allowed() -> None:
    target = resolve("https://api.openai.com:8443/v1/models", "api.openai.com:8443")

    assert target.provider.id == "openai"
    assert target.send_url == "https://api.openai.com:8443/v1/models"


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:9000", "127.0.0.1:9000"),
        ("localhost:9000", "localhost:9000"),
        ("localhost", "localhost"),
        ("[::1]:9000", "[::1]:9000"),
    ],
)
def test_plain_http_is_for_allowed_loopback_hosts(host: str, allowed: str) -> None:
    assert resolve(f"http://{host}/x", allowed).send_url == f"http://{host}/x"


@pytest.mark.parametrize("host", ["internal.example", "10.0.0.1", "127.0.0.1.example"])
def test_plain_http_is_refused_elsewhere_even_if_allowed(host: str) -> None:
    assert refusal(f"http://{host}/x", host).reason is Reason.INVALID_FIELD


def test_a_mapped_host_is_sent_elsewhere_and_keeps_its_identity() -> None:
    base = "http://127.0.0.1:9/openai/"
    target = resolve(CHAT + "?a=b", api_openai_com=base)

    assert target.send_url == "http://127.0.0.1:9/openai/v1/chat/completions?a=b"
    assert target.identity_url == CHAT + "?a=b"
    assert target.provider.id == "openai"


def test_a_map_allows_no_host_by_itself() -> None:
    with pytest.raises(Refusal) as refused:
        resolve("https://other.example/", other_example="http://127.0.0.1:9")

    assert refused.value.reason is Reason.UPSTREAM_NOT_ALLOWED


def test_secrets_in_a_query_stay_out_of_the_record() -> None:
    url = (
        "https://api.openai.com/v1/x?model=m&api_key=s3cret&X-Amz-Signature=s3cret"
        "&accessToken=s3cret&%6bey=s3cret&alt=sse"
    )
    target = resolve(url)

    assert target.identity_url == "https://api.openai.com/v1/x?model=m&alt=sse"
    assert target.send_url == url
    assert "s3cret" not in repr(target)


def test_google_gets_no_key_of_the_callers() -> None:
    url = "https://generativelanguage.googleapis.com/v1beta/models/g:generateContent"
    target = resolve(f"{url}?key=aks_live_x&alt=sse")

    assert target.send_url == f"{url}?alt=sse"
    assert target.keyed_url("k") == target.send_url


def test_a_provider_that_takes_its_key_in_the_query_gets_it_there() -> None:
    provider = Provider(
        "q", "Q", "https://q.example", hosts=("q.example",), auth=AuthStyle.QUERY_KEY
    )
    target = resolve_target("https://q.example/a?key=mine", Registry([provider]))

    assert target.send_url == "https://q.example/a"
    assert target.keyed_url("a&b") == "https://q.example/a?key=a%26b"
    assert target.keyed_url(None) == "https://q.example/a"


def test_text_beyond_ascii_is_percent_encoded_and_the_rest_untouched() -> None:
    target = resolve("https://api.openai.com/v1/caf\u00e9/%7E~?q=\u00fc%2F")

    assert target.send_url == "https://api.openai.com/v1/caf%C3%A9/%7E~?q=%C3%BC%2F"


def test_a_url_without_a_path_gets_the_root() -> None:
    assert resolve("https://api.openai.com").send_url == "https://api.openai.com/"
