from __future__ import annotations

import pytest

from lava_grpc.core.errors import Refusal
from lava_grpc.gateway.webhook_urls import URL_CHARS_MAX, check_url

PRIVATE = frozenset(("127.0.0.1:9000", "hooks.internal"))


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com:8443/hooks?tenant=7",
        "https://1.1.1.1/",
        "https://[2606:4700::1111]/",
    ],
)
def test_https_on_the_public_internet_may_be_named(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/hook",
        "//example.com",
        "ftp://example.com",
        "http://example.com",
        "https://",
        "https://user:pass@example.com",
        "https://example.com/#part",
        "https://example.com/a b",
        "https://example.com\\@evil.example",
        "https://exämple.com",
        "https://example.com:99999",
        "https://example.com:0",
        "https://localhost/",
        "https://app.localhost./",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://10.0.0.8/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "http://127.0.0.1:9000/",
        "https://example.com/" + "x" * URL_CHARS_MAX,
    ],
)
def test_anything_else_is_refused_by_its_field(url: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_url(url)
    assert refused.value.field == "url"


def test_the_operator_may_name_private_hosts_and_plain_http() -> None:
    for url in ("http://127.0.0.1:9000/hook", "http://hooks.internal/", "https://hooks.internal"):
        assert check_url(url, PRIVATE) == url
    for url in ("http://127.0.0.1:9001/", "http://other.internal/", "http://127.0.0.1/"):
        with pytest.raises(Refusal):
            check_url(url, PRIVATE)
