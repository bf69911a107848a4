"""Every RPC, called well once, over a real gRPC channel."""

from __future__ import annotations

import itertools
import time

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from lava.v1 import (
    credit_pb2,
    ledger_service_pb2,
    meter_pb2,
    request_record_pb2,
    reservation_pb2,
    usage_pb2,
)
from lava.v1 import credit_service_pb2 as credit
from lava.v1 import customer_service_pb2 as customers
from lava.v1 import gateway_service_pb2 as gateway
from lava.v1 import meter_service_pb2 as meters
from lava.v1 import request_service_pb2 as requests
from lava.v1 import secret_key_service_pb2 as keys

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.server.services import services
from tests.contract.refusals import CASES
from tests.contract.world import METER, RICH, World

pytestmark = pytest.mark.asyncio(loop_scope="session")

_numbers = itertools.count(1)
# Nothing to choose, so nothing to get wrong; and Forward, which has tests of its own.
_WITHOUT_CASES = {
    "CreditService/GetWallet",
    "LedgerService/Verify",
    "GatewayService/Forward",
    "ModelService/ListModels",
    "PaymentService/ListPaymentMethods",
}


def _new(kind: str) -> str:
    return f"{kind}-{next(_numbers)}"


async def test_the_table_holds_every_rpc_that_takes_input() -> None:
    every = {
        f"{service.name}/{method.name}" for service in services() for method in service.methods
    }
    assert every - {case.rpc for case in CASES} == _WITHOUT_CASES


async def test_a_customer_is_made_found_changed_cleared_and_deleted(world: World) -> None:
    labels = Struct()
    labels.update({"plan": "gold", "seats": 3, "tags": ["a", None, True, 1.5]})
    ident = _new("customer")
    made = await world.call(
        "CustomerService/CreateCustomer",
        customers.CreateCustomerRequest(
            reference_id=ident,
            name="Ada King Lovelace",
            email="ada@example.com",
            phone="+15551234567",
            metadata=labels,
            credit_limit="5",
        ),
    )
    customer = made.customer
    assert customer.customer_id.startswith("con_test_")
    assert (customer.contact.first_name, customer.contact.last_name) == ("Ada", "King Lovelace")
    assert customer.metadata == labels
    assert not customer.HasField("subscription")
    again = customers.CreateCustomerRequest(reference_id=ident, name="Other")
    assert (await world.call("CustomerService/CreateCustomer", again)).customer == customer
    get = customers.GetCustomerRequest(customer_id=ident)
    assert (await world.call("CustomerService/GetCustomer", get)).customer == customer
    update = customers.UpdateCustomerRequest(
        customer_id=ident,
        name="Ada",
        email="ignored: not in the mask",
        update_mask=FieldMask(paths=["name", "phone", "metadata", "credit_limit"]),
    )
    changed = (await world.call("CustomerService/UpdateCustomer", update)).customer
    assert (changed.contact.first_name, changed.contact.last_name) == ("Ada", "")
    assert (changed.contact.phone, changed.contact.email) == ("", "ada@example.com")
    assert not changed.HasField("metadata")
    balance = credit.GetBalanceRequest(customer_id=ident)
    assert (await world.call("CreditService/GetBalance", balance)).balance.credit_limit == (
        "0.0000000000"
    )
    unlimited = customers.UpdateCustomerRequest(customer_id=ident, credit_limit="unlimited")
    await world.call("CustomerService/UpdateCustomer", unlimited)
    seen = (await world.call("CreditService/GetBalance", balance)).balance
    assert (seen.credit_limit, seen.available) == ("unlimited", "unlimited")
    delete = customers.DeleteCustomerRequest(customer_id=ident)
    assert (await world.call("CustomerService/DeleteCustomer", delete)).success
    with pytest.raises(Refusal) as refused:
        await world.call("CustomerService/GetCustomer", get)
    assert refused.value.reason is Reason.NOT_FOUND


