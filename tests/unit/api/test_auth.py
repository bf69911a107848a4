from __future__ import annotations

import asyncio
import base64
import json
from typing import Any, cast

import pytest

from lava_grpc.api.auth import Authenticator
from lava_grpc.core.budget import Limits
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.resources import Merchant, SecretKey
from lava_grpc.core.spend_key import RequestShape, SpendKey, SpendKeyStatus
from lava_grpc.gateway.keys import hash_key

KEY = "aks_test_" + "k" * 43
MERCHANT = Merchant("mer_test_1", "Acme", test_mode=True, created_at=0)


class Keys:
    """A look-up that counts, waits and fails when told to."""

    def __init__(self) -> None:
        self.known = {hash_key(KEY): SecretKey(MERCHANT.merchant_id, "sk_1", "n", "h", 0)}
        self.asked = 0
        self.failure: Exception | None = None
        self.go = asyncio.Event()
        self.reading = asyncio.Event()
        self.go.set()

    async def key_owner(self, key_hash: str) -> tuple[SecretKey, Merchant] | None:
        self.asked += 1
        self.reading.set()
        found = self.known.get(key_hash)
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
        return None if found is None else (found, MERCHANT)


SPEND = "lava_sk_" + "k" * 43
SPEND_KEY = SpendKey(
    merchant_id=MERCHANT.merchant_id,
    spend_key_id="spk_test_1",
    name="n",
    preview="p",
    status=SpendKeyStatus.ACTIVE,
    request_shape=RequestShape.OPENAI,
    allowed_models=None,
    allowed_providers=None,
    limits=Limits(),
    expires_at=None,
    created_at=0,
)


class SpendKeys:
    """The one spend key there is."""

    def __init__(self) -> None:
        self.known = {hash_key(SPEND): SPEND_KEY}

    async def owner(self, key_hash: str) -> tuple[SpendKey, Merchant] | None:
        found = self.known.get(key_hash)
        return None if found is None else (found, MERCHANT)


class Gatekeeper:
    """An authenticator, its keys and its time."""

    def __init__(self, entries_max: int = 10) -> None:
        self.keys = Keys()
        self.spend_keys = SpendKeys()
        self.seconds = 100.0
        self.authenticate = Authenticator(
            cast("Any", self.keys),
            lambda: self.seconds,
            spend_keys=cast("Any", self.spend_keys),
            entries_max=entries_max,
        )


@pytest.fixture
def gate() -> Gatekeeper:
    return Gatekeeper()


def token(**fields: object) -> str:
    return base64.b64encode(json.dumps(fields).encode()).decode()


async def reason_of(gate: Gatekeeper, credential: str) -> Reason:
    with pytest.raises(Refusal) as refused:
        await gate.authenticate(credential)
    assert "k" * 43 not in refused.value.message
    return refused.value.reason


async def test_a_secret_key_is_its_merchant(gate: Gatekeeper) -> None:
    principal = await gate.authenticate(KEY)
    assert (principal.merchant_id, principal.prefix) == ("mer_test_1", "test_")
    assert principal.customer_id is None


async def test_a_forward_token_says_who_pays_and_with_which_key(gate: Gatekeeper) -> None:
    principal = await gate.authenticate(
        token(
            secret_key=KEY,
            customer_id="ada",
            meter_slug="m",
            provider_key="sk-mine",
            disable_billing=True,
        )
    )
    assert (principal.customer_id, principal.meter_slug) == ("ada", "m")
    assert (principal.provider_key, principal.disable_billing) == ("sk-mine", True)
    assert "sk-mine" not in repr(principal)


async def test_two_tokens_of_one_key_are_not_taken_for_each_other(gate: Gatekeeper) -> None:
    ada = await gate.authenticate(token(secret_key=KEY, customer_id="ada", meter_slug="m"))
    bob = await gate.authenticate(token(secret_key=KEY, customer_id="bob", meter_slug="m"))
    assert (ada.customer_id, bob.customer_id) == ("ada", "bob")
    assert (await gate.authenticate(KEY)).customer_id is None


async def test_a_good_key_is_remembered_for_its_time_and_not_longer(gate: Gatekeeper) -> None:
    await gate.authenticate(KEY)
    gate.seconds += 4.9
    assert gate.authenticate.remembered(KEY) is not None
    await gate.authenticate(KEY)
    assert gate.keys.asked == 1
    gate.seconds += 0.1
    assert gate.authenticate.remembered(KEY) is None
    gate.keys.known.clear()
    assert await reason_of(gate, KEY) is Reason.INVALID_CREDENTIALS


