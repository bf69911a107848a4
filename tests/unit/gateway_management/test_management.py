from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from lava_grpc.core.account import AccountKind, GrantSource
from lava_grpc.core.commands import AddGrant
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.ids import IdSource
from lava_grpc.core.money import SCALE
from lava_grpc.core.page import Page
from lava_grpc.core.pricing import Basis, RateType, Tier, TierType
from lava_grpc.core.resources import Customer, Merchant, NamedMeter
from lava_grpc.core.time import SECOND
from lava_grpc.gateway.credit import Credit, NewGrant
from lava_grpc.gateway.customers import Customers, NewCustomer
from lava_grpc.gateway.keys import SecretKeys, hash_key
from lava_grpc.gateway.meters import Meters, NewMeter, TierText, read_tiers
from lava_grpc.gateway.principal import Principal
from tests.unit.gateway_management.fakes import (
    CALLER,
    MERCHANT,
    START,
    MemoryLedger,
    MemoryResources,
    StillClock,
)


@dataclass
class Desk:
    """The use cases on one memory."""

    clock: StillClock = field(default_factory=StillClock)
    resources: MemoryResources = field(default_factory=MemoryResources)
    changed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = MemoryLedger(self.clock)
        self.ledger.open(MERCHANT.merchant_id, AccountKind.MERCHANT)
        given: dict[str, Any] = {"clock": self.clock, "ids": IdSource()}
        resources, ledger = cast("Any", self.resources), cast("Any", self.ledger)
        self.customers = Customers(resources, **given)
        self.meters = Meters(resources, changed=self.changed.append, **given)
        self.keys = SecretKeys(resources, **given)
        self.credit = Credit(resources, ledger, ledger, **given)

    async def customer(self, reference_id: str = "ada", limit: int | None = 0) -> Customer:
        made = await self.customers.create(CALLER, NewCustomer(reference_id=reference_id))
        self.ledger.open(made.customer_id, AccountKind.CUSTOMER, limit=limit)
        return made

    async def meter(self, slug: str | None = None) -> NamedMeter:
        return await self.meters.create(CALLER, new_meter(slug))


def new_meter(slug: str | None = None, *tiers: TierText) -> NewMeter:
    return NewMeter(
        name="Meter",
        slug=slug,
        rate_type=RateType.FIXED,
        tier_type=TierType.REQUESTS,
        basis=Basis.BOTH,
        tiers=tiers or (TierText("0", "1"),),
    )


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_ids_say_what_they_are_and_in_which_mode(desk: Desk) -> None:
    live = Principal("mer_1")
    ulid = "[0-9A-HJKMNP-TV-Z]{26}"
    customer = await desk.customers.create(live, NewCustomer())
    assert re.fullmatch(f"con_{ulid}", customer.customer_id)
    tested = await desk.customers.create(CALLER, NewCustomer())
    assert re.fullmatch(f"con_test_{ulid}", tested.customer_id)
    assert re.fullmatch(f"prd_test_{ulid}", (await desk.meter()).meter.slug)


async def test_a_meters_slug_is_its_id_where_none_is_given(desk: Desk) -> None:
    made = await desk.meter()
    assert made.meter.slug == made.meter.meter_id
    assert (await desk.meter("mine")).meter.slug == "mine"


async def test_an_unlimited_customer_is_told_from_one_without_a_limit(desk: Desk) -> None:
    plain = await desk.customers.create(CALLER, NewCustomer())
    assert plain.credit_limit == 0
    rich = await desk.customers.create(CALLER, NewCustomer(credit_limit="unlimited"))
    assert rich.credit_limit is None
    changes = {"credit_limit": None, "name": None}
    cleared = await desk.customers.update(CALLER, rich.customer_id, changes)
    assert cleared.credit_limit == 0


async def test_an_update_of_nothing_is_a_read(desk: Desk) -> None:
    made = await desk.customer()
    assert await desk.customers.update(CALLER, "ada", {}) == made


