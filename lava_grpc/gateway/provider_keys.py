"""The merchant's stored provider keys. A secret goes in, and no call shows it again."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from lava_grpc.core.errors import Refusal, invalid, not_found
from lava_grpc.core.ids import IdSource
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.provider_key import (
    ID_PREFIX,
    WEIGHT_MAX,
    ProviderKey,
    ProviderKeyStatus,
    SealedKey,
)
from lava_grpc.core.time import Clock
from lava_grpc.gateway.checks import check_id, check_text
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.signing import require_botocore
from lava_grpc.gateway.stored_keys import open_key, seal_key
from lava_grpc.gateway.vault import UnreadableError, Vault
from lava_grpc.providers.aws import read_credential
from lava_grpc.providers.provider import AuthStyle, Provider
from lava_grpc.providers.registry import Registry

KEYS_MAX = 100
"""How many keys a merchant has at most: all of them are read and kept together."""

SECRET_CHARS_MIN, SECRET_CHARS_MAX = 8, 8192

CHANGEABLE = ("name", "weight", "status")

_ID = re.compile(re.escape(ID_PREFIX) + r"[A-Za-z0-9_]{1,64}")
_PORT = re.compile(r":\d+$")
# Of a shorter secret, seven characters would be too much to show.
_SHOWN_FROM_CHARS = 20
_PAGE = 100


class ProviderKeyStore(Protocol):
    """Where keys are kept. A look-up gives None for what is not there."""

    async def add(self, sealed: SealedKey, *, keys_max: int) -> None:
        """Store a key. Refuses PERMISSION_DENIED past `keys_max`."""
        ...

    async def find(self, merchant_id: str, provider_key_id: str) -> ProviderKey | None:
        """The key."""
        ...

    async def list_page(self, merchant_id: str, page: Page) -> Slice[ProviderKey]:
        """Keys, newest first."""
        ...

    async def change(
        self, merchant_id: str, provider_key_id: str, changes: Mapping[str, object]
    ) -> ProviderKey | None:
        """Set fields of `ProviderKey` by name."""
        ...

    async def rotate(self, sealed: SealedKey) -> ProviderKey | None:
        """Replace a key's secret and preview."""
        ...

    async def remove(self, merchant_id: str, provider_key_id: str) -> bool:
        """Delete a key; False where there is none."""
        ...

    async def sealed_otherwise(
        self, sealed_with: str, after: tuple[str, str], limit: int
    ) -> Sequence[SealedKey]:
        """Keys of all merchants that are encrypted with another key, after these ids."""
        ...

    async def reseal(self, before: SealedKey, sealed: str, sealed_with: str) -> bool:
        """Replace a key's ciphertext; False where it has changed since."""
        ...


@dataclass(frozen=True, slots=True)
class NewProviderKey:
    """A key as a caller describes it, not checked yet."""

    name: str
    provider: str
    secret: str = field(repr=False)
    weight: int | None = None
    status: ProviderKeyStatus | None = None


@dataclass(frozen=True, slots=True)
class Reencrypted:
    """What moving all keys to the newest encryption key came to."""

    reencrypted: int
    # Ids of keys that no encryption key decrypts; they stay as they are.
    unreadable: tuple[str, ...]


