"""Bad calls of the management services."""

from __future__ import annotations

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from lava.v1 import credit_service_pb2 as credit
from lava.v1 import customer_service_pb2 as customers
from lava.v1 import ledger_service_pb2 as ledger
from lava.v1 import meter_pb2
from lava.v1 import meter_service_pb2 as meters
from lava.v1 import request_service_pb2 as requests
from lava.v1 import secret_key_service_pb2 as keys

from lava_grpc.core.errors import Reason
from tests.contract.case import BAD, LONG, MISSING, Case
from tests.contract.world import METER, POOR, RICH

_REFERENCE = "reference_id"


def _object(fields: dict[str, Any]) -> Struct:
    made = Struct()
    made.update(fields)
    return made


def _nested(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(levels - 1):
        made = {"in": made}
    return made


def _customers() -> list[Case]:
    service = "CustomerService"
    create, update = customers.CreateCustomerRequest, customers.UpdateCustomerRequest
    make, change = f"{service}/CreateCustomer", f"{service}/UpdateCustomer"
    mask = FieldMask(paths=["created_at"])
    return [
        Case(make, create(reference_id=""), BAD, "reference_id"),
        Case(make, create(reference_id=LONG), BAD, "reference_id"),
        Case(make, create(reference_id="con_1"), BAD, "reference_id"),
        Case(make, create(name=LONG), BAD, "name"),
        Case(make, create(name="a\0"), BAD, "name"),
        Case(make, create(email="ada"), BAD, "email"),
        Case(make, create(email="ada@lovelace"), BAD, "email"),
        Case(make, create(phone="555 1234"), BAD, "phone"),
        Case(make, create(phone="+0123"), BAD, "phone"),
        Case(make, create(credit_limit="lots"), BAD, "credit_limit"),
        Case(make, create(credit_limit="-1"), BAD, "credit_limit"),
        Case(make, create(metadata=_object({"k": "x" * 16_384})), BAD, "metadata"),
        Case(make, create(metadata=_object({"k": "\0"})), BAD, "metadata"),
        Case(make, create(metadata=_object(_nested(33))), BAD, "metadata"),
        Case(f"{service}/ListCustomers", customers.ListCustomersRequest(limit=101), BAD, "limit"),
        Case(f"{service}/ListCustomers", customers.ListCustomersRequest(cursor="x"), BAD, "cursor"),
        Case(
            f"{service}/GetCustomer",
            customers.GetCustomerRequest(customer_id="nobody"),
            MISSING,
            "customer_id",
        ),
        Case(change, update(customer_id="nobody", name="x"), MISSING, "customer_id"),
        Case(change, update(customer_id=POOR, email="x"), BAD, "email"),
        Case(change, update(customer_id=POOR, update_mask=mask), BAD, "update_mask"),
        Case(
            change, update(customer_id=POOR, reference_id=RICH), Reason.ALREADY_EXISTS, _REFERENCE
        ),
        Case(
            f"{service}/DeleteCustomer",
            customers.DeleteCustomerRequest(customer_id="nobody"),
            MISSING,
            "customer_id",
        ),
    ]


def _meters() -> list[Case]:
    service = "MeterService"
    make, change = f"{service}/CreateMeter", f"{service}/UpdateMeter"

    def create(*tiers: tuple[str, str], **given: Any) -> meters.CreateMeterRequest:
        fields: dict[str, Any] = {
            "name": "Meter",
            "rate_type": meter_pb2.RATE_TYPE_FIXED,
            "tier_type": meter_pb2.TIER_TYPE_REQUESTS,
        }
        made = meters.CreateMeterRequest(**(fields | given))
        for start, rate in tiers or (("0", "1"),):
            made.tiers.add(start=start, rate=rate)
        return made

    none = create()
    del none.tiers[:]
    many = [(str(i), "1") for i in range(51)]
    return [
        Case(make, create(name=""), BAD, "name"),
        Case(make, create(name=LONG), BAD, "name"),
        Case(make, create(meter_slug=""), BAD, "meter_slug"),
        Case(make, create(meter_slug="a\nb"), BAD, "meter_slug"),
        Case(make, create(meter_slug=METER), Reason.ALREADY_EXISTS, "meter_slug"),
        Case(make, create(rate_type=meter_pb2.RATE_TYPE_UNSPECIFIED), BAD, "rate_type"),
        Case(make, create(tier_type=meter_pb2.TIER_TYPE_UNSPECIFIED), BAD, "tier_type"),
        Case(make, none, BAD, "tiers"),
        Case(make, create(*many), BAD, "tiers"),
        Case(make, create(("1", "1")), BAD, "tiers[0].start"),
        Case(make, create(("0", "1"), ("0", "1")), BAD, "tiers[1].start"),
        Case(make, create(("0", "1"), ("1.5", "1")), BAD, "tiers[1].start"),
        Case(make, create(("0", "1"), (str(10**15 + 1), "1")), BAD, "tiers[1].start"),
        Case(make, create(("0", "-1")), BAD, "tiers[0].rate"),
        Case(make, create(("0", "")), BAD, "tiers[0].rate"),
        Case(make, create(("0", "0.12345678901")), BAD, "tiers[0].rate"),
        Case(f"{service}/ListMeters", meters.ListMetersRequest(limit=-1), BAD, "limit"),
        Case(f"{service}/GetMeter", meters.GetMeterRequest(meter_id="none"), MISSING, "meter_id"),
        Case(change, meters.UpdateMeterRequest(meter_id="none", name="x"), MISSING, "meter_id"),
        Case(change, meters.UpdateMeterRequest(meter_id=METER, name=""), BAD, "name"),
        Case(
            change,
            meters.UpdateMeterRequest(meter_id=METER, update_mask=FieldMask(paths=["tiers"])),
            BAD,
            "tiers",
        ),
        Case(
            change,
            meters.UpdateMeterRequest(meter_id=METER, update_mask=FieldMask(paths=["basis"])),
            BAD,
            "update_mask",
        ),
        Case(
            f"{service}/DeleteMeter",
            meters.DeleteMeterRequest(meter_id="none"),
            MISSING,
            "meter_id",
        ),
    ]


def _credit() -> list[Case]:
    service, grant = "CreditService", credit.CreateCreditGrantRequest
    make = f"{service}/CreateCreditGrant"
    past = Timestamp(seconds=1)
    impossible = Timestamp(seconds=10**12)
    return [
        Case(make, grant(customer_id=RICH), BAD, "amount"),
        Case(make, grant(customer_id=RICH, amount="0"), BAD, "amount"),
        Case(make, grant(customer_id=RICH, amount="-5"), BAD, "amount"),
        Case(make, grant(customer_id=RICH, amount="1000000000"), BAD, "amount"),
        Case(make, grant(customer_id="", amount="1"), BAD, "customer_id"),
        Case(make, grant(customer_id="nobody", amount="1"), MISSING, "customer_id"),
        Case(make, grant(customer_id=RICH, amount="1", priority=1001), BAD, "priority"),
        Case(make, grant(customer_id=RICH, amount="1", priority=-1), BAD, "priority"),
        Case(make, grant(customer_id=RICH, amount="1", expires_at=past), BAD, "expires_at"),
        Case(make, grant(customer_id=RICH, amount="1", expires_at=impossible), BAD, "expires_at"),
        Case(
            make,
            grant(customer_id=RICH, amount="1", meter_ids=[METER, "none"]),
            MISSING,
            "meter_ids[1]",
        ),
        Case(make, grant(customer_id=RICH, amount="1", meter_ids=[METER] * 101), BAD, "meter_ids"),
        Case(make, grant(customer_id=RICH, amount="1", request_id=""), BAD, "request_id"),
        Case(
            make,
            grant(customer_id=RICH, amount="1", request_id="seed"),
            Reason.REQUEST_ID_REUSED,
            "request_id",
        ),
        Case(
            f"{service}/ListCreditGrants",
            credit.ListCreditGrantsRequest(customer_id="nobody"),
            MISSING,
            "customer_id",
        ),
        Case(
            f"{service}/GetBalance",
            credit.GetBalanceRequest(customer_id="nobody"),
            MISSING,
            "customer_id",
        ),
        Case(
            f"{service}/GetBalance",
            credit.GetBalanceRequest(customer_id=RICH, meter_id="none"),
            MISSING,
            "meter_id",
        ),
    ]


def _keys_and_history() -> list[Case]:
    return [
        Case("SecretKeyService/CreateSecretKey", keys.CreateSecretKeyRequest(), BAD, "name"),
        Case(
            "SecretKeyService/CreateSecretKey", keys.CreateSecretKeyRequest(name=LONG), BAD, "name"
        ),
        Case("SecretKeyService/ListSecretKeys", keys.ListSecretKeysRequest(limit=0), BAD, "limit"),
        Case(
            "SecretKeyService/DeleteSecretKey",
            keys.DeleteSecretKeyRequest(secret_key_id="sk_none"),
            MISSING,
            "secret_key_id",
        ),
        Case("RequestService/ListRequests", requests.ListRequestsRequest(limit=101), BAD, "limit"),
        Case(
            "RequestService/ListRequests",
            requests.ListRequestsRequest(metadata_filters="{}"),
            BAD,
            "metadata_filters",
        ),
        Case(
            "RequestService/ListRequests",
            requests.ListRequestsRequest(metadata_filters='[["a"]]'),
            BAD,
            "metadata_filters[0]",
        ),
        Case(
            "RequestService/GetRequest",
            requests.GetRequestRequest(request_id="none"),
            MISSING,
            "request_id",
        ),
        Case("LedgerService/ListEntries", ledger.ListEntriesRequest(cursor="x"), BAD, "cursor"),
    ]


MANAGEMENT_CASES = [*_customers(), *_meters(), *_credit(), *_keys_and_history()]