async def test_a_meter_is_made_found_changed_and_deleted(world: World) -> None:
    create = meters.CreateMeterRequest(
        name="Minutes",
        rate_type=meter_pb2.RATE_TYPE_FIXED,
        tier_type=meter_pb2.TIER_TYPE_MINUTES,
        tiers=[
            meter_pb2.MeterTierInput(start="0", rate="5"),
            meter_pb2.MeterTierInput(start="1000", rate="0.25"),
        ],
    )
    meter = (await world.call("MeterService/CreateMeter", create)).meter
    assert meter.meter_id.startswith("prd_test_")
    assert meter.meter_slug == meter.meter_id
    assert meter.basis == meter_pb2.METER_BASIS_BOTH
    assert [(tier.start, tier.rate) for tier in meter.tiers] == [
        (0, "5.0000000000"),
        (1000, "0.2500000000"),
    ]
    get = meters.GetMeterRequest(meter_id=meter.meter_slug)
    assert (await world.call("MeterService/GetMeter", get)).meter == meter
    update = meters.UpdateMeterRequest(
        meter_id=meter.meter_id, tiers=[meter_pb2.MeterTierInput(start="0", rate="7")]
    )
    changed = (await world.call("MeterService/UpdateMeter", update)).meter
    assert (changed.name, changed.tiers[0].rate) == ("Minutes", "7.0000000000")
    delete = meters.DeleteMeterRequest(meter_id=meter.meter_id)
    deleted = await world.call("MeterService/DeleteMeter", delete)
    assert (deleted.id, deleted.deleted) == (meter.meter_id, True)


async def test_lists_are_paged_newest_first(world: World) -> None:
    names = [_new("paged") for _ in range(3)]
    for name in names:
        new = customers.CreateCustomerRequest(reference_id=name)
        await world.call("CustomerService/CreateCustomer", new)
    first = await world.call(
        "CustomerService/ListCustomers", customers.ListCustomersRequest(limit=2)
    )
    assert [customer.reference_id for customer in first.data] == [names[2], names[1]]
    assert first.has_more
    second = await world.call(
        "CustomerService/ListCustomers",
        customers.ListCustomersRequest(limit=1, cursor=first.next_cursor),
    )
    assert [customer.reference_id for customer in second.data] == [names[0]]


async def test_a_key_is_shown_once_works_and_dies_at_once_when_revoked(world: World) -> None:
    name = _new("key")
    create = keys.CreateSecretKeyRequest(name=name)
    key = (await world.call("SecretKeyService/CreateSecretKey", create)).secret_key
    assert key.secret_key.startswith("aks_test_")
    assert key.secret_key_hint == f"aks_test_…{key.secret_key[-4:]}"
    its = (("authorization", f"Bearer {key.secret_key}"),)
    listing = keys.ListSecretKeysRequest(limit=100)
    listed = (await world.call("SecretKeyService/ListSecretKeys", listing, its)).data
    shown = next(found for found in listed if found.name == name)
    assert not shown.HasField("secret_key")
    delete = keys.DeleteSecretKeyRequest(secret_key_id=key.secret_key_id)
    # A key may revoke itself.
    assert (await world.call("SecretKeyService/DeleteSecretKey", delete, its)).deleted
    with pytest.raises(Refusal) as refused:
        await world.call("SecretKeyService/ListSecretKeys", listing, its)
    assert refused.value.reason is Reason.INVALID_CREDENTIALS


async def test_credit_is_granted_once_and_shows_in_the_balance(world: World) -> None:
    ident = _new("granted")
    new = customers.CreateCustomerRequest(reference_id=ident)
    await world.call("CustomerService/CreateCustomer", new)
    grant = credit.CreateCreditGrantRequest(
        customer_id=ident,
        amount="12.5",
        source=credit_pb2.GRANT_SOURCE_PROMOTION,
        expires_at=Timestamp(seconds=int(time.time()) + 3600, nanos=123_456_789),
        meter_ids=[METER, METER],
        request_id=_new("grant"),
    )
    made = (await world.call("CreditService/CreateCreditGrant", grant)).credit_grant
    assert (made.amount, made.remaining, made.priority) == ("12.5000000000", "12.5000000000", 30)
    assert made.expires_at.nanos == 123_456_000
    assert len(made.meter_ids) == 1
    again = (await world.call("CreditService/CreateCreditGrant", grant)).credit_grant
    assert again == made
    grants = credit.ListCreditGrantsRequest(customer_id=ident)
    assert list((await world.call("CreditService/ListCreditGrants", grants)).data) == [made]
    plain = credit.GetBalanceRequest(customer_id=ident)
    metered = credit.GetBalanceRequest(customer_id=ident, meter_id=METER)
    assert (await world.call("CreditService/GetBalance", plain)).balance.available == (
        "0.0000000000"
    )
    assert (await world.call("CreditService/GetBalance", metered)).balance.available == (
        "12.5000000000"
    )


