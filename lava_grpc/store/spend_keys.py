"""Spend keys and their budgets. See `gateway.ports.SpendKeyStore`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, insert, select, update

from lava_grpc.core.account import AccountKind
from lava_grpc.core.budget import RateLimit, RequestLimit, SpendLimit
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.resources import Merchant
from lava_grpc.core.spend_key import RequestShape, SpendKey, SpendKeyStatus, UsedSpendKey
from lava_grpc.core.time import Instant
from lava_grpc.store import rows, schema
from lava_grpc.store.cursors import newest_first
from lava_grpc.store.database import Database
from lava_grpc.store.merchants import MERCHANT, merchant_of
from lava_grpc.store.sql import BUDGET_COLUMNS

_keys = schema.spend_keys.c
_budgets = schema.budgets.c
_accounts = schema.accounts.c
_merchants = schema.merchants.c

_KEY = (
    _keys.merchant_id,
    _keys.spend_key_id,
    _keys.name,
    _keys.preview,
    _keys.status,
    _keys.request_shape,
    _keys.allowed_models,
    _keys.allowed_providers,
    _keys.expires_at,
    _keys.created_at,
)
_BUDGET = tuple(_budgets[name] for name in BUDGET_COLUMNS)
_LIMITS = 6


class StoreSpendKeys:
    """Runs each statement in a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: SpendKey, key_hash: str) -> None:
        """Store a key by its hash, and open its account."""
        await self._database.write(lambda c: _add(c, key, key_hash))

    async def owner(self, key_hash: str) -> tuple[SpendKey, Merchant] | None:
        """The key with this hash and its merchant, None where it is unknown or revoked."""
        return await self._database.read(lambda c: _owner(c, key_hash))

    async def find(self, merchant_id: str, spend_key_id: str) -> UsedSpendKey | None:
        """The key, None where it is unknown or revoked."""
        return await self._database.read(lambda c: _find(c, merchant_id, spend_key_id))

    async def list(self, merchant_id: str, page: Page) -> Slice[UsedSpendKey]:
        """The keys that are not revoked, newest first."""
        return await self._database.read(lambda c: _list(c, merchant_id, page))

    async def change(
        self, merchant_id: str, spend_key_id: str, changes: Mapping[str, object]
    ) -> UsedSpendKey | None:
        """Set fields of `SpendKey`, or of its limits, by name; None where there is no such key."""
        return await self._database.write(lambda c: _change(c, merchant_id, spend_key_id, changes))

    async def rotate(
        self, merchant_id: str, spend_key_id: str, key_hash: str, preview: str
    ) -> UsedSpendKey | None:
        """Replace the key's hash and preview; None where there is no such key."""
        values = {"key_hash": key_hash, "preview": preview}

        def work(connection: Connection) -> UsedSpendKey | None:
            _set_key(connection, merchant_id, spend_key_id, values)
            return _find(connection, merchant_id, spend_key_id)

        return await self._database.write(work)

    async def revoke(self, merchant_id: str, spend_key_id: str, at: Instant) -> bool:
        """Revoke a key and close its account; False where there is none to revoke."""
        return await self._database.write(lambda c: _revoke(c, merchant_id, spend_key_id, at))


def _add(connection: Connection, key: SpendKey, key_hash: str) -> None:
    connection.execute(
        insert(schema.spend_keys).values(
            merchant_id=key.merchant_id,
            spend_key_id=key.spend_key_id,
            name=key.name,
            preview=key.preview,
            key_hash=key_hash,
            status=key.status.value,
            request_shape=key.request_shape.value,
            allowed_models=_texts(key.allowed_models),
            allowed_providers=_texts(key.allowed_providers),
            expires_at=key.expires_at,
            created_at=key.created_at,
        )
    )
    connection.execute(
        insert(schema.accounts).values(
            merchant_id=key.merchant_id,
            account_id=key.spend_key_id,
            kind=AccountKind.SPEND_KEY.value,
            # Its budget is its limit, and the ledger knows it.
            credit_limit=None,
        )
    )
    limits = key.limits
    connection.execute(
        insert(schema.budgets).values(
            merchant_id=key.merchant_id,
            account_id=key.spend_key_id,
            **_spend(limits.spend),
            **_requests(limits.requests),
            **_rate(limits.rate),
        )
    )