async def test_another_merchant_sees_nothing(desk: Desk) -> None:
    await desk.customer()
    stranger = Principal("mer_other")
    with pytest.raises(Refusal) as refused:
        await desk.customers.get(stranger, "ada")
    assert refused.value.reason is Reason.NOT_FOUND
    with pytest.raises(Refusal):
        await desk.customers.delete(stranger, "ada")


@pytest.mark.parametrize("metadata", ["x" * 16_384, "é" * 8_192])
async def test_metadata_is_measured_in_bytes(metadata: str, desk: Desk) -> None:
    await desk.customers.create(CALLER, NewCustomer(metadata=metadata))
    with pytest.raises(Refusal) as refused:
        await desk.customers.create(CALLER, NewCustomer(metadata=metadata + "x"))
    assert refused.value.field == "metadata"


@pytest.mark.parametrize("email", ["a@b.co", "first.last+tag@sub.example.com", "ü@exämple.de"])
async def test_a_plausible_email_is_taken(email: str, desk: Desk) -> None:
    assert (await desk.customers.create(CALLER, NewCustomer(email=email))).email == email


@pytest.mark.parametrize(
    "email", ["", "a", "a@b", "@b.co", "a@", "a b@c.de", "a@b..co", "a@b.co\n", "a@@b.co"]
)
async def test_what_is_no_email_is_refused(email: str, desk: Desk) -> None:
    with pytest.raises(Refusal) as refused:
        await desk.customers.create(CALLER, NewCustomer(email=email))
    assert refused.value.field == "email"


def test_tiers_ascend_from_zero() -> None:
    texts = [TierText("0", "0"), TierText("1", "0.0000000001"), TierText(str(10**15), "3")]
    assert read_tiers(texts) == [Tier(0, 0), Tier(1, 1), Tier(10**15, 3 * SCALE)]


@pytest.mark.parametrize("start", ["", "-1", "+1", " 1", "1.0", "1e3", "٣", "1" * 41])
def test_a_start_that_is_no_whole_number_is_refused(start: str) -> None:
    with pytest.raises(Refusal) as refused:
        read_tiers([TierText("0", "1"), TierText(start, "1")])
    assert refused.value.field == "tiers[1].start"


async def test_whoever_remembers_meters_hears_of_a_change(desk: Desk) -> None:
    await desk.meter("mine")
    assert desk.changed == []
    changed = await desk.meters.update(
        CALLER, "mine", name=None, tiers=[TierText("0", "9"), TierText("10", "8")]
    )
    assert changed.meter.tiers == (Tier(0, 9 * SCALE), Tier(10, 8 * SCALE))
    assert changed.name == "Meter"
    assert await desk.meters.delete(CALLER, "mine") == changed.meter.meter_id
    assert desk.changed == [MERCHANT.merchant_id] * 2
    with pytest.raises(Refusal) as refused:
        await desk.meters.get(CALLER, "mine")
    assert refused.value.reason is Reason.NOT_FOUND


@pytest.mark.parametrize("prefix", ["aks_test_", "aks_live_"])
async def test_a_key_is_stored_by_its_hash_and_shown_once(prefix: str, desk: Desk) -> None:
    merchant = Merchant("mer_1", "Acme", test_mode=prefix == "aks_test_", created_at=0)
    key, plaintext = await desk.keys.create_key(merchant, "first")
    assert re.fullmatch(prefix + r"[A-Za-z0-9_-]{43}", plaintext)
    assert key.hint == f"{prefix}…{plaintext[-4:]}"
    assert desk.resources.keys == {hash_key(plaintext): key}
    assert plaintext not in repr(key)


async def test_two_keys_differ(desk: Desk) -> None:
    _, one = await desk.keys.create(CALLER, "a")
    _, two = await desk.keys.create(CALLER, "a")
    assert one != two


