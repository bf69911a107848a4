"""AWS SigV4: against AWS's published examples, and against a check written from its description."""

from __future__ import annotations

import json
import re
import sys

import pytest

from lava_grpc.app.provider_keys import managed_keys
from lava_grpc.config import ConfigError, load
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.time import SECOND
from lava_grpc.gateway import signing
from lava_grpc.gateway.signing import SigningUpstream, sign
from lava_grpc.gateway.upstream import AwsSigning, UpstreamAnswer, UpstreamRequest
from lava_grpc.providers.aws import (
    AwsCredential,
    SigningScope,
    read_credential,
    signing_scope,
)
from tests.support.aws import BadSignatureError, check_signature

# The key, time and scope of AWS's published test suite (aws-sig-v4-test-suite).
KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
THEN = 1_440_938_160 * SECOND  # 2015-08-30T12:36:00Z
SUITE = SigningScope("us-east-1", "service")
IAM = SigningScope("us-east-1", "iam")
RUNTIME = "https://bedrock-runtime.us-east-1.amazonaws.com"


def signed(
    url: str,
    *,
    method: str = "POST",
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
    scope: SigningScope = SUITE,
    token: str | None = None,
) -> UpstreamRequest:
    how = AwsSigning(AwsCredential(KEY_ID, SECRET, token), scope)
    return sign(UpstreamRequest(method, url, headers, body, how), THEN)


def signature(request: UpstreamRequest) -> str:
    return dict(request.headers)["authorization"].rpartition("Signature=")[2]


@pytest.mark.parametrize(
    ("method", "url", "headers", "scope", "expected"),
    [
        (
            "GET",
            "https://example.amazonaws.com/",
            (),
            SUITE,
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "POST",
            "https://example.amazonaws.com/",
            (),
            SUITE,
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "GET",
            "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
            (("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),),
            IAM,
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        ),
    ],
    ids=["get-vanilla", "post-vanilla", "ListUsers of the guide"],
)
def test_the_published_examples_come_out(
    method: str,
    url: str,
    headers: tuple[tuple[str, str], ...],
    scope: SigningScope,
    expected: str,
) -> None:
    assert signature(signed(url, method=method, headers=headers, scope=scope)) == expected


@pytest.mark.parametrize(
    "target",
    [
        "/model/anthropic.claude-3-haiku-20240307-v1%3A0/invoke",
        "/model/anthropic.claude-3-haiku-20240307-v1:0/invoke",
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/converse-stream",
        "/v1/chat/completions?b=2&a=1&a=%20x&empty=",
        "/",
    ],
)
@pytest.mark.parametrize("token", [None, "a-session/token+=="])
def test_what_is_sent_is_what_was_signed(target: str, token: str | None) -> None:
    request = signed(
        RUNTIME + target,
        headers=(("content-type", "application/json"), ("x-amz-trace", "a  b"), ("accept", "*/*")),
        body='{"prompt": "ü"}'.encode(),
        token=token,
        scope=SigningScope("us-east-1", "bedrock"),
    )
    arrived = (("host", "bedrock-runtime.us-east-1.amazonaws.com"), *request.headers)
    checked = (request.method, target, arrived, request.body)
    found = check_signature(*checked, secrets={KEY_ID: SECRET})
    assert found == (KEY_ID, "us-east-1", "bedrock")
    assert dict(arrived).get("x-amz-security-token") == token
    assert request.url == RUNTIME + target
    for changed in (
        ("PUT", *checked[1:]),
        (checked[0], target + "x", *checked[2:]),
        (*checked[:3], request.body + b" "),
    ):
        with pytest.raises(BadSignatureError):
            check_signature(*changed, secrets={KEY_ID: SECRET})
    with pytest.raises(BadSignatureError):
        check_signature(*checked, secrets={KEY_ID: SECRET + "x"})


def test_a_port_that_is_not_the_schemes_own_is_signed_too() -> None:
    request = signed("http://127.0.0.1:8123/bedrock/model/m/converse", body=b"{}")
    arrived = (("host", "127.0.0.1:8123"), *request.headers)
    secrets = {KEY_ID: SECRET}
    check_signature("POST", "/bedrock/model/m/converse", arrived, b"{}", secrets=secrets)


def test_a_callers_own_aws_credentials_go() -> None:
    theirs = (
        ("X-Amz-Date", "20000101T000000Z"),
        ("x-amz-security-token", "theirs"),
        ("x-amz-content-sha256", "theirs"),
        ("Authorization", "AWS4-HMAC-SHA256 theirs"),
        ("accept", "*/*"),
    )
    request = signed(RUNTIME + "/", headers=theirs)
    assert "theirs" not in str(request.headers)
    assert [name for name, _ in request.headers] == ["accept", "x-amz-date", "authorization"]
    assert dict(request.headers)["x-amz-date"] == "20150830T123600Z"


def test_secrets_show_in_no_request() -> None:
    how = AwsSigning(AwsCredential(KEY_ID, SECRET, "a-token"), SUITE)
    for shown in (repr(how), repr(UpstreamRequest("POST", RUNTIME, aws=how))):
        assert SECRET not in shown
        assert "a-token" not in shown


class _Sent:
    """An upstream that keeps what it is given."""

    def __init__(self) -> None:
        self.requests: list[UpstreamRequest] = []

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        self.requests.append(request)
        raise InterruptedError


class _Then:
    def now(self) -> int:
        return THEN


@pytest.mark.parametrize("size", [10, signing.LARGE_BODY_BYTES])
async def test_the_upstream_signs_what_is_to_be_signed_and_nothing_else(size: int) -> None:
    sent = _Sent()
    upstream = SigningUpstream(sent, _Then())
    plain = UpstreamRequest("POST", RUNTIME, (("authorization", "Bearer k"),), b"x" * size)
    how = AwsSigning(AwsCredential(KEY_ID, SECRET), SUITE)
    to_sign = UpstreamRequest("POST", RUNTIME, (), b"x" * size, how)
    for request in (plain, to_sign, to_sign):
        with pytest.raises(InterruptedError):
            await upstream.send(request)
    assert sent.requests[0] is plain
    assert sent.requests[1] == sent.requests[2] == sign(to_sign, THEN)
    assert sent.requests[1].aws is None


TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE//token+=="
LONG_ID = "AKIAIOSFODNN7EXAMPLE"
OBJECT = {"access_key_id": LONG_ID, "secret_access_key": SECRET}


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        (f"{LONG_ID}:{SECRET}", AwsCredential(LONG_ID, SECRET)),
        (f"ASIA{LONG_ID[4:]}:{SECRET}:{TOKEN}", AwsCredential(f"ASIA{LONG_ID[4:]}", SECRET, TOKEN)),
        (
            f'{{"access_key_id": "{LONG_ID}", "secret_access_key": "{SECRET}"}}',
            AwsCredential(LONG_ID, SECRET),
        ),
        (
            json.dumps(
                {
                    "access_key_id": LONG_ID,
                    "secret_access_key": SECRET,
                    "session_token": TOKEN,
                    "region": "eu-west-1",
                }
            ),
            AwsCredential(LONG_ID, SECRET, TOKEN, "eu-west-1"),
        ),
        (
            f'{{"access_key_id":"{LONG_ID}","secret_access_key":"{SECRET}","session_token":null}}',
            AwsCredential(LONG_ID, SECRET),
        ),
        ("ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl", None),
        ("bedrock-api-key-YmVkcm9jaw==", None),
        ("k-bedrock", None),
    ],
)
def test_each_form_of_a_credential_is_read(secret: str, expected: AwsCredential | None) -> None:
    assert read_credential(secret) == expected