async def test_a_bad_key_is_not_remembered(gate: Gatekeeper) -> None:
    known, gate.keys.known = gate.keys.known, {}
    assert await reason_of(gate, KEY) is Reason.INVALID_CREDENTIALS
    gate.keys.known = known
    await gate.authenticate(KEY)


@pytest.mark.parametrize(
    "failure",
    [
        OSError("password=secret"),
        RuntimeError("x"),
        Refusal(Reason.STORE_UNAVAILABLE, "the database cannot be reached"),
    ],
)
async def test_a_database_that_is_down_does_not_make_a_key_wrong(
    failure: Exception, gate: Gatekeeper
) -> None:
    gate.keys.failure = failure
    assert await reason_of(gate, KEY) is Reason.STORE_UNAVAILABLE
    gate.keys.failure = None
    await gate.authenticate(KEY)


async def test_calls_that_come_together_ask_once(gate: Gatekeeper) -> None:
    gate.keys.go.clear()
    calls = [asyncio.ensure_future(gate.authenticate(KEY)) for _ in range(5)]
    await asyncio.sleep(0)
    gate.keys.go.set()
    found = await asyncio.gather(*calls)
    assert gate.keys.asked == 1
    assert len(set(found)) == 1


async def test_a_caller_who_goes_away_takes_nobody_along(gate: Gatekeeper) -> None:
    gate.keys.go.clear()
    first = asyncio.ensure_future(gate.authenticate(KEY))
    second = asyncio.ensure_future(gate.authenticate(KEY))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    gate.keys.go.set()
    assert (await second).merchant_id == "mer_test_1"


async def test_a_key_revoked_here_is_refused_at_once_in_every_token(gate: Gatekeeper) -> None:
    forward = token(secret_key=KEY, provider_key="p")
    await gate.authenticate(KEY)
    await gate.authenticate(forward)
    gate.keys.known.clear()
    gate.authenticate.forget("sk_1")
    assert await reason_of(gate, KEY) is Reason.INVALID_CREDENTIALS
    assert await reason_of(gate, forward) is Reason.INVALID_CREDENTIALS


async def test_a_look_up_that_began_before_a_revocation_is_not_remembered(
    gate: Gatekeeper,
) -> None:
    gate.keys.go.clear()
    early = asyncio.ensure_future(gate.authenticate(KEY))
    await gate.keys.reading.wait()
    gate.keys.known.clear()
    gate.authenticate.forget("sk_1")
    gate.keys.go.set()
    await early
    assert await reason_of(gate, KEY) is Reason.INVALID_CREDENTIALS


async def test_what_is_remembered_is_bounded() -> None:
    gate = Gatekeeper(entries_max=2)
    tokens = [token(secret_key=KEY, provider_key=f"p{i}") for i in range(3)]
    for text in tokens:
        await gate.authenticate(text)
    remembered = [gate.authenticate.remembered(text) is not None for text in tokens]
    assert remembered == [False, True, True]


async def test_a_spend_key_is_let_in_only_where_it_may_be(gate: Gatekeeper) -> None:
    principal = await gate.authenticate(SPEND, spend_keys=True)
    assert (principal.merchant_id, principal.spend_key) == (MERCHANT.merchant_id, SPEND_KEY)
    assert gate.authenticate.remembered(SPEND, spend_keys=True) is principal
    assert gate.authenticate.remembered(SPEND) is None
    with pytest.raises(Refusal) as refused:
        await gate.authenticate(SPEND)
    assert refused.value.reason is Reason.PERMISSION_DENIED


async def test_a_spend_key_that_was_changed_is_looked_up_again(gate: Gatekeeper) -> None:
    await gate.authenticate(SPEND, spend_keys=True)
    gate.spend_keys.known.clear()
    gate.authenticate.forget(SPEND_KEY.spend_key_id)
    with pytest.raises(Refusal, match="spend key is unknown or revoked") as refused:
        await gate.authenticate(SPEND, spend_keys=True)
    assert refused.value.reason is Reason.INVALID_CREDENTIALS


@pytest.mark.parametrize("credential", ["", "  ", "aks_", "\ud800", "x" * 9000, "aks_test_\0"])
async def test_what_is_no_credential_is_never_looked_up(credential: str, gate: Gatekeeper) -> None:
    assert await reason_of(gate, credential) is Reason.INVALID_CREDENTIALS
    assert gate.keys.asked == 0