async def test_a_key_is_revoked_once(desk: Desk) -> None:
    key, _ = await desk.keys.create(CALLER, "a")
    await desk.keys.revoke(CALLER, key.secret_key_id)
    assert (await desk.keys.list(CALLER, Page())).items == []
    with pytest.raises(Refusal) as refused:
        await desk.keys.revoke(CALLER, key.secret_key_id)
    assert refused.value.reason is Reason.NOT_FOUND


async def test_a_grant_has_its_sources_priority_unless_it_says_otherwise(desk: Desk) -> None:
    plan = NewGrant(None, "1", GrantSource.PLAN_CYCLE)
    assert (await desk.credit.grant(CALLER, plan)).priority == 10
    first = NewGrant(None, "1", GrantSource.ADJUSTMENT, priority=0)
    assert (await desk.credit.grant(CALLER, first)).priority == 0


async def test_a_grant_without_a_customer_is_the_wallets(desk: Desk) -> None:
    grant = await desk.credit.grant(CALLER, NewGrant(None, "2.5", GrantSource.TOP_UP))
    assert grant.account_id == MERCHANT.merchant_id
    wallet = await desk.credit.wallet(CALLER)
    assert (wallet.balance, wallet.available) == (25 * SCALE // 10, 25 * SCALE // 10)


async def test_a_grant_repeated_with_the_same_content_is_made_once(desk: Desk) -> None:
    customer, meter = await desk.customer(), await desk.meter("mine")
    named = NewGrant("ada", "1.0", GrantSource.TOP_UP, meters=("mine",), request_id="r")
    spelled = NewGrant(
        customer.customer_id,
        "1",
        GrantSource.TOP_UP,
        priority=20,
        meters=(meter.meter.meter_id, "mine"),
        request_id="r",
    )
    first = await desk.credit.grant(CALLER, named)
    assert await desk.credit.grant(CALLER, spelled) == first
    with pytest.raises(Refusal) as refused:
        await desk.credit.grant(CALLER, NewGrant("ada", "2", GrantSource.TOP_UP, request_id="r"))
    assert refused.value.reason is Reason.REQUEST_ID_REUSED


async def test_a_repeat_after_the_expiry_still_finds_the_grant(desk: Desk) -> None:
    new = NewGrant(None, "1", GrantSource.TOP_UP, expires_at=START + SECOND, request_id="r")
    first = await desk.credit.grant(CALLER, new)
    desk.clock.instant += 2 * SECOND
    assert (await desk.credit.grant(CALLER, new)).grant_id == first.grant_id


async def test_grants_without_a_request_id_are_each_made(desk: Desk) -> None:
    for _ in range(2):
        await desk.credit.grant(CALLER, NewGrant(None, "1", GrantSource.TOP_UP))
    ids = {cast("AddGrant", command).request_id for command in desk.ledger.submitted}
    assert len(ids) == 2
    assert all(ident.startswith("req_test_") for ident in ids)


async def test_a_balance_counts_what_the_named_meter_may_spend(desk: Desk) -> None:
    await desk.customer(limit=SCALE)
    await desk.meter("mine")
    for meters in ((), ("mine",)):
        await desk.credit.grant(CALLER, NewGrant("ada", "10", GrantSource.TOP_UP, meters=meters))
    plain = await desk.credit.balance(CALLER, "ada", None)
    assert (plain.balance, plain.available) == (20 * SCALE, 11 * SCALE)
    metered = await desk.credit.balance(CALLER, "ada", "mine")
    assert metered.available == 21 * SCALE


async def test_a_balance_leaves_out_what_has_expired_though_nobody_booked_it(desk: Desk) -> None:
    await desk.customer()
    await desk.credit.grant(
        CALLER, NewGrant("ada", "10", GrantSource.TOP_UP, expires_at=START + SECOND)
    )
    desk.clock.instant += SECOND
    view = await desk.credit.balance(CALLER, "ada", None)
    assert (view.balance, view.available) == (0, 0)
