"""A merchant's own provider keys: what is known of one without its secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from lava_grpc.core.time import Instant

ID_PREFIX = "pvk_"

WEIGHT_MAX = 1000
"""The greatest share of the calls that one key of several takes."""


class KeyType(StrEnum):
    """Whose key a call used, as its record says."""

    # The platform's: the merchant's wallet pays the cost.
    MANAGED = "managed"
    # The merchant's, stored here.
    STORED = "stored"
    # The caller's, given with the call.
    UNMANAGED = "unmanaged"


class ProviderKeyStatus(StrEnum):
    """Whether a key may be used."""

    ACTIVE = "active"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """A stored key without its secret. `provider` is a provider's id, or one host."""

    merchant_id: str
    provider_key_id: str
    provider: str
    name: str
    # The secret's first and last characters, for people to tell keys apart.
    preview: str
    weight: int
    status: ProviderKeyStatus
    created_at: Instant
    rotated_at: Instant | None = None
    last_used_at: Instant | None = None

    @property
    def version(self) -> Instant:
        """Tells a key from itself before its secret was replaced."""
        return self.rotated_at or self.created_at


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A stored key with its secret, encrypted by the key that `sealed_with` names."""

    key: ProviderKey
    sealed: str = field(repr=False)
    sealed_with: str