@pytest.mark.parametrize(
    "secret",
    [
        LONG_ID,
        f"{LONG_ID}:",
        f"{LONG_ID}:short",
        f"{LONG_ID}:{SECRET}:",
        "{",
        "{}",
        '{"access_key_id": "AKIAIOSFODNN7EXAMPLE"}',
        '{"access_key_id": 7, "secret_access_key": "hidden-hidden-hidden"}',
        '{"access_key_id": "a", "secret_access_key": "hidden hidden"}',
        '{"access_key_id": "a", "secret_access_key": "hidden-hidden", "extra": "hidden"}',
        '{"type": "service_account", "private_key": "hidden"}',
    ],
)
def test_a_malformed_credential_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ValueError, match=r"^must ") as refused:
        read_credential(secret)
    assert not re.search(r"hidden|AKIA[A-Z0-9]", str(refused.value))


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("bedrock-runtime.eu-west-1.amazonaws.com", SigningScope("eu-west-1", "bedrock")),
        (
            "bedrock-runtime-fips.us-gov-west-1.amazonaws.com",
            SigningScope("us-gov-west-1", "bedrock"),
        ),
        ("bedrock-mantle.us-east-2.api.aws", SigningScope("us-east-2", "bedrock-mantle")),
        ("bedrock-runtime.us-east-1.amazonaws.com.evil.example", None),
        ("api.openai.com", None),
    ],
)
def test_a_host_names_region_and_service(host: str, scope: SigningScope | None) -> None:
    assert signing_scope(host) == scope


def test_without_botocore_an_access_key_is_refused_by_name_of_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signing.has_botocore.cache_clear()
    monkeypatch.setitem(sys.modules, "botocore", None)
    try:
        with pytest.raises(Refusal) as refused:
            signing.require_botocore()
        with pytest.raises(ConfigError, match="bedrock"):
            managed_keys(load({"provider_keys": {"bedrock": OBJECT}}))
        # A bearer token needs nothing.
        assert managed_keys(load({"provider_keys": {"bedrock": "ABSK"}}))
    finally:
        signing.has_botocore.cache_clear()
    assert refused.value.reason is Reason.NOT_IMPLEMENTED
    assert refused.value.facts == {"extra": "bedrock"}
    assert "lava-grpc[bedrock]" in refused.value.message
