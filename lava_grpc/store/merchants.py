"""Statements for merchants and their secret keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from lava_grpc.core.account import AccountKind
from lava_grpc.core.hold_policy import HoldPolicy
from lava_grpc.core.money import Amount
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.resources import Merchant, SecretKey
from lava_grpc.core.time import Instant
from lava_grpc.store import schema
from lava_grpc.store.cursors import newest_first

_merchants = schema.merchants.c
_keys = schema.secret_keys.c

MERCHANT = (
    _merchants.merchant_id,
    _merchants.name,
    _merchants.test_mode,
    _merchants.created_at,
    _merchants.hold_policy,
)
_KEY = (_keys.merchant_id, _keys.secret_key_id, _keys.name, _keys.hint, _keys.created_at)


def add(connection: Connection, merchant: Merchant, wallet_limit: Amount | None) -> None:
    """Store a merchant and open its wallet."""
    connection.execute(
        insert(schema.merchants).values(
            merchant_id=merchant.merchant_id,
            name=merchant.name,
            test_mode=merchant.test_mode,
            created_at=merchant.created_at,
            hold_policy=merchant.hold_policy.value if merchant.hold_policy else None,
        )
    )
    connection.execute(
        insert(schema.accounts).values(
            merchant_id=merchant.merchant_id,
            account_id=merchant.merchant_id,
            kind=AccountKind.MERCHANT.value,
            credit_limit=wallet_limit,
        )
    )


def merchant_of(row: Sequence[Any]) -> Merchant:
    """A merchant, of the columns MERCHANT."""
    merchant_id, name, test_mode, created_at, policy = row
    own = None if policy is None else HoldPolicy(policy)
    return Merchant(merchant_id, name, test_mode, created_at, own)


def set_hold_policy(connection: Connection, merchant_id: str, policy: HoldPolicy | None) -> bool:
    """Set the merchant's own policy, None for none; False where there is no such merchant."""
    done = connection.execute(
        update(schema.merchants)
        .where(_merchants.merchant_id == merchant_id)
        .values(hold_policy=policy.value if policy else None)
    )
    return done.rowcount == 1


def find(connection: Connection, merchant_id: str) -> Merchant | None:
    """The merchant."""
    query = select(*MERCHANT).where(_merchants.merchant_id == merchant_id)
    row = connection.execute(query).first()
    return merchant_of(row) if row else None


def list_all(connection: Connection) -> Sequence[Merchant]:
    """All of them, oldest first."""
    query = select(*MERCHANT).order_by(_merchants.created_at, _merchants.merchant_id)
    return [merchant_of(row) for row in connection.execute(query)]


def add_key(connection: Connection, key: SecretKey, key_hash: str) -> None:
    """Store a key by its hash."""
    connection.execute(
        insert(schema.secret_keys).values(
            merchant_id=key.merchant_id,
            secret_key_id=key.secret_key_id,
            name=key.name,
            hint=key.hint,
            key_hash=key_hash,
            created_at=key.created_at,
        )
    )


def key_owner(connection: Connection, key_hash: str) -> tuple[SecretKey, Merchant] | None:
    """The key with this hash and its merchant, None where it is unknown or revoked."""
    query = (
        select(*_KEY, *MERCHANT)
        .join_from(
            schema.secret_keys, schema.merchants, _merchants.merchant_id == _keys.merchant_id
        )
        .where(_keys.key_hash == key_hash, _keys.revoked_at.is_(None))
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    return SecretKey(*row[: len(_KEY)]), merchant_of(row[len(_KEY) :])


def list_keys(connection: Connection, merchant_id: str, page: Page) -> Slice[SecretKey]:
    """The keys that are not revoked, newest first."""
    query = select(*_KEY).where(_keys.revoked_at.is_(None))
    mine = _keys.merchant_id == merchant_id
    rows, cursor = newest_first(connection, query, _keys.secret_key_id, page, mine)
    return Slice([SecretKey(*row) for row in rows], cursor)


def revoke_key(connection: Connection, merchant_id: str, secret_key_id: str, at: Instant) -> bool:
    """Revoke a key for good; False where there is none to revoke."""
    done = connection.execute(
        update(schema.secret_keys)
        .where(
            _keys.merchant_id == merchant_id,
            _keys.secret_key_id == secret_key_id,
            _keys.revoked_at.is_(None),
        )
        .values(revoked_at=at)
    )
    return done.rowcount == 1
