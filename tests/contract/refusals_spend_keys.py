"""Bad calls of the spend key service."""

from __future__ import annotations

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import ListValue
from google.protobuf.timestamp_pb2 import Timestamp
from lava.v1 import spend_key_pb2
from lava.v1 import spend_key_service_pb2 as keys

from lava_grpc.core.errors import Reason
from tests.contract.case import BAD, LONG, MISSING, Case

_ID = "spend_key_id"
_NOBODY = "spk_test_01ARZ3NDEKTSV4RRFFQ69G5FAV"


def _texts(*texts: str | float) -> ListValue:
    made = ListValue()
    made.extend(texts)
    return made


def spend_keys() -> list[Case]:
    """Every way to be refused."""
    service = "SpendKeyService"
    create, update = keys.CreateSpendKeyRequest, keys.UpdateSpendKeyRequest
    limit, count = spend_key_pb2.SpendLimit, spend_key_pb2.RequestLimit
    rate, daily = spend_key_pb2.RateLimit, spend_key_pb2.LIMIT_CYCLE_DAILY
    creates = (
        (create(), "name"),
        (create(name=LONG), "name"),
        (create(name="n", status=7), "status"),  # type: ignore[arg-type]
        (create(name="n", request_shape=7), "request_shape"),  # type: ignore[arg-type]
        (create(name="n", allowed_models=_texts()), "allowed_models"),
        (create(name="n", allowed_models=_texts("m", 7)), "allowed_models[1]"),
        (create(name="n", allowed_models=_texts(LONG)), "allowed_models[0]"),
        (create(name="n", allowed_providers=_texts(*["p"] * 101)), "allowed_providers"),
        (create(name="n", spend_limit=limit(amount="1")), "spend_limit.cycle"),
        (create(name="n", spend_limit=limit(cycle=daily)), "spend_limit.amount"),
        (create(name="n", spend_limit=limit(amount="-1", cycle=daily)), "spend_limit.amount"),
        (create(name="n", request_limit=count(cycle=daily)), "request_limit.count"),
        (create(name="n", request_limit=count(count=1)), "request_limit.cycle"),
        (create(name="n", rate_limit=rate()), "rate_limit.rpm"),
        (create(name="n", rate_limit=rate(rpm=1_000_001)), "rate_limit.rpm"),
        (create(name="n", rate_limit=rate(rpm=1, burst=0)), "rate_limit.burst"),
        (create(name="n", expires_at=Timestamp(seconds=1)), "expires_at"),
        (create(name="n", expires_at=Timestamp(seconds=1 << 60)), "expires_at"),
    )
    masked = (("nonsense", "update_mask"), ("name", "name"), ("status", "status"))
    return [
        *(Case(f"{service}/CreateSpendKey", request, BAD, field) for request, field in creates),
        *(
            Case(
                f"{service}/UpdateSpendKey",
                update(spend_key_id=_NOBODY, update_mask=FieldMask(paths=[name])),
                BAD,
                field,
            )
            for name, field in masked
        ),
        Case(f"{service}/ListSpendKeys", keys.ListSpendKeysRequest(limit=101), BAD, "limit"),
        Case(f"{service}/ListSpendKeys", keys.ListSpendKeysRequest(cursor="x"), BAD, "cursor"),
        Case(f"{service}/GetSpendKey", keys.GetSpendKeyRequest(), BAD, _ID),
        *_missing(service),
    ]


def _missing(service: str) -> list[Case]:
    reason: Reason = MISSING
    return [
        Case(f"{service}/GetSpendKey", keys.GetSpendKeyRequest(spend_key_id=_NOBODY), reason, _ID),
        Case(f"{service}/GetSpendKey", keys.GetSpendKeyRequest(spend_key_id="rich"), reason, _ID),
        Case(
            f"{service}/UpdateSpendKey",
            keys.UpdateSpendKeyRequest(spend_key_id=_NOBODY, name="n"),
            reason,
            _ID,
        ),
        Case(
            f"{service}/RotateSpendKey",
            keys.RotateSpendKeyRequest(spend_key_id=_NOBODY),
            reason,
            _ID,
        ),
        Case(
            f"{service}/DeleteSpendKey",
            keys.DeleteSpendKeyRequest(spend_key_id=_NOBODY),
            reason,
            _ID,
        ),
    ]
