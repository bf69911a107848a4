"""Which provider key a call uses: the caller's own, the merchant's stored one, the platform's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from lava_grpc.core.errors import invalid
from lava_grpc.core.provider_key import KeyType
from lava_grpc.core.time import Clock
from lava_grpc.gateway.key_pool import KeyTurns, Pool, PooledKey
from lava_grpc.gateway.signing import require_botocore
from lava_grpc.gateway.stored_keys import StoredKeys
from lava_grpc.gateway.targets import Target
from lava_grpc.gateway.upstream import AwsSigning
from lava_grpc.providers.aws import is_access_key, read_credential, signing_scope
from lava_grpc.providers.provider import AuthStyle, Provider

T = TypeVar("T")

_FIELD = "provider_key"


@dataclass(frozen=True, slots=True)
class ChosenKey:
    """The key of one call. `use` is told what the provider answered, where that matters."""

    key_type: KeyType
    secret: str = field(repr=False)
    use: KeyUse | None = None


class KeyUse:
    """One call's use of a key that others may be chosen instead of, or whose use is noted."""

    __slots__ = ("_chooser", "_key", "_merchant_id")

    def __init__(self, chooser: KeyChooser, merchant_id: str, key: PooledKey) -> None:
        self._chooser = chooser
        self._merchant_id = merchant_id
        self._key = key

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """The provider answered; header names are lower-case."""
        self._chooser.answered(self._merchant_id, self._key, status, headers)


class KeyChooser:
    """Chooses keys.

    `managed` are the platform's by provider id or host; `named` are the hosts that the
    operator named, so that a key for their provider as a whole may go there.
    """

    def __init__(
        self,
        managed: Mapping[str, Pool],
        turns: KeyTurns,
        clock: Clock,
        *,
        stored: StoredKeys | None = None,
        named: frozenset[str] = frozenset(),
    ) -> None:
        self._managed = managed
        self._turns = turns
        self._clock = clock
        self._stored = stored
        self._named = named

    async def choose(self, merchant_id: str, target: Target, own: str | None) -> ChosenKey:
        """The key for a call to `target`.

        Refuses INVALID_FIELD (field `provider_key`) where there is none.
        """
        if own is not None:
            return ChosenKey(KeyType.UNMANAGED, own)
        if self._stored is not None:
            pools = self._stored.remembered(merchant_id)
            if pools is None:
                pools = await self._stored.read(merchant_id)
            found = self._found(pools, target) if pools else None
            if found is not None:
                key = self._turns.choose(found.readable())
                return ChosenKey(KeyType.STORED, key.secret, KeyUse(self, merchant_id, key))
        pool = self._found(self._managed, target)
        if pool is None:
            raise invalid(
                _FIELD,
                f"is required: neither the service nor the merchant has a key for "
                f"{target.provider.id}",
            )
        key = self._turns.choose(pool)
        use = KeyUse(self, merchant_id, key) if len(pool) > 1 else None
        return ChosenKey(KeyType.MANAGED, key.secret, use)

    def answered(
        self, merchant_id: str, key: PooledKey, status: int, headers: Mapping[str, str]
    ) -> None:
        """The provider answered a call with `key`."""
        self._turns.answered(key.ident, status, headers)
        if key.provider_key_id is not None and self._stored is not None:
            self._stored.used(merchant_id, key.provider_key_id, self._clock.now())

    def _found(self, by_name: Mapping[str, T], target: Target) -> T | None:
        found = by_name.get(target.host)
        if found is None and self._takes_provider_key(target.provider, target.host):
            found = by_name.get(target.provider.id)
        return found

    def _takes_provider_key(self, provider: Provider, host: str) -> bool:
        """Whether the key for the provider as a whole may be sent to `host`.

        What a host pattern matches is somebody's own account, unless it is one of the
        provider's regions, or the operator named that very host.
        """
        return host in self._named or not provider.per_account(host)


def aws_signing(target: Target, secret: str) -> AwsSigning | None:
    """How a call to `target` is signed; None where the secret goes in a header or query.

    Refuses INVALID_FIELD (field `provider_key`) for a malformed credential and for an
    access key that is not for AWS, and NOT_IMPLEMENTED where the service cannot sign.
    """
    if target.provider.auth is not AuthStyle.AWS_SIGV4:
        if is_access_key(secret):
            # It is signed with and never sent: here it would go out as it is.
            raise invalid(_FIELD, f"must not be an AWS access key: {target.host} is not AWS's")
        return None
    try:
        credential = read_credential(secret)
    except ValueError as error:
        raise invalid(_FIELD, str(error)) from None
    if credential is None:
        return None
    scope = signing_scope(target.host)
    if scope is None:
        raise invalid(_FIELD, f"must not be an AWS access key: {target.host} names no AWS region")
    require_botocore()
    return AwsSigning(credential, scope)
