"""From a credential's text to who is calling."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar

import structlog

from lava_grpc.api.credentials import Credential, CredentialKind, parse_credential
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.resources import Merchant
from lava_grpc.core.spend_key import SpendKey
from lava_grpc.gateway.keys import hash_key, prefix_of
from lava_grpc.gateway.ports import Resources, SpendKeyStore
from lava_grpc.gateway.principal import Principal

T = TypeVar("T")

CACHE_SECONDS = 5.0
"""How long a key that was found is taken as good: revoked elsewhere, it dies within this."""

CACHE_ENTRIES_MAX = 10_000
"""The most credentials that are remembered; past it, the oldest is looked up again."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    principal: Principal
    key_id: str
    until: float


class Authenticator:
    """Looks credentials up, and remembers the good ones for a moment.

    `now` is a monotonic clock in seconds. What is remembered is named by its
    hash; a bad credential is looked up each time. Spend keys are let in only where
    the caller says that they may be: without `spend_keys` there are none.
    """

    def __init__(
        self,
        resources: Resources,
        now: Callable[[], float],
        *,
        spend_keys: SpendKeyStore | None = None,
        cache_seconds: float = CACHE_SECONDS,
        entries_max: int = CACHE_ENTRIES_MAX,
    ) -> None:
        self._resources = resources
        self._spend_keys = spend_keys
        self._now = now
        self._cache_seconds = cache_seconds
        self._entries_max = entries_max
        self._known: dict[bytes, _Known] = {}
        self._asking: dict[bytes, asyncio.Task[Principal]] = {}
        self._revocations = 0

    def remembered(self, credential: str, *, spend_keys: bool = False) -> Principal | None:
        """Who is calling, where that was asked a moment ago, and may be."""
        known = self._known.get(_name(credential))
        if known is None or known.until <= self._now():
            return None
        if known.principal.spend_key is not None and not spend_keys:
            return None
        return known.principal

    async def __call__(self, credential: str, *, spend_keys: bool = False) -> Principal:
        """Who is calling; a spend key counts only with `spend_keys`.

        Raises INVALID_CREDENTIALS, PERMISSION_DENIED for a spend key where there
        must be none, INVALID_FIELD for a forward token that names a customer and
        no meter, and STORE_UNAVAILABLE where nobody can tell.
        """
        principal = await self._known_or_asked(credential)
        if principal.spend_key is not None and not spend_keys:
            raise Refusal(
                Reason.PERMISSION_DENIED,
                "a spend key is for calls to providers alone: this takes a secret key",
            )
        return principal

    async def _known_or_asked(self, credential: str) -> Principal:
        found = self.remembered(credential, spend_keys=True)
        if found is not None:
            return found
        parsed = parse_credential(credential)
        name = _name(credential)
        asking = self._asking.get(name)
        if asking is None:
            # Many calls may come when a credential falls out of memory: one asks for them all.
            asking = asyncio.ensure_future(self._ask(name, parsed))
            self._asking[name] = asking
            asking.add_done_callback(lambda task: self._asked(name, task))
        return await asyncio.shield(asking)

    def forget(self, key_id: str) -> None:
        """A key was revoked or changed here: what was known of it no longer counts."""
        self._revocations += 1
        self._asking.clear()
        for name in [n for n, known in self._known.items() if known.key_id == key_id]:
            del self._known[name]

    def _asked(self, name: bytes, task: asyncio.Task[Principal]) -> None:
        if self._asking.get(name) is task:
            del self._asking[name]
        if not task.cancelled():
            # Whoever asked may have gone: then nobody else takes note of a refusal.
            task.exception()

    async def _ask(self, name: bytes, parsed: Credential) -> Principal:
        revocations = self._revocations
        key_id, principal = await (
            self._spender(parsed)
            if parsed.kind is CredentialKind.SPEND_KEY
            else self._merchant(parsed)
        )
        # What was read before a revocation may be the revoked key.
        if revocations == self._revocations:
            self._remember(name, principal, key_id)
        return principal

    async def _merchant(self, parsed: Credential) -> tuple[str, Principal]:
        found = await _looked_up(self._resources.key_owner(_hash(parsed)))
        if found is None:
            raise Refusal(Reason.INVALID_CREDENTIALS, "the secret key is unknown or revoked")
        key, merchant = found
        return key.secret_key_id, Principal(
            merchant_id=merchant.merchant_id,
            prefix=prefix_of(merchant),
            customer_id=parsed.customer_id,
            meter_slug=parsed.meter_slug,
            provider_key=parsed.provider_key.reveal() if parsed.provider_key else None,
            disable_billing=parsed.disable_billing,
            hold_policy=parsed.hold_policy or merchant.hold_policy,
            clamp_output=parsed.clamp_output,
        )

    async def _spender(self, parsed: Credential) -> tuple[str, Principal]:
        found: tuple[SpendKey, Merchant] | None = None
        if self._spend_keys is not None:
            found = await _looked_up(self._spend_keys.owner(_hash(parsed)))
        if found is None:
            raise Refusal(Reason.INVALID_CREDENTIALS, "the spend key is unknown or revoked")
        key, merchant = found
        principal = Principal(
            merchant.merchant_id,
            prefix_of(merchant),
            spend_key=key,
            hold_policy=merchant.hold_policy,
        )
        return key.spend_key_id, principal

    def _remember(self, name: bytes, principal: Principal, key_id: str) -> None:
        self._known.pop(name, None)
        if len(self._known) >= self._entries_max:
            del self._known[next(iter(self._known))]
        self._known[name] = _Known(principal, key_id, self._now() + self._cache_seconds)


async def _looked_up(looking: Awaitable[T]) -> T:
    try:
        return await looking
    except Refusal:
        raise
    # Whatever a database says, a key that nobody could look up is not a wrong key.
    except Exception as error:  # noqa: BLE001
        _log.warning("keys_unreadable", error=type(error).__name__)
        raise Refusal(
            Reason.STORE_UNAVAILABLE, "the database cannot be reached; try again"
        ) from None


def _hash(parsed: Credential) -> str:
    return hash_key(parsed.secret_key.reveal())


def _name(credential: str) -> bytes:
    # Half of a surrogate pair cannot be encoded, and belongs to no good credential.
    return sha256(credential.encode(errors="replace")).digest()
