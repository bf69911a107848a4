"""Spend keys and their limits."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from google.protobuf.struct_pb2 import ListValue
from lava.v1 import spend_key_pb2
from lava.v1 import spend_key_service_pb2 as pb

from lava_grpc.api.messages.enums import read_enum
from lava_grpc.api.messages.times import to_instant, to_timestamp
from lava_grpc.core.budget import (
    Cycle,
    Limits,
    RateLimit,
    RequestLimit,
    SpendLimit,
    counted_in,
    spent_in,
)
from lava_grpc.core.errors import invalid
from lava_grpc.core.money import format_amount
from lava_grpc.core.spend_key import RequestShape, SpendKeyStatus, UsedSpendKey
from lava_grpc.core.time import Instant
from lava_grpc.gateway.checks import check_text
from lava_grpc.gateway.spend_keys import (
    CHANGEABLE,
    NewSpendKey,
    check_allowed,
    read_rate_limit,
    read_request_limit,
    read_spend_limit,
)

STATUSES = MappingProxyType(
    {
        SpendKeyStatus.ACTIVE: spend_key_pb2.SPEND_KEY_STATUS_ACTIVE,
        SpendKeyStatus.PAUSED: spend_key_pb2.SPEND_KEY_STATUS_PAUSED,
    }
)
SHAPES = MappingProxyType(
    {
        RequestShape.OPENAI: spend_key_pb2.REQUEST_SHAPE_OPENAI,
        RequestShape.ANTHROPIC: spend_key_pb2.REQUEST_SHAPE_ANTHROPIC,
    }
)
CYCLES = MappingProxyType(
    {
        Cycle.DAILY: spend_key_pb2.LIMIT_CYCLE_DAILY,
        Cycle.WEEKLY: spend_key_pb2.LIMIT_CYCLE_WEEKLY,
        Cycle.MONTHLY: spend_key_pb2.LIMIT_CYCLE_MONTHLY,
        Cycle.TOTAL: spend_key_pb2.LIMIT_CYCLE_TOTAL,
    }
)


def to_new(request: pb.CreateSpendKeyRequest) -> NewSpendKey:
    """A key as it is described."""
    return NewSpendKey(
        name=request.name,
        status=_status(request) or SpendKeyStatus.ACTIVE,
        request_shape=_shape(request) or RequestShape.OPENAI,
        allowed_models=_texts(request, "allowed_models"),
        allowed_providers=_texts(request, "allowed_providers"),
        limits=Limits(_spend_limit(request), _request_limit(request), _rate_limit(request)),
        expires_at=_expires_at(request),
    )


def to_changes(request: pb.UpdateSpendKeyRequest) -> dict[str, object]:
    """The fields to set: those in the mask, else those that are given. None clears one."""
    mask = request.update_mask.paths
    for name in mask:
        if name not in CHANGEABLE:
            raise invalid("update_mask", f"names '{name[:80]}', which cannot be changed")
    if mask:
        return {name: _CHANGES[name](request) for name in mask}
    changes: dict[str, object] = {
        name: _CHANGES[name](request) for name, value in _given(request).items() if value
    }
    return changes


def _given(request: pb.UpdateSpendKeyRequest) -> dict[str, bool]:
    given = {field.name for field, _ in request.ListFields()}
    return {name: name in given for name in CHANGEABLE}


def _name(request: pb.UpdateSpendKeyRequest) -> str:
    return check_text(request.name, "name")


def _set_status(request: pb.UpdateSpendKeyRequest) -> str:
    status = _status(request)
    if status is None:
        raise invalid("status", "must be active or paused")
    return status.value


def _set_shape(request: pb.UpdateSpendKeyRequest) -> str:
    shape = _shape(request)
    if shape is None:
        raise invalid("request_shape", "must be openai or anthropic")
    return shape.value


def _set_models(request: pb.UpdateSpendKeyRequest) -> tuple[str, ...] | None:
    return check_allowed(_texts(request, "allowed_models"), "allowed_models")


def _set_providers(request: pb.UpdateSpendKeyRequest) -> tuple[str, ...] | None:
    return check_allowed(_texts(request, "allowed_providers"), "allowed_providers")


def _status(
    request: pb.CreateSpendKeyRequest | pb.UpdateSpendKeyRequest,
) -> SpendKeyStatus | None:
    return read_enum(STATUSES, request.status, "status")


def _shape(request: pb.CreateSpendKeyRequest | pb.UpdateSpendKeyRequest) -> RequestShape | None:
    return read_enum(SHAPES, request.request_shape, "request_shape")


def _texts(
    request: pb.CreateSpendKeyRequest | pb.UpdateSpendKeyRequest, field: str
) -> list[str] | None:
    if not request.HasField(field):  # type: ignore[arg-type]
        return None
    texts: ListValue = getattr(request, field)
    for index, value in enumerate(texts.values):
        if value.WhichOneof("kind") != "string_value":
            raise invalid(f"{field}[{index}]", "must be a string")
    return [value.string_value for value in texts.values]


def _spend_limit(
    request: pb.CreateSpendKeyRequest | pb.UpdateSpendKeyRequest,
) -> SpendLimit | None:
    if not request.HasField("spend_limit"):
        return None
    limit = request.spend_limit
    return read_spend_limit(limit.amount, read_enum(CYCLES, limit.cycle, "spend_limit.cycle"))


def _request_limit(
    request: pb.CreateSpendKeyRequest | pb.UpdateSpendKeyRequest,
) -> RequestLimit | None:
    if not request.HasField("request_limit"):
        return None
    limit = request.request_limit
    return read_request_limit(limit.count, read_enum(CYCLES, limit.cycle, "request_limit.cycle"))


def _rate_limit(request: pb.CreateSpendKeyRequest | pb.UpdateSpendKeyRequest) -> RateLimit | None:
    if not request.HasField("rate_limit"):
        return None
    limit = request.rate_limit
    return read_rate_limit(limit.rpm, limit.burst if limit.HasField("burst") else None)


def _expires_at(request: pb.CreateSpendKeyRequest | pb.UpdateSpendKeyRequest) -> Instant | None:
    if not request.HasField("expires_at"):
        return None
    return to_instant(request.expires_at, "expires_at")


_CHANGES: dict[str, Callable[[pb.UpdateSpendKeyRequest], object]] = {
    "name": _name,
    "status": _set_status,
    "request_shape": _set_shape,
    "allowed_models": _set_models,
    "allowed_providers": _set_providers,
    "spend_limit": _spend_limit,
    "request_limit": _request_limit,
    "rate_limit": _rate_limit,
    "expires_at": _expires_at,
}


def from_key(
    used: UsedSpendKey, now: Instant, plaintext: str | None = None
) -> spend_key_pb2.SpendKey:
    """The key as its merchant sees it at `now`; with its text where it was just made."""
    key, budget = used.key, used.budget
    return spend_key_pb2.SpendKey(
        spend_key_id=key.spend_key_id,
        key=plaintext,
        key_preview=key.preview,
        name=key.name,
        status=STATUSES[key.status],
        request_shape=SHAPES[key.request_shape],
        wallet_id=key.merchant_id,
        allowed_models=_list(key.allowed_models),
        allowed_providers=_list(key.allowed_providers),
        spend_limit=_from_spend_limit(key.limits.spend),
        current_spend=format_amount(spent_in(budget, used.total_spend, now)),
        total_spend=format_amount(used.total_spend),
        request_limit=_from_request_limit(key.limits.requests),
        current_requests=counted_in(budget, now),
        total_requests=budget.requests,
        rate_limit=_from_rate_limit(key.limits.rate),
        expires_at=None if key.expires_at is None else to_timestamp(key.expires_at),
        last_used_at=None if budget.last_used_at is None else to_timestamp(budget.last_used_at),
        created_at=to_timestamp(key.created_at),
    )


def _list(texts: tuple[str, ...] | None) -> ListValue | None:
    if texts is None:
        return None
    made = ListValue()
    made.extend(texts)
    return made


def _from_spend_limit(limit: SpendLimit | None) -> spend_key_pb2.SpendLimit | None:
    if limit is None:
        return None
    return spend_key_pb2.SpendLimit(amount=format_amount(limit.amount), cycle=CYCLES[limit.cycle])


def _from_request_limit(limit: RequestLimit | None) -> spend_key_pb2.RequestLimit | None:
    if limit is None:
        return None
    return spend_key_pb2.RequestLimit(count=limit.count, cycle=CYCLES[limit.cycle])


def _from_rate_limit(limit: RateLimit | None) -> spend_key_pb2.RateLimit | None:
    if limit is None:
        return None
    return spend_key_pb2.RateLimit(rpm=limit.rpm, burst=limit.burst)
