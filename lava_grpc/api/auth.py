"""From a credential's text to who is calling."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import structlog

from lava_grpc.api.credentials import Credential, CredentialKind, parse_credential
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.resources import Merchant, SecretKey
from lava_grpc.gateway.keys import hash_key, prefix_of
from lava_grpc.gateway.ports import Resources
from lava_grpc.gateway.principal import Principal

CACHE_SECONDS = 5.0
"""How long a key that was found is taken as good: revoked elsewhere, it dies within this."""

CACHE_ENTRIES_MAX = 10_000
"""The most credentials that are remembered; past it, the oldest is looked up again."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    principal: Principal
    secret_key_id: str
    until: float


class Authenticator:
    """Looks credentials up, and remembers the good ones for a moment.

    `now` is a monotonic clock in seconds. What is remembered is named by its
    hash; a bad credential is looked up each time.
    """

    def __init__(
        self,
        resources: Resources,
        now: Callable[[], float],
        *,
        cache_seconds: float = CACHE_SECONDS,
        entries_max: int = CACHE_ENTRIES_MAX,
    ) -> None:
        self._resources = resources
        self._now = now
        self._cache_seconds = cache_seconds
        self._entries_max = entries_max
        self._known: dict[bytes, _Known] = {}
        self._asking: dict[bytes, asyncio.Task[Principal]] = {}
        self._revocations = 0

    def remembered(self, credential: str) -> Principal | None:
        """Who is calling, where that was asked a moment ago."""
        known = self._known.get(_name(credential))
        if known is None or known.until <= self._now():
            return None
        return known.principal

    async def __call__(self, credential: str) -> Principal:
        """Who is calling.

        Raises INVALID_CREDENTIALS, INVALID_FIELD for a forward token that names
        a customer and no meter, and STORE_UNAVAILABLE where nobody can tell.
        """
        found = self.remembered(credential)
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

    def forget(self, secret_key_id: str) -> None:
        """A key was revoked here: it is refused from now on."""
        self._revocations += 1
        self._asking.clear()
        for name in [n for n, known in self._known.items() if known.secret_key_id == secret_key_id]:
            del self._known[name]

    def _asked(self, name: bytes, task: asyncio.Task[Principal]) -> None:
        if self._asking.get(name) is task:
            del self._asking[name]
        if not task.cancelled():
            # Whoever asked may have gone: then nobody else takes note of a refusal.
            task.exception()

    async def _ask(self, name: bytes, parsed: Credential) -> Principal:
        if parsed.kind is CredentialKind.SPEND_KEY:
            raise Refusal(Reason.INVALID_CREDENTIALS, "spend keys are not supported yet")
        revocations = self._revocations
        key, merchant = await self._owner(parsed)
        principal = Principal(
            merchant_id=merchant.merchant_id,
            prefix=prefix_of(merchant),
            customer_id=parsed.customer_id,
            meter_slug=parsed.meter_slug,
            provider_key=parsed.provider_key.reveal() if parsed.provider_key else None,
            disable_billing=parsed.disable_billing,
        )
        # What was read before a revocation may be the revoked key.
        if revocations == self._revocations:
            self._remember(name, principal, key.secret_key_id)
        return principal

    async def _owner(self, parsed: Credential) -> tuple[SecretKey, Merchant]:
        try:
            owner = await self._resources.key_owner(hash_key(parsed.secret_key.reveal()))
        except Refusal:
            raise
        # Whatever a database says, a key that nobody could look up is not a wrong key.
        except Exception as error:  # noqa: BLE001
            _log.warning("keys_unreadable", error=type(error).__name__)
            raise Refusal(
                Reason.STORE_UNAVAILABLE, "the database cannot be reached; try again"
            ) from None
        if owner is None:
            raise Refusal(Reason.INVALID_CREDENTIALS, "the secret key is unknown or revoked")
        return owner

    def _remember(self, name: bytes, principal: Principal, secret_key_id: str) -> None:
        self._known.pop(name, None)
        if len(self._known) >= self._entries_max:
            del self._known[next(iter(self._known))]
        self._known[name] = _Known(principal, secret_key_id, self._now() + self._cache_seconds)


def _name(credential: str) -> bytes:
    # Half of a surrogate pair cannot be encoded, and belongs to no good credential.
    return sha256(credential.encode(errors="replace")).digest()
