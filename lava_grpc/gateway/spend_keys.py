"""The merchant's spend keys. A key is shown once; only its hash is stored."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lava_grpc.core.budget import (
    RPM_MAX,
    SPEND_KEY_PREFIX,
    Cycle,
    Limits,
    RateLimit,
    RequestLimit,
    SpendLimit,
)
from lava_grpc.core.errors import invalid, not_found
from lava_grpc.core.ids import IdSource
from lava_grpc.core.money import AMOUNT_MAX, parse_amount
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.spend_key import (
    KEY_PREFIX,
    RequestShape,
    SpendKey,
    SpendKeyStatus,
    UsedSpendKey,
)
from lava_grpc.core.time import Clock, Instant
from lava_grpc.gateway.checks import check_id, check_text
from lava_grpc.gateway.keys import hash_key
from lava_grpc.gateway.ports import SpendKeyStore
from lava_grpc.gateway.principal import Principal

ALLOWED_MAX = 100
"""The most models, or providers, that a key may be restricted to."""

CHANGEABLE = (
    "name",
    "status",
    "request_shape",
    "allowed_models",
    "allowed_providers",
    "spend_limit",
    "request_limit",
    "rate_limit",
    "expires_at",
)

_KEY_BYTES = 32
_PREVIEW_CHARS = 8
_ID = re.compile(re.escape(SPEND_KEY_PREFIX) + r"[A-Za-z0-9_]{1,64}")


@dataclass(frozen=True, slots=True)
class NewSpendKey:
    """A key as a caller describes it; limits are read, texts are not checked yet."""

    name: str
    status: SpendKeyStatus = SpendKeyStatus.ACTIVE
    request_shape: RequestShape = RequestShape.OPENAI
    allowed_models: Sequence[str] | None = None
    allowed_providers: Sequence[str] | None = None
    limits: Limits = field(default_factory=Limits)
    expires_at: Instant | None = None


class SpendKeys:
    """Makes, reads, changes, rotates and revokes keys."""

    def __init__(self, store: SpendKeyStore, *, clock: Clock, ids: IdSource) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids

    async def create(self, principal: Principal, new: NewSpendKey) -> tuple[UsedSpendKey, str]:
        """A new key, and its text, which is not kept."""
        now = self._clock.now()
        if new.expires_at is not None and new.expires_at <= now:
            raise invalid("expires_at", "must lie in the future")
        plaintext = _new_text()
        key = SpendKey(
            merchant_id=principal.merchant_id,
            spend_key_id=f"{SPEND_KEY_PREFIX}{principal.prefix}{self._ids.ulid(now)}",
            name=check_text(new.name, "name"),
            preview=_preview(plaintext),
            status=new.status,
            request_shape=new.request_shape,
            allowed_models=check_allowed(new.allowed_models, "allowed_models"),
            allowed_providers=check_allowed(new.allowed_providers, "allowed_providers"),
            limits=new.limits,
            expires_at=new.expires_at,
            created_at=now,
        )
        await self._store.add(key, hash_key(plaintext))
        return _found(await self._store.find(key.merchant_id, key.spend_key_id), ""), plaintext

    async def get(self, principal: Principal, spend_key_id: str) -> UsedSpendKey:
        """The key; refuses NOT_FOUND, also for one that was revoked."""
        ident = _known(spend_key_id)
        return _found(await self._store.find(principal.merchant_id, ident), ident)

    async def list(self, principal: Principal, page: Page) -> Slice[UsedSpendKey]:
        """Keys that are not revoked, newest first."""
        return await self._store.list(principal.merchant_id, page)

    async def update(
        self, principal: Principal, spend_key_id: str, changes: Mapping[str, object]
    ) -> UsedSpendKey:
        """Set fields by name (CHANGEABLE). Refuses NOT_FOUND."""
        ident = _known(spend_key_id)
        changed = await self._store.change(principal.merchant_id, ident, changes)
        return _found(changed, ident)

    async def rotate(self, principal: Principal, spend_key_id: str) -> tuple[UsedSpendKey, str]:
        """A new text for a key; the old one is good for nothing. Refuses NOT_FOUND."""
        ident, plaintext = _known(spend_key_id), _new_text()
        rotated = await self._store.rotate(
            principal.merchant_id, ident, hash_key(plaintext), _preview(plaintext)
        )
        return _found(rotated, ident), plaintext

    async def revoke(self, principal: Principal, spend_key_id: str) -> None:
        """Revoke a key for good. Refuses NOT_FOUND."""
        ident = _known(spend_key_id)
        if not await self._store.revoke(principal.merchant_id, ident, self._clock.now()):
            raise not_found("spend key", ident, field="spend_key_id")

    def now(self) -> Instant:
        """The time that a key's counts are shown at."""
        return self._clock.now()


def check_allowed(texts: Sequence[str] | None, name: str) -> tuple[str, ...] | None:
    """The texts, None for all; refuses, by `name`, an empty list, which would allow nothing."""
    if texts is None:
        return None
    if not texts:
        raise invalid(name, "must not be empty: leave it out, or give null, to allow all")
    if len(texts) > ALLOWED_MAX:
        raise invalid(name, f"must have at most {ALLOWED_MAX} items")
    return tuple([check_id(text, f"{name}[{index}]") for index, text in enumerate(texts)])


def read_spend_limit(amount: str, cycle: Cycle | None) -> SpendLimit:
    """A spend limit from a decimal string."""
    return SpendLimit(parse_amount(amount, "spend_limit.amount"), _cycle(cycle, "spend_limit"))


def read_request_limit(count: int, cycle: Cycle | None) -> RequestLimit:
    """A request limit."""
    if not 1 <= count <= AMOUNT_MAX:
        raise invalid("request_limit.count", "must be at least 1")
    return RequestLimit(count, _cycle(cycle, "request_limit"))


def read_rate_limit(rpm: int, burst: int | None) -> RateLimit:
    """A rate limit."""
    for name, value in (("rpm", rpm), ("burst", burst)):
        if value is not None and not 1 <= value <= RPM_MAX:
            raise invalid(f"rate_limit.{name}", f"must be from 1 to {RPM_MAX}")
    return RateLimit(rpm, burst)


def _cycle(cycle: Cycle | None, limit: str) -> Cycle:
    if cycle is None:
        raise invalid(f"{limit}.cycle", "is required: daily, weekly, monthly or total")
    return cycle


def _new_text() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def _preview(plaintext: str) -> str:
    return plaintext[: len(KEY_PREFIX) + _PREVIEW_CHARS] + "****"


def _known(spend_key_id: str) -> str:
    """The id, or NOT_FOUND for what cannot be one."""
    if _ID.fullmatch(spend_key_id) is None:
        raise not_found("spend key", check_id(spend_key_id, "spend_key_id"), field="spend_key_id")
    return spend_key_id


def _found(key: UsedSpendKey | None, ident: str) -> UsedSpendKey:
    if key is None:
        raise not_found("spend key", ident, field="spend_key_id")
    return key