def _owner(connection: Connection, key_hash: str) -> tuple[SpendKey, Merchant] | None:
    # Apart, so that the budget, which is where its merchant is, is not looked for everywhere.
    whose = select(_keys.merchant_id).where(_keys.key_hash == key_hash)
    merchant_id = connection.execute(whose).scalar()
    if merchant_id is None:
        return None
    query = (
        _used(*MERCHANT)
        .join(schema.merchants, _merchants.merchant_id == _keys.merchant_id)
        .where(_keys.key_hash == key_hash, _keys.merchant_id == merchant_id)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    size = len(MERCHANT)
    return _used_of(row[:-size]).key, merchant_of(row[-size:])


def _find(connection: Connection, merchant_id: str, spend_key_id: str) -> UsedSpendKey | None:
    query = _used().where(_keys.merchant_id == merchant_id, _keys.spend_key_id == spend_key_id)
    row = connection.execute(query).first()
    return _used_of(row) if row else None


def _list(connection: Connection, merchant_id: str, page: Page) -> Slice[UsedSpendKey]:
    mine = _keys.merchant_id == merchant_id
    found, cursor = newest_first(connection, _used(), _keys.spend_key_id, page, mine)
    return Slice([_used_of(row) for row in found], cursor)


def _change(
    connection: Connection, merchant_id: str, spend_key_id: str, changes: Mapping[str, object]
) -> UsedSpendKey | None:
    if _find(connection, merchant_id, spend_key_id) is None:
        return None
    keys: dict[str, object] = {}
    budgets: dict[str, object] = {}
    for name, value in changes.items():
        match name, value:
            case "spend_limit", SpendLimit() | None:
                budgets |= {**_spend(value), "limit_changed": True}
            case "request_limit", RequestLimit() | None:
                budgets |= _requests(value)
            case "rate_limit", RateLimit() | None:
                budgets |= _rate(value)
            case (("allowed_models" | "allowed_providers"), tuple() | None):
                keys[name] = _texts(value)
            case _:
                keys[name] = value
    if keys:
        _set_key(connection, merchant_id, spend_key_id, keys)
    if budgets:
        # The ledger writes the other columns, under the lock on the account.
        mine = (_budgets.merchant_id == merchant_id, _budgets.account_id == spend_key_id)
        connection.execute(update(schema.budgets).where(*mine).values(budgets))
    return _find(connection, merchant_id, spend_key_id)


def _revoke(connection: Connection, merchant_id: str, spend_key_id: str, at: Instant) -> bool:
    if not _set_key(connection, merchant_id, spend_key_id, {"revoked_at": at}):
        return False
    mine = (_accounts.merchant_id == merchant_id, _accounts.account_id == spend_key_id)
    connection.execute(update(schema.accounts).where(*mine).values(closed=True))
    return True


def _set_key(
    connection: Connection, merchant_id: str, spend_key_id: str, values: Mapping[str, object]
) -> bool:
    done = connection.execute(
        update(schema.spend_keys)
        .where(
            _keys.merchant_id == merchant_id,
            _keys.spend_key_id == spend_key_id,
            _keys.revoked_at.is_(None),
        )
        .values(values)
    )
    return done.rowcount == 1


def _used(*more: ColumnElement[Any]) -> Select[Any]:
    """Keys that are not revoked, with their budgets and balances."""
    return (
        select(*_KEY, *_BUDGET, _accounts.balance, *more)
        .join_from(schema.spend_keys, schema.budgets, _of_key(_budgets))
        .join(schema.accounts, _of_key(_accounts))
        .where(_keys.revoked_at.is_(None))
    )


def _of_key(columns: Any) -> ColumnElement[bool]:  # noqa: ANN401 - SQLAlchemy's read-only collection
    return and_(columns.merchant_id == _keys.merchant_id, columns.account_id == _keys.spend_key_id)


def _used_of(row: Sequence[Any]) -> UsedSpendKey:
    *mine, models, providers, expires_at, created_at = row[: len(_KEY)]
    merchant_id, spend_key_id, name, preview, status, shape = mine
    budget = row[len(_KEY) : -1]
    key = SpendKey(
        merchant_id=merchant_id,
        spend_key_id=spend_key_id,
        name=name,
        preview=preview,
        status=SpendKeyStatus(status),
        request_shape=RequestShape(shape),
        allowed_models=None if models is None else tuple(json.loads(models)),
        allowed_providers=None if providers is None else tuple(json.loads(providers)),
        limits=rows.limits_of(budget[-_LIMITS:]),
        expires_at=expires_at,
        created_at=created_at,
    )
    return UsedSpendKey(key, rows.budget_of(budget), -row[-1])


def _texts(texts: tuple[str, ...] | None) -> str | None:
    return None if texts is None else rows.dumps(list(texts))


def _spend(limit: SpendLimit | None) -> dict[str, object]:
    return {
        "spend_amount": limit.amount if limit else None,
        "spend_cycle": limit.cycle.value if limit else None,
    }


def _requests(limit: RequestLimit | None) -> dict[str, object]:
    return {
        "request_count": limit.count if limit else None,
        "request_cycle": limit.cycle.value if limit else None,
    }


def _rate(limit: RateLimit | None) -> dict[str, object]:
    return {
        "rate_rpm": limit.rpm if limit else None,
        "rate_burst": limit.burst if limit else None,
    }