class ProviderKeys:
    """Stores, lists, changes, rotates and deletes keys.

    `changed` is told the merchant whose keys were changed; `hosts` are those that the
    operator allows beyond the registry's.
    """

    def __init__(
        self,
        store: ProviderKeyStore,
        vault: Vault,
        registry: Registry,
        *,
        clock: Clock,
        ids: IdSource,
        changed: Callable[[str], None] = lambda _: None,
        hosts: Collection[str] = (),
    ) -> None:
        self._store = store
        self._vault = vault
        self._registry = registry
        self._clock = clock
        self._ids = ids
        self._changed = changed
        self._hosts = frozenset(_PORT.sub("", host).strip("[]") for host in hosts)

    async def create(self, principal: Principal, new: NewProviderKey) -> ProviderKey:
        """A new key. Refuses NOT_IMPLEMENTED without an encryption key."""
        now = self._clock.now()
        key = ProviderKey(
            merchant_id=principal.merchant_id,
            provider_key_id=f"{ID_PREFIX}{principal.prefix}{self._ids.ulid(now)}",
            provider=self._provider(new.provider),
            name=check_text(new.name, "name"),
            preview="",
            weight=check_weight(1 if new.weight is None else new.weight),
            status=new.status or ProviderKeyStatus.ACTIVE,
            created_at=now,
        )
        sealed = self._sealed(key, new.secret)
        await self._store.add(sealed, keys_max=KEYS_MAX)
        self._changed(principal.merchant_id)
        return sealed.key

    async def get(self, principal: Principal, provider_key_id: str) -> ProviderKey:
        """The key; refuses NOT_FOUND."""
        ident = _known(provider_key_id)
        return _found(await self._store.find(principal.merchant_id, ident), ident)

    async def list(self, principal: Principal, page: Page) -> Slice[ProviderKey]:
        """Keys, newest first."""
        return await self._store.list_page(principal.merchant_id, page)

    async def update(
        self, principal: Principal, provider_key_id: str, changes: Mapping[str, object]
    ) -> ProviderKey:
        """Set fields by name (CHANGEABLE); they are checked. Refuses NOT_FOUND."""
        ident = _known(provider_key_id)
        changed = await self._store.change(principal.merchant_id, ident, changes)
        self._changed(principal.merchant_id)
        return _found(changed, ident)

    async def rotate(self, principal: Principal, provider_key_id: str, secret: str) -> ProviderKey:
        """A new secret for a key. Refuses NOT_FOUND, and NOT_IMPLEMENTED as `create` does."""
        key = await self.get(principal, provider_key_id)
        sealed = self._sealed(replace(key, rotated_at=self._clock.now()), secret)
        rotated = await self._store.rotate(sealed)
        self._changed(principal.merchant_id)
        return _found(rotated, provider_key_id)

    async def delete(self, principal: Principal, provider_key_id: str) -> None:
        """Delete a key and its secret. Refuses NOT_FOUND."""
        ident = _known(provider_key_id)
        removed = await self._store.remove(principal.merchant_id, ident)
        self._changed(principal.merchant_id)
        if not removed:
            raise _missing(ident)

    async def reencrypt(self) -> Reencrypted:
        """Move every merchant's keys to the newest encryption key; may be run again at any time."""
        newest, after = self._vault.newest, ("", "")
        done, unreadable = 0, list[str]()
        while page := await self._store.sealed_otherwise(newest, after, _PAGE):
            for row in page:
                key = row.key
                after = (key.merchant_id, key.provider_key_id)
                try:
                    secret = open_key(self._vault, row)
                except UnreadableError:
                    unreadable.append(key.provider_key_id)
                    continue
                sealed = self._seal(key, secret)
                done += await self._store.reseal(row, sealed.sealed, sealed.sealed_with)
        return Reencrypted(done, tuple(unreadable))

    def _sealed(self, key: ProviderKey, secret: str) -> SealedKey:
        return self._seal(replace(key, preview=self._checked(key.provider, secret)), secret)

    def _seal(self, key: ProviderKey, secret: str) -> SealedKey:
        sealed = seal_key(
            self._vault,
            secret,
            merchant_id=key.merchant_id,
            provider=key.provider,
            key_id=key.provider_key_id,
        )
        return SealedKey(key, sealed, self._vault.newest)

    def _provider(self, name: str) -> str:
        """A provider's id or one host, or a refusal naming `provider`."""
        provider = self._registry.by_id(check_id(name, "provider"))
        if provider is not None:
            if not provider.hosts and not provider.regional:
                raise invalid(
                    "provider",
                    f"must be your own host, such as {_host_of(provider)}: each account of "
                    f"{provider.label} has one",
                )
            return provider.id
        host = name.lower().removesuffix(".")
        if self._registry.by_host(host) is None and host not in self._hosts:
            raise invalid("provider", "is neither a provider's id nor a host that calls may go to")
        return host

    def _checked(self, name: str, secret: str) -> str:
        """The preview of a secret that will do, or a refusal naming `key`."""
        if not SECRET_CHARS_MIN <= len(secret) <= SECRET_CHARS_MAX:
            raise invalid("key", f"must have {SECRET_CHARS_MIN} to {SECRET_CHARS_MAX} characters")
        is_json = secret.startswith("{")
        if not (secret.isascii() and secret.isprintable()) or (" " in secret and not is_json):
            raise invalid("key", "must be printable ASCII without spaces")
        provider = self._registry.by_id(name) or self._registry.by_host(name)
        if provider is not None and provider.auth is AuthStyle.AWS_SIGV4:
            try:
                credential = read_credential(secret)
            except ValueError as error:
                raise invalid("key", str(error)) from None
            if credential is not None:
                require_botocore()
                return _preview(credential.access_key_id)
        elif is_json:
            raise invalid("key", "must be an API key or an access token: no JSON is taken here")
        return _preview(secret)


def check_weight(weight: int) -> int:
    """A weight that will do, or a refusal naming `weight`."""
    if not 1 <= weight <= WEIGHT_MAX:
        raise invalid("weight", f"must be from 1 to {WEIGHT_MAX}")
    return weight


def _preview(secret: str) -> str:
    return "…" if len(secret) < _SHOWN_FROM_CHARS else f"{secret[:3]}…{secret[-4:]}"


def _host_of(provider: Provider) -> str:
    return provider.base_url.split("/")[2]


def _known(provider_key_id: str) -> str:
    """The id, or NOT_FOUND for what cannot be one."""
    if _ID.fullmatch(provider_key_id) is None:
        raise _missing(check_id(provider_key_id, "provider_key_id"))
    return provider_key_id


def _found(key: ProviderKey | None, ident: str) -> ProviderKey:
    if key is None:
        raise _missing(ident)
    return key


def _missing(ident: str) -> Refusal:
    return not_found("provider key", ident, field="provider_key_id")
