"""Queries for accounts, their grants and their entries."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, literal_column, select

from lava_grpc.core.account import Account, Grant
from lava_grpc.core.books import StoredEntry
from lava_grpc.core.page import Page, Slice
from lava_grpc.store import rows, schema
from lava_grpc.store.cursors import newest_first
from lava_grpc.store.sql import ACCOUNT_COLUMNS, ENTRY_COLUMNS, GRANT_COLUMNS

_accounts = schema.accounts.c
_grants = schema.grants.c
_entries = schema.entries.c

_ACCOUNT = [_accounts[name] for name in ACCOUNT_COLUMNS]
_GRANT = [_grants[name] for name in GRANT_COLUMNS]
_ENTRY = [_entries[name] for name in ENTRY_COLUMNS]
# As the partial index spells it: SQLite would not see a parameter's value.
_LIVE: ColumnElement[bool] = literal_column("live")


def find(connection: Connection, merchant_id: str, account_id: str) -> Account | None:
    """The account with its live grants, in burn order.

    One statement reads both, so that they are of one commit.
    """
    grants_of = (_grants.merchant_id == _accounts.merchant_id) & (
        _grants.account_id == _accounts.account_id
    )
    query = (
        select(*_ACCOUNT, *_GRANT)
        .join_from(schema.accounts, schema.grants, grants_of & _LIVE, isouter=True)
        .where(_accounts.merchant_id == merchant_id, _accounts.account_id == account_id)
        .with_hint(schema.grants, "INDEXED BY grants_live", "sqlite")
    )
    found = connection.execute(query).all()
    if not found:
        return None
    account = rows.account_of(tuple(found[0])[: len(_ACCOUNT)])
    for row in found:
        grant = tuple(row)[len(_ACCOUNT) :]
        if grant[0] is not None:
            account.insert_grant(rows.grant_of(grant))
    return account


def list_grants(
    connection: Connection, merchant_id: str, account_id: str, page: Page
) -> Slice[Grant]:
    """All of an account's grants, newest first."""
    found, cursor = newest_first(
        connection,
        select(*_GRANT),
        _grants.grant_id,
        page,
        _grants.merchant_id == merchant_id,
        _grants.account_id == account_id,
    )
    return Slice([rows.grant_of(tuple(row)) for row in found], cursor)


def list_entries(
    connection: Connection,
    merchant_id: str,
    page: Page,
    *,
    account_id: str | None,
    request_id: str | None,
) -> Slice[StoredEntry]:
    """Entries, newest first."""
    scope = [_entries.merchant_id == merchant_id]
    if account_id is not None:
        scope.append(_entries.account_id == account_id)
    if request_id is not None:
        scope.append(_entries.request_id == request_id)
    found, cursor = newest_first(connection, select(*_ENTRY), _entries.entry_id, page, *scope)
    return Slice([StoredEntry(*rows.entry_of(tuple(row))) for row in found], cursor)
