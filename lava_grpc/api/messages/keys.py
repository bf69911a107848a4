"""Secret keys."""

from __future__ import annotations

from lava.v1 import secret_key_service_pb2 as pb

from lava_grpc.api.messages.times import to_timestamp
from lava_grpc.core.resources import SecretKey


def from_key(key: SecretKey, plaintext: str | None = None) -> pb.SecretKey:
    """The key as its merchant sees it; with its text where it was just made."""
    return pb.SecretKey(
        secret_key_id=key.secret_key_id,
        name=key.name,
        secret_key_hint=key.hint,
        secret_key=plaintext,
        created_at=to_timestamp(key.created_at),
    )