async def test_the_wallet_is_the_merchants_own(world: World) -> None:
    wallet = await world.call("CreditService/GetWallet", credit.GetWalletRequest())
    assert wallet.wallet_id == world.merchant_id
    assert wallet.credit_limit == "0.0000000000"


async def test_a_reservation_is_placed_extended_settled_and_recorded(world: World) -> None:
    request_id = _new("call")
    held = await world.call(
        "GatewayService/Authorize",
        gateway.AuthorizeRequest(
            request_id=request_id,
            customer_id=RICH,
            meter_slug=METER,
            usage=usage_pb2.Usage(input_tokens=1_000_000),
            metadata={"feature": "chat"},
        ),
    )
    reservation = held.reservation
    assert reservation.state == reservation_pb2.RESERVATION_STATE_ACTIVE
    assert reservation.amount == "2.0000000000"
    ident = reservation.reservation_id
    extend = gateway.ExtendReservationRequest(reservation_id=ident, ttl_seconds=600)
    later = (await world.call("GatewayService/ExtendReservation", extend)).reservation
    assert later.expires_at.seconds > reservation.expires_at.seconds
    get = gateway.GetReservationRequest(reservation_id=ident)
    assert (await world.call("GatewayService/GetReservation", get)).reservation == later
    active = gateway.ListReservationsRequest(
        customer_id=RICH, state=reservation_pb2.RESERVATION_STATE_ACTIVE, limit=1
    )
    assert list((await world.call("GatewayService/ListReservations", active)).data) == [later]
    pending = requests.GetRequestRequest(request_id=request_id)
    seen = (await world.call("RequestService/GetRequest", pending)).request
    assert seen.status == request_record_pb2.REQUEST_STATUS_PENDING
    report = gateway.ReportUsageRequest(
        reservation_id=ident, input_tokens=500, output_tokens=200, input_seconds=0.1
    )
    record = (await world.call("GatewayService/ReportUsage", report)).request
    assert record.status == request_record_pb2.REQUEST_STATUS_COMPLETED
    assert record.charge.amount == "0.0014000000"
    assert (record.model_usage.total_tokens, record.model_usage.input_seconds) == (700, 0.1)
    assert dict(record.metadata) == {"feature": "chat"}
    assert (await world.call("RequestService/GetRequest", pending)).request == record
    filtered = requests.ListRequestsRequest(
        customer_id=RICH, meter_id=METER, metadata_filters='[["feature", "chat"]]', limit=1
    )
    assert list((await world.call("RequestService/ListRequests", filtered)).data) == [record]


async def test_one_bad_report_of_a_batch_is_refused_in_its_place(world: World) -> None:
    ids = [_new("report") for _ in range(3)]
    reports = [
        gateway.ReportUsageRequest(request_id=ident, customer_id=RICH, meter_slug=METER)
        for ident in ids
    ]
    reports[1].input_tokens = -1
    batch = gateway.BatchReportUsageRequest(reports=reports)
    results = (await world.call("GatewayService/BatchReportUsage", batch)).results
    assert [result.WhichOneof("result") for result in results] == ["request", "error", "request"]
    assert [result.request_id for result in results] == ids
    assert results[1].error.message.startswith("input_tokens ")


async def test_entries_tell_of_each_grant_and_charge(world: World) -> None:
    listed = await world.call(
        "LedgerService/ListEntries", ledger_service_pb2.ListEntriesRequest(request_id="seed")
    )
    (entry,) = listed.data
    assert entry.kind == ledger_service_pb2.ENTRY_KIND_GRANT
    assert (entry.debit_account, entry.amount) == ("issuance", "100.0000000000")


async def test_the_books_hold(world: World) -> None:
    verified = await world.call("LedgerService/Verify", ledger_service_pb2.VerifyRequest())
    assert verified.ok, verified.findings
    assert verified.accounts_checked > 0
