"""Stored provider keys. A secret is read, and never written."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from lava.v1 import provider_key_pb2
from lava.v1 import provider_key_service_pb2 as pb

from lava_grpc.api.messages.enums import PROVIDER_KEY_STATUSES, read_enum
from lava_grpc.api.messages.texts import optional_number
from lava_grpc.api.messages.times import to_timestamp
from lava_grpc.core.errors import invalid
from lava_grpc.core.provider_key import ProviderKey
from lava_grpc.core.time import Instant
from lava_grpc.gateway.checks import check_text
from lava_grpc.gateway.provider_keys import CHANGEABLE, NewProviderKey, check_weight


def to_new(request: pb.CreateProviderKeyRequest) -> NewProviderKey:
    """The key to be made; texts are checked where it is."""
    return NewProviderKey(
        name=request.name,
        provider=request.provider,
        secret=request.key,
        weight=optional_number(request, "weight"),
        status=read_enum(PROVIDER_KEY_STATUSES, request.status, "status"),
    )


def to_changes(request: pb.UpdateProviderKeyRequest) -> dict[str, object]:
    """The fields to set: those in the mask, else those that are given. None can be cleared."""
    mask = list(request.update_mask.paths)
    for name in mask:
        if name not in CHANGEABLE:
            raise invalid("update_mask", f"names '{name[:80]}', which cannot be changed")
    given = {field.name for field, _ in request.ListFields()}
    names = mask or [name for name in CHANGEABLE if name in given]
    return {name: _change(request, name) for name in names}


def _change(request: pb.UpdateProviderKeyRequest, name: str) -> object:
    match name:
        case "name":
            return check_text(request.name, "name")
        case "weight":
            return check_weight(request.weight)
        case _:
            status = read_enum(PROVIDER_KEY_STATUSES, request.status, "status")
            if status is None:
                raise invalid("status", "must be active or paused")
            return status.value


def from_key(key: ProviderKey) -> provider_key_pb2.ProviderKey:
    """The key as its merchant sees it."""
    return provider_key_pb2.ProviderKey(
        provider_key_id=key.provider_key_id,
        provider=key.provider,
        name=key.name,
        key_preview=key.preview,
        weight=key.weight,
        status=PROVIDER_KEY_STATUSES[key.status],
        created_at=to_timestamp(key.created_at),
        rotated_at=_moment(key.rotated_at),
        last_used_at=_moment(key.last_used_at),
    )


def _moment(at: Instant | None) -> Timestamp | None:
    return None if at is None else to_timestamp(at)
