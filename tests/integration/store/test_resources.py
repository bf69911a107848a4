"""What merchants own, on both engines."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.page import Page
from lava_grpc.core.pricing import Basis, Meter, RateType, Tier, TierType
from lava_grpc.core.resources import Merchant, NamedMeter, SecretKey
from lava_grpc.store.database import Database
from lava_grpc.store.resources import StoreResources
from tests.integration.store.world import CUSTOMER, MERCHANT, World, customer

KEY = SecretKey(MERCHANT, "sk_1", "CI", "…abcd", 5)
OTHER = Merchant("mer_2", "Other", test_mode=True, created_at=2)


def meter(meter_id: str, slug: str, **changes: Any) -> NamedMeter:
    fields: dict[str, Any] = {"merchant_id": MERCHANT} | changes
    rule = Meter(
        meter_id=meter_id,
        slug=slug,
        rate_type=RateType.FIXED,
        tier_type=TierType.TOKENS_1M,
        basis=Basis.BOTH,
        tiers=(Tier(0, 20_000_000_000), Tier(1_000_000, 2**62)),
        **fields,
    )
    return NamedMeter(rule, "Chat", 7)


async def test_merchants_are_listed_oldest_first_and_have_an_empty_wallet(world: World) -> None:
    await world.resources.add_merchant(OTHER)
    assert [m.merchant_id for m in await world.resources.list_merchants()] == [MERCHANT, "mer_2"]
    assert await world.resources.merchant("mer_2") == OTHER
    assert await world.resources.merchant("mer_3") is None
    wallet = await world.books.account("mer_2", "mer_2")
    assert wallet is not None
    assert (wallet.balance, wallet.credit_limit, wallet.closed) == (0, 0, False)


async def test_a_revoked_key_has_no_owner_and_is_not_listed(world: World) -> None:
    await world.resources.add_key(KEY, "a" * 64)
    owner = await world.resources.key_owner("a" * 64)
    assert owner is not None
    assert owner == (KEY, Merchant(MERCHANT, "Acme", test_mode=False, created_at=1))
    assert not await world.resources.revoke_key("mer_2", "sk_1", 9)
    assert await world.resources.revoke_key(MERCHANT, "sk_1", 9)
    assert not await world.resources.revoke_key(MERCHANT, "sk_1", 9)
    assert await world.resources.key_owner("a" * 64) is None
    assert not (await world.resources.list_keys(MERCHANT, Page())).items


async def test_keys_are_paged_newest_first_even_when_the_cursor_was_revoked(world: World) -> None:
    for index in range(5):
        key = replace(KEY, secret_key_id=f"sk_{index}")
        await world.resources.add_key(key, f"{index}" * 64)
    first = await world.resources.list_keys(MERCHANT, Page(limit=2))
    assert [key.secret_key_id for key in first.items] == ["sk_4", "sk_3"]
    await world.resources.revoke_key(MERCHANT, "sk_3", 9)
    second = await world.resources.list_keys(MERCHANT, Page(first.next_cursor, 2))
    assert [key.secret_key_id for key in second.items] == ["sk_2", "sk_1"]
    last = await world.resources.list_keys(MERCHANT, Page(second.next_cursor, 2))
    assert [key.secret_key_id for key in last.items] == ["sk_0"]
    assert last.next_cursor is None


async def test_a_cursor_of_another_merchant_is_refused(world: World) -> None:
    with pytest.raises(Refusal) as caught:
        await world.resources.list_customers("mer_2", Page(CUSTOMER))
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "cursor")


async def test_a_customer_is_found_by_id_and_by_reference_of_its_own_merchant(
    world: World,
) -> None:
    wanted = customer("con_2", reference_id="user 7", email="a@b.c", credit_limit=None)
    assert await world.resources.add_customer(wanted) == wanted
    assert await world.resources.customer(MERCHANT, "con_2") == wanted
    assert await world.resources.customer(MERCHANT, "user 7") == wanted
    assert await world.resources.customer("mer_2", "con_2") is None
    assert await world.resources.customer("mer_2", "user 7") is None


async def test_customers_created_at_once_with_one_reference_are_one(
    world: World, database_url: str
) -> None:
    other = Database(database_url)
    stores = [world.resources, StoreResources(other)]
    try:
        made = await asyncio.gather(
            *[
                stores[index % 2].add_customer(customer(f"con_r{index}", reference_id="same"))
                for index in range(12)
            ]
        )
    finally:
        other.close()
    assert len({one.customer_id for one in made}) == 1
    assert len((await world.resources.list_customers(MERCHANT, Page(limit=100))).items) == 2


async def test_customers_are_paged_newest_first_even_when_the_cursor_was_deleted(
    world: World,
) -> None:
    for number in range(2, 6):
        await world.resources.add_customer(customer(f"con_{number}"))
    first = await world.resources.list_customers(MERCHANT, Page(limit=2))
    assert [one.customer_id for one in first.items] == ["con_5", "con_4"]
    for gone in ("con_4", "con_3"):
        await world.resources.delete_customer(MERCHANT, gone, 2)
    rest = await world.resources.list_customers(MERCHANT, Page(first.next_cursor, 2))
    assert [one.customer_id for one in rest.items] == ["con_2", CUSTOMER]
    assert rest.next_cursor is None


async def test_a_customer_changes_field_by_field(world: World) -> None:
    changed = await world.resources.change_customer(
        MERCHANT, CUSTOMER, {"name": "Ann", "reference_id": "ann", "credit_limit": 500}
    )
    assert changed == customer(CUSTOMER, name="Ann", reference_id="ann", credit_limit=500)
    cleared = await world.resources.change_customer(
        MERCHANT, "ann", {"reference_id": None, "credit_limit": None}
    )
    assert cleared == customer(CUSTOMER, name="Ann", credit_limit=None)
    assert await world.resources.change_customer(MERCHANT, "ann", {"name": "Bob"}) is None
    with pytest.raises(ValueError, match="customer_id"):
        await world.resources.change_customer(MERCHANT, CUSTOMER, {"customer_id": "con_9"})


async def test_a_reference_that_another_customer_has_is_refused(world: World) -> None:
    await world.resources.add_customer(customer("con_2", reference_id="taken"))
    with pytest.raises(Refusal) as caught:
        await world.resources.change_customer(MERCHANT, CUSTOMER, {"reference_id": "taken"})
    assert (caught.value.reason, caught.value.field) == (Reason.ALREADY_EXISTS, "reference_id")
    assert await world.resources.change_customer(MERCHANT, "con_2", {"reference_id": "taken"})


async def test_a_deleted_customer_is_gone_its_account_closed_its_reference_free(
    world: World,
) -> None:
    await world.resources.add_customer(customer("con_2", reference_id="again"))
    assert await world.resources.delete_customer(MERCHANT, "again", 9)
    assert not await world.resources.delete_customer(MERCHANT, "con_2", 9)
    assert await world.resources.customer(MERCHANT, "con_2") is None
    account = await world.books.account(MERCHANT, "con_2")
    assert account is not None
    assert account.closed
    anew = await world.resources.add_customer(customer("con_3", reference_id="again"))
    assert anew.customer_id == "con_3"
    listed = await world.resources.list_customers(MERCHANT, Page())
    assert [one.customer_id for one in listed.items] == ["con_3", CUSTOMER]


async def test_a_meter_is_found_by_id_and_by_slug_until_it_is_deleted(world: World) -> None:
    chat = meter("prd_1", "chat")
    await world.resources.add_meter(chat)
    assert await world.resources.meter(MERCHANT, "prd_1") == chat
    assert await world.resources.meter(MERCHANT, "chat") == chat
    assert await world.resources.meter("mer_2", "chat") is None
    assert await world.resources.delete_meter(MERCHANT, "chat", 9) == "prd_1"
    assert await world.resources.delete_meter(MERCHANT, "prd_1", 9) is None
    assert await world.resources.meter(MERCHANT, "prd_1") is None
    await world.resources.add_meter(meter("prd_2", "chat"))


async def test_an_id_goes_before_a_slug_that_looks_like_it(world: World) -> None:
    await world.resources.add_meter(meter("prd_1", "chat"))
    await world.resources.add_meter(meter("prd_2", "prd_1"))
    found = await world.resources.meter(MERCHANT, "prd_1")
    assert found is not None
    assert found.meter.slug == "chat"


async def test_a_taken_slug_is_refused_within_one_merchant_only(world: World) -> None:
    await world.resources.add_meter(meter("prd_1", "chat"))
    await world.resources.add_meter(meter("prd_1", "chat", merchant_id="mer_2"))
    with pytest.raises(Refusal) as caught:
        await world.resources.add_meter(meter("prd_2", "chat"))
    assert (caught.value.reason, caught.value.field) == (Reason.ALREADY_EXISTS, "meter_slug")


async def test_a_meter_changes_its_name_its_tiers_or_both(world: World) -> None:
    await world.resources.add_meter(meter("prd_1", "chat"))
    renamed = await world.resources.change_meter(MERCHANT, "chat", name="New", tiers=None)
    assert renamed == replace(meter("prd_1", "chat"), name="New")
    dearer = await world.resources.change_meter(MERCHANT, "prd_1", name=None, tiers=[(0, 3)])
    assert dearer is not None
    assert (dearer.name, dearer.meter.tiers) == ("New", (Tier(0, 3),))
    assert await world.resources.change_meter(MERCHANT, "none", name="x", tiers=None) is None
    listed = await world.resources.list_meters(MERCHANT, Page())
    assert list(listed.items) == [dearer]
