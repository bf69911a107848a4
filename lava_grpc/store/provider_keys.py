"""Merchants' provider keys. See `gateway.provider_keys` and `gateway.stored_keys`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, or_, select, tuple_, update

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.provider_key import ProviderKey, ProviderKeyStatus, SealedKey
from lava_grpc.core.time import Instant
from lava_grpc.store import schema
from lava_grpc.store.cursors import newest_first
from lava_grpc.store.database import Database

_keys = schema.provider_keys.c

_KEY = (
    _keys.merchant_id,
    _keys.provider_key_id,
    _keys.provider,
    _keys.name,
    _keys.preview,
    _keys.weight,
    _keys.status,
    _keys.created_at,
    _keys.rotated_at,
    _keys.last_used_at,
)
_SEALED = (*_KEY, _keys.sealed, _keys.sealed_with)


class StoreProviderKeys:
    """Runs each statement in a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, sealed: SealedKey, *, keys_max: int) -> None:
        """Store a key. Refuses PERMISSION_DENIED past `keys_max`."""
        await self._database.write(lambda c: _add(c, sealed, keys_max))

    async def find(self, merchant_id: str, provider_key_id: str) -> ProviderKey | None:
        """The key, None where it is unknown or was deleted."""
        return await self._database.read(lambda c: _find(c, merchant_id, provider_key_id))

    async def list_page(self, merchant_id: str, page: Page) -> Slice[ProviderKey]:
        """Keys, newest first."""
        return await self._database.read(lambda c: _list(c, merchant_id, page))

    async def change(
        self, merchant_id: str, provider_key_id: str, changes: Mapping[str, object]
    ) -> ProviderKey | None:
        """Set fields of `ProviderKey` by name; None where there is no such key."""
        return await self._database.write(
            lambda c: _change(c, merchant_id, provider_key_id, changes)
        )

    async def rotate(self, sealed: SealedKey) -> ProviderKey | None:
        """Replace a key's secret and preview; None where there is no such key."""
        key = sealed.key
        values = {
            "sealed": sealed.sealed,
            "sealed_with": sealed.sealed_with,
            "preview": key.preview,
            "rotated_at": key.rotated_at,
        }
        return await self._database.write(
            lambda c: _change(c, key.merchant_id, key.provider_key_id, values)
        )

    async def remove(self, merchant_id: str, provider_key_id: str) -> bool:
        """Delete a key; False where there is none."""
        query = delete(schema.provider_keys).where(*_is(merchant_id, provider_key_id))
        return await self._database.write(lambda c: c.execute(query).rowcount == 1)

    async def usable(self, merchant_id: str) -> Sequence[SealedKey]:
        """The merchant's keys that are active, oldest first."""
        query = (
            select(*_SEALED)
            .where(_keys.merchant_id == merchant_id)
            .where(_keys.status == ProviderKeyStatus.ACTIVE.value)
            .order_by(_keys.provider_key_id)
        )
        return await self._database.read(lambda c: [_sealed_of(r) for r in c.execute(query)])

    async def used(self, uses: Mapping[tuple[str, str], Instant]) -> None:
        """Note when keys, by merchant's and own id, were last used; never an earlier time."""
        await self._database.write(lambda c: _used(c, uses))

    async def sealed_otherwise(
        self, sealed_with: str, after: tuple[str, str], limit: int
    ) -> Sequence[SealedKey]:
        """Keys of all merchants that are not encrypted with this key, in order of their ids."""
        query = (
            select(*_SEALED)
            .where(_keys.sealed_with != sealed_with)
            .where(tuple_(_keys.merchant_id, _keys.provider_key_id) > tuple_(*after))
            .order_by(_keys.merchant_id, _keys.provider_key_id)
            .limit(limit)
        )
        return await self._database.read(lambda c: [_sealed_of(r) for r in c.execute(query)])

    async def reseal(self, before: SealedKey, sealed: str, sealed_with: str) -> bool:
        """Replace a key's ciphertext; False where it is not what it was before."""
        key = before.key
        query = (
            update(schema.provider_keys)
            .where(*_is(key.merchant_id, key.provider_key_id), _keys.sealed == before.sealed)
            .values(sealed=sealed, sealed_with=sealed_with)
        )
        return await self._database.write(lambda c: c.execute(query).rowcount == 1)


def _add(connection: Connection, sealed: SealedKey, keys_max: int) -> None:
    key = sealed.key
    # Those who add at once wait for each other here, so that the count holds.
    merchant = select(schema.merchants.c.merchant_id).with_for_update()
    connection.execute(merchant.where(schema.merchants.c.merchant_id == key.merchant_id))
    mine = select(func.count()).where(_keys.merchant_id == key.merchant_id)
    if connection.execute(mine).scalar_one() >= keys_max:
        raise Refusal(
            Reason.PERMISSION_DENIED,
            f"a merchant has at most {keys_max} provider keys; delete one first",
            facts={"provider_keys_max": str(keys_max)},
        )
    connection.execute(
        insert(schema.provider_keys).values(
            merchant_id=key.merchant_id,
            provider_key_id=key.provider_key_id,
            provider=key.provider,
            name=key.name,
            preview=key.preview,
            weight=key.weight,
            status=key.status.value,
            sealed=sealed.sealed,
            sealed_with=sealed.sealed_with,
            created_at=key.created_at,
        )
    )


def _find(connection: Connection, merchant_id: str, provider_key_id: str) -> ProviderKey | None:
    row = connection.execute(select(*_KEY).where(*_is(merchant_id, provider_key_id))).first()
    return _key_of(row) if row else None


def _list(connection: Connection, merchant_id: str, page: Page) -> Slice[ProviderKey]:
    mine = _keys.merchant_id == merchant_id
    rows, cursor = newest_first(connection, select(*_KEY), _keys.provider_key_id, page, mine)
    return Slice([_key_of(row) for row in rows], cursor)


def _change(
    connection: Connection, merchant_id: str, provider_key_id: str, changes: Mapping[str, object]
) -> ProviderKey | None:
    if changes:
        connection.execute(
            update(schema.provider_keys)
            .where(*_is(merchant_id, provider_key_id))
            .values(dict(changes))
        )
    return _find(connection, merchant_id, provider_key_id)


def _used(connection: Connection, uses: Mapping[tuple[str, str], Instant]) -> None:
    # In order of their ids, so that processes which write at once do not wait in a circle.
    for (merchant_id, provider_key_id), at in sorted(uses.items()):
        connection.execute(
            update(schema.provider_keys)
            .where(*_is(merchant_id, provider_key_id))
            .where(or_(_keys.last_used_at.is_(None), _keys.last_used_at < at))
            .values(last_used_at=at)
        )


def _is(merchant_id: str, provider_key_id: str) -> tuple[Any, Any]:
    return _keys.merchant_id == merchant_id, _keys.provider_key_id == provider_key_id


def _key_of(row: Sequence[Any]) -> ProviderKey:
    merchant_id, ident, provider, name, preview, weight, status, *times = row
    return ProviderKey(
        merchant_id,
        ident,
        provider,
        name,
        preview,
        weight,
        ProviderKeyStatus(status),
        *times,
    )


def _sealed_of(row: Sequence[Any]) -> SealedKey:
    *key, sealed, sealed_with = row
    return SealedKey(_key_of(key), sealed, sealed_with)
