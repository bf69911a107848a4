"""The merchant's secret keys. A key is shown once; only its hash is stored."""

from __future__ import annotations

import hashlib
import secrets

from lava_grpc.core.errors import not_found
from lava_grpc.core.ids import IdSource
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.resources import Merchant, SecretKey
from lava_grpc.core.time import Clock
from lava_grpc.gateway.checks import check_text
from lava_grpc.gateway.ports import Resources
from lava_grpc.gateway.principal import Principal

_KEY_BYTES = 32
_HINT_CHARS = 4


def hash_key(plaintext: str) -> str:
    """What a key is stored and looked up by: SHA-256, hex.

    A key has 256 random bits, so nothing slower is needed.
    """
    return hashlib.sha256(plaintext.encode()).hexdigest()


def prefix_of(merchant: Merchant) -> str:
    """What stands in the merchant's ids: `test_` in test mode."""
    return "test_" if merchant.test_mode else ""


class SecretKeys:
    """Makes, lists and revokes keys."""

    def __init__(self, resources: Resources, *, clock: Clock, ids: IdSource) -> None:
        self._resources = resources
        self._clock = clock
        self._ids = ids

    async def create(self, principal: Principal, name: str) -> tuple[SecretKey, str]:
        """A new key, and its text, which is not kept."""
        return await self._create(principal.merchant_id, principal.prefix, name)

    async def create_key(self, merchant: Merchant, name: str) -> tuple[SecretKey, str]:
        """As `create`, for an operator."""
        return await self._create(merchant.merchant_id, prefix_of(merchant), name)

    async def list(self, principal: Principal, page: Page) -> Slice[SecretKey]:
        """Keys that are not revoked, newest first."""
        return await self._resources.list_keys(principal.merchant_id, page)

    async def revoke(self, principal: Principal, secret_key_id: str) -> None:
        """Revoke a key for good, be it the caller's own. Refuses NOT_FOUND."""
        now = self._clock.now()
        if not await self._resources.revoke_key(principal.merchant_id, secret_key_id, now):
            raise not_found("secret key", secret_key_id, field="secret_key_id")

    async def _create(self, merchant_id: str, prefix: str, name: str) -> tuple[SecretKey, str]:
        now = self._clock.now()
        mode = f"aks_{prefix or 'live_'}"
        plaintext = mode + secrets.token_urlsafe(_KEY_BYTES)
        key = SecretKey(
            merchant_id=merchant_id,
            secret_key_id=f"sk_{prefix}{self._ids.ulid(now)}",
            name=check_text(name, "name"),
            hint=f"{mode}…{plaintext[-_HINT_CHARS:]}",
            created_at=now,
        )
        await self._resources.add_key(key, hash_key(plaintext))
        return key, plaintext
