"""Credentials: every documented form, and no malformed one read as something cheaper."""

from __future__ import annotations

import base64
import json

import pytest

from lava_grpc.api.credentials import CredentialKind, find_credential, parse_credential
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.hold_policy import HoldPolicy

KEY = "aks_live_abc-DEF_123"


def token(**fields: object) -> str:
    return base64.b64encode(json.dumps(fields).encode()).decode()


def refusal(text: str) -> Refusal:
    with pytest.raises(Refusal) as caught:
        parse_credential(text)
    return caught.value


def test_a_bare_secret_key_names_no_customer() -> None:
    credential = parse_credential(f"  {KEY}\n")

    assert credential.kind is CredentialKind.SECRET_KEY
    assert credential.secret_key.reveal() == KEY
    assert credential.customer_id is None
    assert not credential.test_mode
    assert parse_credential("aks_test_anything").test_mode


def test_a_spend_key_is_recognised() -> None:
    credential = parse_credential("lava_sk_a1b2c3")

    assert credential.kind is CredentialKind.SPEND_KEY
    assert credential.secret_key.reveal() == "lava_sk_a1b2c3"


def test_a_whole_forward_token() -> None:
    credential = parse_credential(
        token(
            secret_key=KEY,
            customer_id="con_1",
            meter_slug="chat",
            provider_key="sk-own",
            disable_billing=True,
            hold_policy="expected",
            clamp_output=True,
        )
    )

    assert credential.secret_key.reveal() == KEY
    assert credential.customer_id == "con_1"
    assert credential.meter_slug == "chat"
    assert credential.provider_key is not None
    assert credential.provider_key.reveal() == "sk-own"
    assert credential.disable_billing
    assert credential.hold_policy is HoldPolicy.EXPECTED
    assert credential.clamp_output


def test_null_is_absent() -> None:
    credential = parse_credential(
        token(
            secret_key=KEY,
            customer_id=None,
            meter_slug=None,
            provider_key=None,
            disable_billing=None,
        )
    )

    assert credential.customer_id is None
    assert credential.meter_slug is None
    assert credential.provider_key is None
    assert not credential.disable_billing


def test_line_breaks_spaces_and_lost_padding_are_forgiven() -> None:
    text = token(secret_key=KEY, meter_slug="ab")
    assert text.endswith("=")
    wrapped = "\n".join(text[i : i + 20] for i in range(0, len(text), 20))

    for variant in (wrapped, f" {wrapped} ", text.rstrip("=")):
        assert parse_credential(variant).meter_slug == "ab"


def test_the_customers_older_name_still_counts() -> None:
    text = token(secret_key=KEY, connection_id="con_1", meter_slug="m")
    assert parse_credential(text).customer_id == "con_1"
    both = token(secret_key=KEY, connection_id="con_1", customer_id="con_2", meter_slug="m")
    assert refusal(both).reason is Reason.INVALID_CREDENTIALS


def test_a_customer_needs_a_meter() -> None:
    no = refusal(token(secret_key=KEY, customer_id="con_1"))

    assert no.reason is Reason.INVALID_FIELD
    assert no.field == "meter_slug"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "nonsense!",
        "sk-proj-abc",
        "aks_live_",
        "aks_live_a b",
        "aks_prod_abc",
        "aks_live_" + "a" * 300,
        "lava_sk_",
        "a" * 9000,
        base64.b64encode(b"\xff\xfe").decode(),
        base64.b64encode(b"[]").decode(),
        base64.b64encode(b'{"secret_key":"aks_live_a","secret_key":"aks_live_b"}').decode(),
        base64.urlsafe_b64encode(json.dumps({"secret_key": KEY, "meter_slug": "ÿþ?~"}).encode())
        .decode()
        .replace("A", "-"),
        token(),
        token(secret_key=None),
        token(secret_key=7),
        token(secret_key="lava_sk_abc"),
        token(secret_key=KEY, meter_slug=""),
        token(secret_key=KEY, meter_slug=7),
        token(secret_key=KEY, meter_slug="m" * 300),
        token(secret_key=KEY, provider_key=""),
        token(secret_key=KEY, provider_key="a\r\nx-evil: 1"),
        token(secret_key=KEY, disable_billing="true"),
        token(secret_key=KEY, disable_billing=1),
        token(secret_key=KEY, clamp_output="true"),
        token(secret_key=KEY, hold_policy="small"),
        token(secret_key=KEY, hold_policy=["expected"]),
        token(secret_key=KEY, customerId="con_1"),
        token(secret_key=KEY, connection_secret="cons_live_x", product_secret="ps"),
    ],
)
def test_malformed_credentials_are_refused(text: str) -> None:
    assert refusal(text).reason is Reason.INVALID_CREDENTIALS


@pytest.mark.parametrize(
    "text",
    [
        token(secret_key=KEY, oops="aks_live_other"),
        base64.b64encode(f'{{"{KEY}":1,"{KEY}":2}}'.encode()).decode(),
        KEY + " x",
    ],
)
def test_a_refusal_never_quotes_the_credential(text: str) -> None:
    no = refusal(text)

    assert "aks_live" not in f"{no.message} {no.facts} {no.field}"
    assert no.__suppress_context__ or no.__context__ is None


def test_a_credential_never_shows_its_secrets() -> None:
    credential = parse_credential(token(secret_key=KEY, provider_key="sk-own"))

    for shown in (repr(credential), str(credential), f"{credential.secret_key}"):
        assert KEY not in shown
        assert "sk-own" not in shown


ALL = {
    "authorization": "Bearer first",
    "x-api-key": "second",
    "x-goog-api-key": "third",
    "xi-api-key": "fourth",
}


def test_the_places_are_looked_at_in_their_order() -> None:
    headers = dict(ALL)
    found = [find_credential(headers, {"key": "fifth"})]
    for name in ALL:
        del headers[name]
        found.append(find_credential(headers, {"key": "fifth"}))

    assert found == ["first", "second", "third", "fourth", "fifth"]
    assert find_credential({}, {}) is None


def test_another_scheme_and_empty_places_count_as_absent() -> None:
    assert find_credential({"authorization": "Basic abc", "x-api-key": "a"}, {}) == "a"
    assert find_credential({"authorization": "Bearer ", "x-api-key": " "}, {"key": "k"}) == "k"
    assert find_credential({"authorization": "bearer  abc "}, {}) == "abc"
